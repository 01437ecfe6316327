"""`holdfast rehearse`: a cold start of a tree on a real control plane, watched to its end."""
