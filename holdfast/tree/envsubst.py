"""``postBuild`` substitution as kustomize-controller does it: ``${NAME}`` with some of the shell's edits; a bare ``$NAME`` stays, ``$$`` is a ``$``.

Its dialect isn't bash's: ``${A-b}`` is an error, ``${A:+b}`` is A or b, a position that is no number changes nothing. The oracle test compares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

UNKNOWN = "holdfast-unknown-"  # begins the value of a variable that isn't in the tree: rules leave such fields alone
_MARK = re.compile(rf"{UNKNOWN}(\w+)")
_DEFAULTS = ("=", ":=", ":-", ":?", ":+")
_OPERATOR = re.compile(r":[=\-?+]|=|:|[,^]{1,2}|//|/#|/%|/|##?|%%?")


class SubstitutionError(ValueError):
    """The text can't be substituted; kustomize-controller fails on it too."""


def spelled(text: str) -> str:
    """A text for people: an unknown value as the variable that it stands for."""
    return _MARK.sub(r"${\1}", text)


def substitute(text: str, values: Mapping[str, str]) -> str:
    """*text* with every ``${…}`` replaced; a name without a value and a default becomes empty.

    Source: the behaviour of fluxcd/pkg/envsubst. Raises SubstitutionError for what is never closed, or is no edit.
    """
    reader = _Reader(text, values)
    out = [reader.plain()]
    while not reader.done:
        out += [reader.variable(), reader.plain()]
    return "".join(out)


def without_value(text: str, values: Mapping[str, str]) -> list[str]:
    """The names that *text* uses and that have neither a value nor a default: they become empty. Raises SubstitutionError as `substitute` does."""
    reader = _Reader(text, values)
    reader.plain()
    while not reader.done:
        reader.variable()
        reader.plain()
    return reader.unset


class _Reader:
    """A text that is read from left to right."""

    def __init__(self, text: str, values: Mapping[str, str]) -> None:
        self.whole, self.at, self.values = text, 0, values
        self.unset: list[str] = []

    @property
    def done(self) -> bool:
        return self.at >= len(self.whole)

    def opens(self) -> bool:
        return self.whole.startswith("${", self.at)

    def plain(self) -> str:
        """Text outside any variable, up to the next one; by pieces, for most of every tree is that."""
        out = []
        while not self.done and not self.opens():
            if self.whole.startswith("$$", self.at):
                out.append("$")
                self.at += 2
                continue
            end = self.whole.find("$", self.at + 1)  # where a "$" stands here it is one by itself
            end = end if end >= 0 else len(self.whole)
            out.append(self.whole[self.at : end])
            self.at = end
        return "".join(out)

    def text(self, takes: Callable[[str], bool], *, escapes: str = "") -> str:
        """Plain text up to what *takes* refuses, or up to a variable."""
        out = []
        while not self.done and not self.opens():
            here, following = self.whole[self.at], self.whole[self.at + 1 : self.at + 2]
            if (here == "$" and "$" in escapes and following == "$") or (
                here == "\\" and "\\" in escapes and following in ("/", "\\")
            ):
                out.append(following)
                self.at += 2
            elif takes(here):
                out.append(here)
                self.at += 1
            else:
                break
        return "".join(out)

    def parameter(self, takes: Callable[[str], bool], *, escapes: str = "") -> str:
        """A variable, or some text that isn't empty."""
        if self.opens():
            return self.variable()
        found = self.text(takes, escapes=escapes)
        if not found:
            raise SubstitutionError("an edit lacks what it edits with")
        return found

    def close(self) -> None:
        if not self.whole.startswith("}", self.at):
            raise SubstitutionError("a '${' is never closed")
        self.at += 1

    def name(self) -> str:
        begin = self.at
        while not self.done and (self.whole[self.at].isalnum() or self.whole[self.at] == "_"):
            self.at += 1
        if begin == self.at:
            raise SubstitutionError(f"'${{{self.whole[begin : begin + 20]}' names no variable")
        return self.whole[begin : self.at]

    def variable(self) -> str:
        """The value of the ``${…}`` that begins here."""
        self.at += 2
        if self.whole.startswith("#", self.at):
            self.at += 1
            value = self.values.get(self.name(), "")
            self.close()
            return value if value.startswith(UNKNOWN) else str(len(value.encode()))
        name = self.name()
        value = self.values.get(name, "")
        found = _OPERATOR.match(self.whole, self.at)
        operator = found[0] if found else ""
        self.at += len(operator)
        before = len(self.unset)
        arguments = self._arguments(operator)
        self.close()
        if name not in self.values and operator not in _DEFAULTS:
            self.unset.append(name)
        elif value:
            del self.unset[before:]  # a default that isn't asked for
        if value.startswith(UNKNOWN):
            quote = "".join(arguments)
            return (
                quote if quote in ("'", '"') and operator in (":=", ":-", "=") else value
            )  # a way to keep quotes, no value
        return _edited(value, operator, arguments)

    def _arguments(self, operator: str) -> list[str]:
        if operator in _DEFAULTS:
            found = []
            while not self.done and not self.whole.startswith("}", self.at):
                found.append(self.parameter(lambda c: c != "}"))
            return found
        if operator == ":":
            first = [self.parameter(lambda c: c not in ":}")]
            if self.whole.startswith(":", self.at):
                self.text(lambda c: c == ":")
                first.append(self.parameter(lambda c: c != "}"))
            return first
        if operator.startswith("/"):
            first = [self.parameter(lambda c: c != "/", escapes="$\\")]
            if not self.text(lambda c: c == "/"):
                raise SubstitutionError("a replacement has no second '/'")
            return (
                first
                if self.whole.startswith("}", self.at)
                else [*first, self.parameter(lambda c: c != "}", escapes="$\\")]
            )
        return [self.parameter(lambda c: c != "}")] if operator[:1] in ("#", "%") and operator else []


def _edited(value: str, operator: str, arguments: list[str]) -> str:
    if operator in _DEFAULTS:
        return value or "".join(arguments)
    if operator in (",", ",,", "^", "^^"):
        head, tail = (value, "") if len(operator) == 2 else (value[:1], value[1:])
        return (head.lower() if "," in operator else head.upper()) + tail
    if operator == ":":
        return _part(value, arguments)
    if operator.startswith("/"):
        return _replaced(value, operator, arguments)
    return _cut(value, operator, arguments[0]) if arguments else value


def _part(value: str, arguments: list[str]) -> str:
    """Position and length count bytes, and from the end where they are negative."""
    whole = value.encode()
    try:
        numbers = [int(a) if re.fullmatch(r"[+-]?\d+", a) else None for a in arguments]
    except ValueError:
        return value
    if None in numbers:
        return value
    begin = numbers[0] or 0
    begin = max(0, len(whole) + begin) if begin < 0 else begin
    end = len(whole)
    if len(numbers) > 1:
        length = numbers[1] or 0
        end = len(whole) + length if length < 0 else begin + length
    try:
        return whole[begin:end].decode() if end >= begin else ""
    except UnicodeDecodeError:
        raise SubstitutionError("a part of a value cuts a letter in two") from None


def _replaced(value: str, operator: str, arguments: list[str]) -> str:
    old, new = arguments[0], arguments[1] if len(arguments) > 1 else ""
    if operator in ("/#", "/%"):
        if len(arguments) != 2:
            return value
        if operator == "/#":
            return value.replace(old, new, 1) if value.startswith(old) else value
        return value.removesuffix(old) + new if value.endswith(old) else value
    return value.replace(old, new, -1 if operator == "//" else 1)


def _cut(value: str, operator: str, pattern: str) -> str:
    """``#``/``##`` from the front, ``%``/``%%`` from the end, the shortest or the longest match that isn't empty."""
    shape = _glob(pattern)
    sizes = range(1, len(value) + 1) if len(operator) == 1 else range(len(value), 0, -1)
    for size in sizes:
        part = value[:size] if operator[0] == "#" else value[len(value) - size :]
        if shape and shape.fullmatch(part):
            return value[size:] if operator[0] == "#" else value[: len(value) - size]
    return value


def _glob(pattern: str) -> re.Pattern[str] | None:
    """A shell pattern as a regular expression; None where it is none."""
    out, at = [], 0
    while at < len(pattern):
        sign = pattern[at]
        end = pattern.find("]", at + 2) if sign == "[" else -1
        if sign == "[":
            if end < 0:
                return None
            out.append("[" + pattern[at + 1 : end].replace("\\", "\\\\") + "]")
            at = end
        else:
            out.append({"*": ".*", "?": "."}.get(sign, re.escape(sign)))
        at += 1
    try:
        return re.compile("".join(out), re.DOTALL)
    except re.error:
        return None
