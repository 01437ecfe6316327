"""Probes: one look each, giving HOLDS or a sentence. One file a part of the system."""
