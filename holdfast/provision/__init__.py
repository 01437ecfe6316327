"""Makes a bare Linux machine able to run a lane: the container engine and the offline images."""
