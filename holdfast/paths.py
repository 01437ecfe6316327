"""Where holdfast keeps things: caches outside the checkout, results inside it."""

from __future__ import annotations

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def cache_dir() -> Path:
    """The user's cache folder for built images, state of lanes and logs (``XDG_CACHE_HOME`` is honoured)."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = root / "holdfast"
    path.mkdir(parents=True, exist_ok=True)
    return path


def reports_dir() -> Path:
    """One folder a run lies here (``HOLDFAST_REPORTS`` moves it)."""
    path = Path(os.environ.get("HOLDFAST_REPORTS") or CHECKOUT / "reports" / "out")
    path.mkdir(parents=True, exist_ok=True)
    return path
