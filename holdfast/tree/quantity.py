"""Sizes as Kubernetes and Prometheus write them, in bytes."""

from __future__ import annotations

import re

_KUBERNETES = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip
_QUANTITY = re.compile(r"^\+?(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+)|([kMGTPE]i?|Ki)?)$")
_PROMETHEUS = re.compile(r"^(\d+\.?\d*|\.\d+)([KMGTPE]?)i?B$", re.IGNORECASE)


def quantity(text: object) -> float | None:
    """A Kubernetes quantity, such as ``10Gi``; None for what is none."""
    found = _QUANTITY.match(str(text).strip())
    if found is None:
        return None
    return float(found[1]) * (10 ** int(found[2]) if found[2] else _KUBERNETES[found[3] or ""])


def retention(text: object) -> float | None:
    """A size of Prometheus', such as ``20GB``, which counts in steps of 1024 whatever it is called; None for what is none."""
    found = _PROMETHEUS.match(str(text).strip())
    return float(found[1]) * 1024 ** " KMGTPE".index(found[2].upper() or " ") if found else None
