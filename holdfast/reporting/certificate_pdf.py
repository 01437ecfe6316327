"""A certificate as a PDF: the same words as the page, what isn't proved first and in the same size."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fpdf import FPDF

from holdfast.reporting.certificate import LIVES, Certificate

_SIZE, _LINE, _MARGIN = 9.0, 4.4, 16.0
_INK = {"held": (26, 127, 75), "broke": (179, 38, 30), "unproven": (168, 101, 0), "not exercised": (123, 135, 148)}
_RESULT = {"ready": _INK["held"], "ready with conditions": _INK["unproven"], "not ready": _INK["broke"]}
# What the fonts that every reader has can't show.
_PLAIN = str.maketrans(
    {"→": "->", "…": "...", "–": "-", "—": "-", "’": "'", "“": '"', "”": '"', "·": "-", "≤": "<=", "≥": ">="}
)


def write(path: Path, certificate: Certificate, signed: bytes) -> None:
    """Writes the PDF of a certificate whose JSON is *signed*."""
    told = certificate.as_json()
    page = _Page(told)
    page.heading(f"Sign-off of {told['tree']}", 15)
    page.set_text_color(*_RESULT[told["result"]])
    page.heading(told["result"], 12)
    page.set_text_color(0)
    every = len(told["not_proved"]) + len(told["proved"])
    page.say(
        f"Commit {told['commit']}, made {told['made']} with holdfast {told['holdfast']}; valid until {told['valid_until']}. "
        f"{len(told['not_proved'])} of {every} claims aren't proved."
    )
    for line in (*told["asked"], *told["conditions"]):
        page.say(line, "B")
    page.heading("Not proved", 11)
    page.proofs(told["not_proved"])
    if told["machines"]:
        page.heading("Machines", 11)
        page.machines(told["machines"])
    page.heading("What two nodes can't give", 11)
    page.points(told["limits"])
    page.heading("Proved", 11)
    page.proofs(told["proved"])
    page.heading("Until when, and when not", 11)
    lives = ", ".join(f"{level} {life.days}" for level, life in LIVES.items())
    page.say(f"What was seen is taken for true for so many days: {lives}. Void when:")
    page.points(told["void_when"])
    page.say("Where it was shown:")
    page.points(list(_lanes(told["lanes"])))
    page.say(f"What is signed is the JSON beside this file, whose SHA-256 is {hashlib.sha256(signed).hexdigest()}.")
    page.output(str(path))


def _lanes(lanes: dict[str, dict[str, Any]]) -> Iterator[str]:
    for name, lane in lanes.items():
        nodes = f", nodes {', '.join(lane['nodes'])}" if lane["nodes"] else ""
        yield f"{name}: Kubernetes {lane['kubernetes'] or 'not started'}{nodes}"


class _Page(FPDF):
    """The sheets of a certificate."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(format="A4")
        self.alias_nb_pages("\0")  # so that no text of a claim is taken for the number of sheets
        self.foot = _plain(f"{told['tree']} at {told['commit'][:12]}, {told['made']}")
        self.set_title(_plain(f"Sign-off of {told['tree']}"))
        self.set_margin(_MARGIN)
        self.set_auto_page_break(True, _MARGIN)
        self.add_page()

    def footer(self) -> None:
        """At the end of each sheet: of what it is, and which sheet."""
        self.set_y(-_MARGIN + 4)
        self.set_font("Helvetica", size=7)
        self.cell(0, 4, f"{self.foot} - {self.page_no()}", align="R")

    def heading(self, text: str, size: float) -> None:
        """A heading."""
        self.ln(2)
        self.set_font("Helvetica", "B", size)
        self._lines(text, size / 2)

    def say(self, text: str, style: str = "") -> None:
        """A paragraph."""
        self.set_font("Helvetica", style, _SIZE)
        self._lines(text, _LINE)

    def points(self, lines: list[str]) -> None:
        """A list."""
        for line in lines:
            self.say(f"- {line}")

    def proofs(self, proofs: list[dict[str, Any]]) -> None:
        """Claims, each with its verdict, its words and how it was shown."""
        if not proofs:
            self.say("Nothing.")
        for proof in proofs:
            self.ln(1)
            self.set_text_color(*_INK[proof["verdict"]])
            self.say(f"{proof['verdict']}: {proof['claim']}", "B")
            self.set_text_color(0)
            for quote in proof["quotes"]:
                self.say(quote.replace("**", "").replace("`", ""))
            if "run" in proof:
                where = "" if proof["level"] == "static" else f" on {proof['lane']}"
                self.say(
                    f"{proof['level']}{where}, {proof['began'][:10]}, commit {proof['commit'][:12]}, "
                    f"Kubernetes {proof['kubernetes'] or 'not started'}, run {proof['run']}, "
                    f"evidence {proof['evidence_sha256'][:16] or 'gone'}, until {proof['valid_until'][:10]}: {proof['reason']}"
                )
            for note in proof.get("notes", []):
                self.say(f"unlike production: {note}", "I")
            for condition in proof["conditions"]:
                self.say(condition, "B")

    def machines(self, machines: list[dict[str, Any]]) -> None:
        """Machines that are to join, each with what isn't as it must be."""
        for one in machines:
            self.set_text_color(*_INK[one["verdict"]])
            self.say(f"{one['verdict']}: {one['host']}", "B")
            self.set_text_color(0)
            self.say(
                f"{one['right']} things are as they must be; looked at {one['looked']}, report {one['report_sha256'][:16]}"
            )
            self.points([*one["wrong"], *(f"couldn't be seen: {words}" for words in one["unseen"])])

    def _lines(self, text: str, height: float) -> None:
        self.multi_cell(0, height, _plain(text), new_x="LMARGIN", new_y="NEXT")


def _plain(text: str) -> str:
    """A text in the letters of the built-in fonts; a word that is too long for a line may be broken anywhere."""
    known = re.sub(r"[\s\0]+", " ", text).translate(_PLAIN).encode("latin-1", "replace").decode("latin-1")
    return re.sub(r"(\S{60})(?=\S)", r"\1 ", known)
