"""``postBuild`` substitution as kustomize-controller does it: ``${NAME}`` with the shell's defaults and edits; a bare ``$NAME`` stays."""

from __future__ import annotations

import re
from collections.abc import Mapping

UNKNOWN = "holdfast-unknown-"  # begins the value of a variable that isn't in the tree: rules leave such fields alone
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_START = re.compile(r"\$\$\{|\$\{")
_EDIT = re.compile(rf"(#?)({_NAME})(.*)", re.DOTALL)


class SubstitutionError(ValueError):
    """The text can't be substituted; kustomize-controller fails on it too."""


def substitute(text: str, values: Mapping[str, str]) -> str:
    """*text* with every ``${…}`` replaced; a name without a value and a default becomes empty, ``$${X}`` becomes ``${X}``.

    Source: fluxcd/pkg/envsubst. Raises SubstitutionError for a brace that is never closed and for what is no name.
    """
    out, at = [], 0
    while found := _START.search(text, at):
        out.append(text[at:found.start()])
        inside, at = _braced(text, found.end())
        out.append(f"${{{inside}}}" if found[0] == "$${" else _value(inside, values))
    return "".join(out) + text[at:]


def _braced(text: str, at: int) -> tuple[str, int]:
    depth, begin = 1, at
    while at < len(text):
        if text.startswith("${", at):
            depth, at = depth + 1, at + 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return text[begin:at], at + 1
        at += 1
    raise SubstitutionError("a '${' is never closed")


def _value(inside: str, values: Mapping[str, str]) -> str:
    parsed = _EDIT.fullmatch(inside)
    if not parsed:
        raise SubstitutionError(f"'${{{inside[:40]}}}' names no variable")
    size, name, rest = parsed.groups()
    value = values.get(name, "")
    if size:
        return str(len(value))
    return _edited(value, rest, values, missing=name not in values)


def _edited(value: str, rest: str, values: Mapping[str, str], *, missing: bool) -> str:  # noqa: PLR0911  one return an operator reads best
    default = re.fullmatch(r":?[-=](.*)", rest, re.DOTALL)
    if default:
        empty = missing or (rest.startswith(":") and not value)
        return substitute(default[1], values) if empty else value
    if not rest:
        return value
    if value.startswith(UNKNOWN):
        return value
    if rest in ("^^", ",,", "^", ","):
        head, tail = (value, "") if len(rest) == 2 else (value[:1], value[1:])
        return (head.upper() if "^" in rest else head.lower()) + tail
    if part := re.fullmatch(r":\s*(-?\d+)(?::(\d+))?", rest):
        begin = int(part[1])
        return value[begin:begin + int(part[2])] if part[2] else value[begin:]
    if swap := re.fullmatch(r"(//?)([^/]*)/(.*)", rest, re.DOTALL):
        return value.replace(swap[2], swap[3], -1 if swap[1] == "//" else 1)
    if cut := re.fullmatch(r"(##?|%%?)(.*)", rest, re.DOTALL):
        return _cut(value, cut[1], cut[2])
    raise SubstitutionError(f"'{rest[:40]}' is no edit that Flux knows")


def _cut(value: str, which: str, pattern: str) -> str:
    """``#``/``##`` from the front, ``%``/``%%`` from the end, shortest or longest match."""
    shape = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
    sizes = range(len(value) + 1) if len(which) == 1 else range(len(value), -1, -1)
    for size in sizes:
        part = value[:size] if which[0] == "#" else value[len(value) - size:]
        if shape.fullmatch(part):
            return value[size:] if which[0] == "#" else value[: len(value) - size]
    return value
