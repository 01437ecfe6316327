"""Drivers create and power clusters. A new driver is one file here and one line in `DRIVERS` of ``lanes.py``."""
