"""Faults: inject, see the effect, yield, heal. One file a part of the system; the healing stands beside the fault."""
