"""A runbook: a Markdown file whose sections say what to do when something is down, and the commands that they give."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from holdfast.tree import typable
from holdfast.tree.typable import PROGRAMS

# What may go down, by the words that a heading names it with.
SCENARIOS: dict[str, tuple[str, ...]] = {
    "storage down": ("longhorn", "storage"),
    "Flux down": ("flux", "gitops"),
    "ingress down": ("ingress",),
    "a node lost": ("node", "worker"),
    "the control plane lost": ("control plane", "control-plane", "etcd", "k3s server"),
}
_SHELLS = frozenset({"bash", "sh", "shell", "zsh", "console", "shell-session", "shellsession", "terminal"})
_WITH_OUTPUT = frozenset({"console", "shell-session", "shellsession", "terminal"})
_AFTERWARDS = re.compile(r"\b(?:back|again|afterwards|returned|returns|recovered)\b", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1\s*$")
_QUOTED = re.compile(r"'[^']*'")
_VARIABLE = re.compile(r"\$[\w({]|`")
_ASKS = "it has a variable, whose value only its reader knows"
_UNREADABLE = "a shell can't read it"
_REDIRECTIONS = frozenset({">", ">>", "<", "<<", "&>", ">&"})


@dataclass(frozen=True)
class Command:
    """One command of a code block.

    Attributes:
        line: where it stands in the file.
        text: as it is written, its continued lines joined.
        words: the program and its arguments; empty where the line can't be read.
        stdin: what a here-document gives it.
        not_run: why it can't be run as it is written, by a program without a shell and with no other cluster; empty where it can.
    """

    line: int
    text: str
    words: tuple[str, ...] = ()
    stdin: str = ""
    not_run: str = ""

    @property
    def verb(self) -> str:
        """What it does, such as ``reconcile``."""
        return typable.verb_of(self.words)

    @property
    def unreadable(self) -> bool:
        """Whether no shell could read it."""
        return self.not_run.startswith(_UNREADABLE)

    @property
    def changes(self) -> bool:
        """Whether it may change the cluster."""
        return typable.changes(self.words)


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it, its own subsections among it.

    Attributes:
        commands: what is to be done while it is down.
        afterwards: what is to be done once it is back: the commands of a subsection that says so.
    """

    heading: str
    line: int
    commands: tuple[Command, ...]
    afterwards: tuple[Command, ...]


def commands(text: str) -> list[Command]:
    """Every command of a runbook's code blocks, in its order."""
    return [c for block in _blocks(text) for c in block.commands]


def sections(text: str) -> dict[str, Section]:
    """What the runbook has on each scenario of `SCENARIOS`, by the first heading that is about it; what has no heading is left out."""
    found: dict[str, Section] = {}
    blocks = _blocks(text)
    for at, block in enumerate(blocks):
        for scenario in named_by(block.heading):
            if scenario not in found and not _about_more(blocks[at:], scenario):
                found[scenario] = _section(blocks[at:])
    return found


def _about_more(blocks: list[_Block], scenario: str) -> bool:
    """Whether a heading stands over other scenarios, too, as a title does."""
    below = itertools.takewhile(lambda b: b.level > blocks[0].level, blocks[1:])
    return any(other != scenario for b in below for other in named_by(b.heading))


def named_by(heading: str) -> list[str]:
    """The scenarios that a heading names; a node of the control plane is no other node."""
    low = heading.lower()
    named = [s for s, words in SCENARIOS.items() if any(re.search(rf"\b{re.escape(w)}s?\b", low) for w in words)]
    if "the control plane lost" in named and "a node lost" in named:
        named.remove("a node lost")
    return named


@dataclass(frozen=True)
class _Block:
    """What stands directly below one heading; *level* 0 is what comes before the first."""

    heading: str
    level: int
    line: int
    commands: tuple[Command, ...]


def _blocks(text: str) -> list[_Block]:
    from markdown_it import MarkdownIt  # noqa: PLC0415  its import takes longer than a rule, and few trees name a runbook

    made: list[tuple[str, int, int, list[Command]]] = [("", 0, 1, [])]
    tokens = MarkdownIt("commonmark").parse(text)
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        line = (token.map or [0])[0] + 1
        if token.type == "heading_open" and after is not None:
            made.append((after.content, int(token.tag[1:]), line, []))
        elif token.type in ("fence", "code_block"):
            language = token.info.split()[0].lower() if token.info.split() else ""
            first = line + 1 if token.type == "fence" else line
            made[-1][3].extend(_of_block(token.content, language, first))
    return [_Block(heading, level, line, tuple(found)) for heading, level, line, found in made]


def _section(blocks: list[_Block]) -> Section:
    """A block with the deeper ones that follow it."""
    first = blocks[0]
    now = [*first.commands]
    afterwards: list[Command] = []
    back_below = 0  # the level of the subsection that is about afterwards, while it lasts
    for block in blocks[1:]:
        if block.level <= first.level:
            break
        if back_below and block.level <= back_below:
            back_below = 0
        if not back_below and _AFTERWARDS.search(block.heading):
            back_below = block.level
        (afterwards if back_below else now).extend(block.commands)
    return Section(first.heading, first.line, tuple(now), tuple(afterwards))


def _of_block(content: str, language: str, first: int) -> Iterator[Command]:
    """The commands of a code block: in a shell's language each line, in one without a language those that begin with our programs."""
    if language and language not in _SHELLS:
        return
    only_prompts = language in _WITH_OUTPUT
    for written in _logical(content.splitlines(), first):
        bare = re.sub(r"^\$\s+", "", written.text.strip())
        prompted = bare != written.text.strip()
        ours = bare.split(None, 1)[0] in PROGRAMS if bare else False
        if bare and not bare.startswith("#") and (prompted or not only_prompts) and (language or ours):
            yield from _parsed(replace(written, text=bare))


def _logical(lines: list[str], first: int) -> Iterator[Command]:
    """Each command with its here-document, before it is parsed: lines that end with a backslash go on."""
    rest = iter(enumerate(lines, first))
    for number, text in rest:
        whole = text
        while whole.endswith("\\"):
            _, more = next(rest, (0, ""))
            whole = f"{whole[:-1]} {more.strip()}"
        if not (found := _HEREDOC.search(whole)):
            yield Command(number, whole)
            continue
        body = _until(rest, found[2])
        filled_in = not found[1] and _VARIABLE.search(body)
        yield Command(number, whole[: found.start()].rstrip(), (), f"{body}\n", _ASKS if filled_in else "")


def _until(rest: Iterable[tuple[int, str]], word: str) -> str:
    """The lines of a here-document."""
    body = []
    for _, line in rest:
        if line.strip() == word:
            break
        body.append(line)
    return "\n".join(body)


def _parsed(written: Command) -> Iterator[Command]:
    """The commands of one line, which ``&&`` and ``;`` part."""
    if written.not_run or _VARIABLE.search(_QUOTED.sub("", written.text)):
        yield replace(written, not_run=_ASKS)
        return
    try:
        reader = shlex.shlex(written.text, posix=True, punctuation_chars=True)
        reader.whitespace_split, reader.commenters = True, "#"
        words = list(reader)
    except ValueError as error:
        yield replace(written, not_run=f"{_UNREADABLE}: {str(error).lower()}")
        return
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", ";"):
            parts.append([])
        else:
            parts[-1].append(word)
    parts = [p for p in parts if p]
    for part in parts:
        yield _command(replace(written, text=shlex.join(part)) if len(parts) > 1 else written, part)


def _command(written: Command, words: list[str]) -> Command:
    """A command, and why it isn't run. Of a look what is behind it is left out where that only shows less of it."""
    cut = next((i for i, w in enumerate(words) if w in _REDIRECTIONS or set(w) <= set("|&()")), len(words))
    if 0 < cut < len(words) and words[cut].startswith(">") and words[cut - 1] == "2":
        cut -= 1  # the 2 of 2>/dev/null
    plain, rest = words[:cut], words[cut:]
    why = typable.why_not(plain)
    if not why and rest and (typable.changes(plain) or not typable.filters_only(rest)):
        why = "what it is piped or redirected to is left to a shell"
    return replace(written, words=tuple(plain), not_run=why)
