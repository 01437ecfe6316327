"""Machines before they join a cluster: what a node must have, each looked at on the machine itself. Nothing is changed."""
