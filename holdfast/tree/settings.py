"""``.holdfast.toml``: what a lane has to know about a tree, what is declared, and what is changed in the lane. Nothing of it changes the tree."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from holdfast.errors import UsageError
from holdfast.tree.settings_file import (
    FORMS,
    Adaptation,
    Allow,
    App,
    Declared,
    Disruption,
    Ingress,
    Monitoring,
    NodeCommands,
    Secret,
    SettingsFile,
    Storage,
    Suspend,
)

FILE = ".holdfast.toml"
ALL = "all"

_OLD_SECTIONS = {"stated": "declared"}  # accepted with a note until 0.3


@dataclass(frozen=True)
class Settings:
    """What the file says; every part is empty where it says nothing.

    Attributes:
        path: the file, and *beside* whether it lies beside the tree, so that the tree's own author can't have written it.
        notices: old spellings that were accepted.
    """

    entry: str = ""
    aliases: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    adaptations: tuple[Adaptation, ...] = ()
    images: dict[str, str] = field(default_factory=dict)
    ingress: Ingress = field(default_factory=Ingress)
    storage: Storage = field(default_factory=Storage)
    monitoring: Monitoring = field(default_factory=Monitoring)
    apps: tuple[App, ...] = ()
    declared: Declared = field(default_factory=Declared)
    disruption: Disruption = field(default_factory=Disruption)
    nodes: dict[str, NodeCommands] = field(default_factory=dict)
    claims: str = ""
    runbook: str = ""
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    claimed: tuple[str, ...] = ()
    allow: tuple[Allow, ...] = ()
    path: Path | None = None
    beside: bool = False
    notices: tuple[str, ...] = ()

    @property
    def allowed(self) -> dict[str, str]:
        """The reason of each allowed finding, by ``RULE`` or ``RULE OBJECT``."""
        return {f"{a.rule} {a.object}".strip(): a.because for a in self.allow}

    def notes(self) -> list[str]:
        """Each adaptation in words, for the fidelity notes."""
        said = [
            f"{'/'.join(filter(None, [a.kind, a.namespace, a.name]))} is changed in the lane ({', '.join(a.set)}): {a.reason}"
            for a in self.adaptations
        ]
        said += [f"the Git host {host} is the lane's own server" for host in self.aliases]
        said += [f"the Secret {s.namespace}/{s.name} is made up" for s in self.secrets if not s.file]
        return said + [f"the Secret {s.namespace}/{s.name} comes from a file" for s in self.secrets if s.file]

    def file(self, tree: Path, name: str, what: str) -> Path:
        """A file that the settings name. Raises UsageError where it isn't there, or where the tree's own settings lead out of the tree."""
        given = Path(name).expanduser() if self.beside else Path(name)
        found = (tree / given).resolve()
        if not self.beside and not found.is_relative_to(tree.resolve()):
            raise UsageError(
                f"{self.path}: {what} is {name}, and a tree's own settings name no file outside of the tree",
                f"name it in settings beside the tree: {tree.parent / f'{tree.name}{FILE}'}",
            )
        if not found.exists():
            raise UsageError(
                f"{self.path}: {what} is {name}, and there is no {found}", "put it there, or correct the settings"
            )
        return found


def load(tree: Path) -> Settings:
    """Reads the file in the tree, or beside it; without one, nothing is set. Raises UsageError with everything that is wrong in it.

    Where there are both, the one in the tree counts, but for ``[disruption]`` and ``[nodes]``: those are the owner's word.
    """
    inside, beside = _file(tree / FILE, beside=False), _file(tree.parent / f"{tree.name}{FILE}", beside=True)
    if inside and beside:  # what the tree says counts, but for what only its owner may say
        return replace(inside, disruption=beside.disruption, nodes=beside.nodes)
    return inside or beside or Settings()


def _file(path: Path, *, beside: bool) -> Settings | None:
    if path.is_symlink():
        raise UsageError(f"{path} is a link, and what it leads to isn't read", "put the file itself there")
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}", "correct the file, then run again") from None
    return _Reader(path, text, beside=beside).read(table)


class _Reader:
    """Reads the tables of one file, and gathers what is wrong in them."""

    def __init__(self, path: Path, text: str, *, beside: bool) -> None:
        self.path, self.text, self.beside = path, text, beside
        self.errors: list[tuple[str, str]] = []  # (message, the right form)
        self.notices: list[str] = []

    def read(self, table: dict[str, Any]) -> Settings:
        """The settings. Raises UsageError with every error, each with its place and the right form."""
        table = self._new_spellings(table)
        values = {name: self._section(name, value) for name, value in table.items()}
        for name, what in _OF_THE_OWNER.items() if not self.beside else ():
            if name in table:
                own = self.path.parent.parent / f"{self.path.parent.name}{FILE}"
                self._error(
                    name,
                    0,
                    f"{what}, so a tree's own settings can't say it",
                    f"[{name}] in settings beside the tree: {own}",
                )
        if self.errors:
            raise UsageError(
                "the settings can't be used:\n    " + "\n    ".join(dict.fromkeys(m for m, _ in self.errors)),
                "the right form:\n    " + "\n    ".join(dict.fromkeys(form for _, form in self.errors)),
            )
        file = SettingsFile(**values)
        suspended = (
            Adaptation(kind=s.kind, namespace=s.namespace, name=s.name, reason=s.reason, set={"/spec/suspend": True})
            for s in file.suspend
        )
        return Settings(
            entry=file.flux.entry, aliases=file.git.aliases, secrets=file.secret, adaptations=(*suspended, *file.patch),
            images=file.images,
            ingress=file.ingress, storage=file.storage, monitoring=file.monitoring, apps=file.app,
            declared=file.declared, disruption=file.disruption, nodes=file.nodes, claims=file.claims,
            runbook=file.runbook, roles={str(r): m for r, m in file.roles.items()},
                        claimed=(ALL,) if file.check.claims == ALL else tuple(file.check.claims),
            allow=file.allow, path=self.path, beside=self.beside, notices=tuple(self.notices),
        )  # fmt: skip

    def _new_spellings(self, table: dict[str, Any]) -> dict[str, Any]:
        for old, new in _OLD_SECTIONS.items():
            if old in table and new not in table:
                self.notices.append(f"{self.path}: [{old}] is called [{new}] now")
                table = {**{k: v for k, v in table.items() if k != old}, new: table[old]}
        declared = table.get("declared")
        if isinstance(declared, dict):  # one port is as plain as a list of one
            lists = {k: [v] for k, v in declared.items() if k in _PORTS and isinstance(v, int | str) and v is not True}
            table = {**table, "declared": {**declared, **lists}}
        check = table.get("check")
        if isinstance(check, dict) and "promises" in check and "claims" not in check:
            self.notices.append(f"{self.path}: promises of [check] is called claims now")
            table = {
                **table,
                "check": {**{k: v for k, v in check.items() if k != "promises"}, "claims": check["promises"]},
            }
        return table

    def _section(self, name: str, value: Any) -> Any:
        """One section; None, and an error more, where it can't be used."""
        fields = {f.name: f for f in msgspec.structs.fields(SettingsFile)}
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            more = f"; did you mean '{near[0]}'?" if near else ""
            self._error(name, 0, f"unknown section '{name}'{more}", f"sections are: {', '.join(fields)}")
            return None
        if name in _LISTS:
            if not isinstance(value, list):
                self._error(name, 0, f"'{name}' is written as [[{name}]]")
                return None
            return tuple(self._one(name, number, entry, _LISTS[name]) for number, entry in enumerate(value, 1))
        return self._one(name, 0, value, fields[name].type)

    def _one(self, name: str, number: int, value: Any, kind: Any) -> Any:
        """A value of a kind. A key that is wrong is put aside, so that the others are looked at all the same."""
        dropped: set[str] = set()
        while True:
            try:
                return msgspec.convert(value, kind)
            except msgspec.ValidationError as error:
                key = _key(str(error))
                if not (dropped and "missing required field" in str(error) and key in dropped):
                    self._error(name, number, _words(error, name, kind))
                if not isinstance(value, dict) or key not in value:
                    return None
                dropped.add(key)
                value = {k: v for k, v in value.items() if k != key}

    def _error(self, section: str, number: int, words: str, form: str = "") -> None:
        quoted = re.match(r"(?:unknown key )?'([^']+)'", words)
        line = self._line(section, number, quoted[1] if quoted else "")
        place = f"[[{section}]] number {number}: " if number else ""
        self.errors.append((f"{self.path}:{line}: {place}{words}", form or FORMS[section]))

    def _line(self, section: str, number: int, key: str) -> int:
        """The line of a key of a section; of the section where the key isn't found."""
        lines, seen, found = self.text.splitlines(), 0, 1
        inside = False
        for at, line in enumerate(lines, 1):
            if match := re.match(r"\s*\[+\s*([\w-]+)", line):
                seen += match[1] == section
                inside = match[1] == section and (not number or seen == number)
                found = at if inside else found
            elif re.match(rf"\s*{re.escape(section)}\s*=", line) and not number:
                found = at
            elif inside and key and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", line):
                return at
        return found


_OF_THE_OWNER = {
    "nodes": "the commands of [nodes] are run",
    "disruption": "what [disruption] names runs in your cluster, with rights to undo a fault",
}
_PORTS = ("node_ports", "exposed")
_LISTS = {"secret": Secret, "suspend": Suspend, "patch": Adaptation, "app": App, "allow": Allow}


_KINDS = {
    "array": "a list",
    "str": "text",
    "object": "a table",
    "int": "a number",
    "bool": "true or false",
    "float": "a number",
}


def _key(words: str) -> str:
    """The key that an error of msgspec's is about: where it stands, or which is unknown or missing."""
    found = re.search(r"`\$\.([\w-]+)", words) or re.search(r"field `([^`]+)`", words)
    return found[1] if found else ""


def _words(error: msgspec.ValidationError, section: str, kind: Any) -> str:
    """What is wrong in words, with the key that may have been meant."""
    words, key = str(error), _key(str(error))
    if "unknown field" in words and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        near = difflib.get_close_matches(key, kind.__struct_fields__, 1)
        return f"unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else "")
    if "missing required field" in words:
        return f"'{key}' is missing"
    about = f"'{key or section}' "
    if kinds := re.search(r"Expected `([\w |]+)`, got `(\w+)`", words):
        wanted = " or ".join(_KINDS.get(k.strip(), k.strip()) for k in kinds[1].split("|"))
        return f"{about}must be {wanted}, and is {_KINDS.get(kinds[2], kinds[2])}"
    if "matching regex" in words:
        form = (
            "a JSON pointer (it begins with /)"
            if "`key`" in words
            else "Kind/name"
            if "[A-Z]" in words
            else "filled in"
        )
        return f"{about}must be {form}"
    if "of length >= 1" in words:
        return f"{about}must not be empty"
    return words if not key else about + words.partition(" - at ")[0][:1].lower() + words.partition(" - at ")[0][1:]
