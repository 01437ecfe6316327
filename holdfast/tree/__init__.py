"""The GitOps tree read as Flux reads it. Pure: no cluster, no pytest."""
