"""Go's duration texts, as Kubernetes and Flux write them."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str | float) -> float:
    """Go's duration text (``1m30s``) or a number of seconds, as seconds."""
    if isinstance(duration, int | float):
        return float(duration)
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", duration)
    if not parts or "".join(n + u for n, u in parts) != duration.strip():
        raise ValueError(f"{duration!r} is no duration: write 30s, 1m30s or 2h")
    return sum(float(n) * _UNITS[u] for n, u in parts)


def go_seconds(text: object) -> float | None:
    """The same of whatever a tree holds: None where it is no duration."""
    try:
        return seconds(str(text))
    except ValueError:
        return None
