"""Sizes as Kubernetes and Prometheus write them, as numbers."""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?[0-9.]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_PROMETHEUS = re.compile(r"^(\d+\.?\d*|\.\d+)([KMGTPE]?)i?B$", re.IGNORECASE)


def quantity(value: object) -> Decimal | None:
    """A quantity such as ``100m`` or ``1Gi`` as a number; None for what is none."""
    found = (
        _QUANTITY.fullmatch(str(value))
        if isinstance(value, int | float | str) and not isinstance(value, bool)
        else None
    )
    if not found:
        return None
    suffix = found[2] or ""
    try:
        number = Decimal(found[1])
        if suffix[:1] in ("e", "E") and len(suffix) > 1:
            return number.scaleb(int(suffix[1:]))
        if suffix.endswith("i"):
            return number * Decimal(1024 ** ("KMGTPE".index(suffix[0]) + 1))
        return number.scaleb(_POWERS[suffix])
    except (ArithmeticError, ValueError):
        return None


def retention(text: object) -> Decimal | None:
    """A size of Prometheus', such as ``20GB``, which counts in steps of 1024 whatever it is called, in bytes; None for what is none."""
    found = _PROMETHEUS.match(str(text).strip())
    return Decimal(found[1]) * 1024 ** " KMGTPE".index(found[2].upper() or " ") if found else None
