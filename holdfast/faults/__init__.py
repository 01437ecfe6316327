"""Faults: inject, see it bite, yield, heal. One file a part of the system; the healing stands beside the fault."""
