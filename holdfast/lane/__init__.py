"""A lane: a driver and a profile, the one cluster that they make, and the lock on it."""
