"""A certificate as a page: what isn't proved first, and in the same size as what is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from holdfast.reporting.certificate import LIVES, VOID_WHEN, Certificate
from holdfast.reporting.html import template


def write(path: Path, certificate: Certificate, signed: bytes) -> None:
    """Writes the page of a certificate whose JSON is *signed*."""
    told = certificate.as_json()
    page = template("certificate.html.j2").render(
        told=told,
        lives={level: life.days for level, life in LIVES.items()},
        void_when=VOID_WHEN,
        sha256=hashlib.sha256(signed).hexdigest(),
    )
    path.write_text(page, encoding="utf-8")
