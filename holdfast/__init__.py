"""holdfast: which sentences of an architecture document are true on a cluster that is being broken."""

__version__ = "0.1.0"
