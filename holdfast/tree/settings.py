"""``.holdfast.toml``: what a lane has to know about a tree, what is declared, and what is changed in the lane. Nothing of it changes the tree.

The sections are the fields of `SettingsFile`; the settings reference and the editor schema are made from them.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.durations import go_seconds
from holdfast.errors import UsageError

FILE = ".holdfast.toml"
ALL = "all"

Text = Annotated[str, Meta(min_length=1)]
Workload = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z]*/[a-z0-9.-]+$", description="a workload, written `Kind/name`")]
Pointer = Annotated[str, Meta(pattern=r"^/.", description="a JSON pointer, such as `/spec/replicas`")]
Role = Literal["core", "storage", "monitoring", "longterm", "apps"]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: a key that it doesn't know is an error."""


class Flux(Table, frozen=True):
    """Where Flux enters the tree."""

    entry: Annotated[str, Meta(description="the folder of the Flux entry, where the tree has several")] = ""


class Git(Table, frozen=True):
    """Git hosts."""

    aliases: Annotated[tuple[Text, ...], Meta(description="hosts that the lane's own Git server stands in for")] = ()


class Secret(Table, frozen=True):
    """A Secret that isn't in Git; exactly one of `keys`, `tls` and `file` says what is in it."""

    namespace: Text
    name: Text
    keys: Annotated[tuple[Text, ...], Meta(description="keys that get random text")] = ()
    tls: Annotated[tuple[Text, ...], Meta(description="hosts of a certificate that is made up")] = ()
    file: Annotated[
        str,
        Meta(
            description="a file of yours, such as an age key for SOPS; outside of the tree only from settings beside it"
        ),
    ] = ""
    key: Annotated[str, Meta(description="the key that gets the file's text; the file's name without it")] = ""

    def __post_init__(self) -> None:
        given = [name for name in ("keys", "tls", "file") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of keys, tls and file, and has {' and '.join(given) or 'none'}")
        if self.key and not self.file:
            raise ValueError("has a key without a file")


class Suspend(Table, frozen=True):
    """An object of Flux's to suspend in the lane."""

    kind: Text
    name: Text
    reason: Text
    namespace: str = ""


class Adaptation(Table, frozen=True):
    """An object that is changed in the lane."""

    kind: Text
    name: Text
    reason: Text
    set: Annotated[dict[Pointer, Any], Meta(min_length=1, description="JSON pointers and the values to set there")]
    namespace: str = ""

    @property
    def suspends(self) -> bool:
        """Whether it suspends an object of Flux's."""
        return self.set.get("/spec/suspend") is True


class App(Table, frozen=True):
    """An app that is sampled."""

    name: Text
    namespace: Text
    workload: Workload
    service: Text
    port: Annotated[int, Meta(ge=1, le=65535)]
    host: Annotated[str, Meta(description="the host that its Ingress answers for")] = ""
    tls_secret: Annotated[str, Meta(description="the Secret with the certificate of its Ingress")] = ""


class Ingress(Table, frozen=True):
    """The ingress controller, the release that makes it, and the ports of each node that it answers on."""

    namespace: Text = "ingress-nginx"
    workload: Workload = "DaemonSet/ingress-nginx-controller"
    release: Text = "ingress-nginx"
    http_port: Annotated[int, Meta(ge=1, le=65535)] = 30080
    https_port: Annotated[int, Meta(ge=1, le=65535)] = 30443


class Storage(Table, frozen=True):
    """The storage system: its namespace, the release and the Kustomization that make it, and its StorageClass."""

    namespace: Text = "longhorn-system"
    release: Text = "longhorn"
    kustomization: Text = "storage"
    storage_class: Text = "longhorn"
    driver: Text = "driver.longhorn.io"


class Monitoring(Table, frozen=True):
    """The monitoring: its namespace, and the Services of its parts."""

    namespace: Text = "monitoring"
    core: Text = "monitoring-core-prometheus"
    longterm: Text = "monitoring-longterm-prometheus"
    alertmanager: Text = "monitoring-longterm-alertmanager"
    grafana: Text = "monitoring-core-grafana"
    grafana_secret: Text = "grafana-admin"  # noqa: S105  the name of a Secret
    longterm_release: Text = "monitoring-longterm"


class Declared(Table, frozen=True):
    """What you declare: exceptions, and facts that the tree doesn't hold."""

    node_ports: Annotated[tuple[int, ...], Meta(description="node ports that may be open")] = ()
    exposed: Annotated[
        tuple[int | Text, ...],
        Meta(description="what may be open to the outside: objects (`Kind/namespace/name`), or ports"),
    ] = ()
    cluster_admin: Annotated[
        tuple[Text, ...], Meta(description="accounts (`namespace/name`) that may do everything")
    ] = ()
    privileged: Annotated[tuple[Text, ...], Meta(description="workloads that may be privileged, by name")] = ()
    nodes: Annotated[int, Meta(ge=0, description="how many nodes the cluster has; 0: not declared")] = 0
    storage_nodes: Annotated[
        int, Meta(ge=0, description="how many of them have disks for the storage system; 0: not declared")
    ] = 0
    disks: Annotated[tuple[Text, ...], Meta(description="the disks of the storage system")] = ()
    ranges: Annotated[
        tuple[Text, ...], Meta(description="address ranges of pods and services; those of the document without it")
    ] = ()
    routes: Annotated[
        tuple[Text, ...], Meta(description="ranges that the subnet router advertises; those of the document without it")
    ] = ()
    poll: Annotated[str, Meta(description="how often Git is looked at")] = "30s"
    core_retention: Annotated[str, Meta(description="how long the core tier keeps samples")] = "2h"
    longterm_retention: Annotated[str, Meta(description="how long the long-term tier keeps samples")] = "30d"

    def __post_init__(self) -> None:
        if go_seconds(self.poll) is None:
            raise ValueError(f"poll is {self.poll!r}; write a duration, such as 30s or 1m")


class Checked(Table, frozen=True):
    """What `holdfast check` holds the tree to."""

    claims: Annotated[
        Literal["all"] | tuple[Text, ...], Meta(description="ids of the claims that this tree makes, or `all`")
    ] = ()


class Allow(Table, frozen=True):
    """A finding of `holdfast check` that you allow."""

    rule: Text
    because: Annotated[str, Meta(pattern=r"\S", description="why")]
    object: Annotated[str, Meta(description="`Kind/namespace/name`; every object without it")] = ""


class SettingsFile(Table, frozen=True):
    """Every section of the file."""

    flux: Flux = Flux()
    git: Git = Git()
    secret: tuple[Secret, ...] = ()
    suspend: tuple[Suspend, ...] = ()
    patch: tuple[Adaptation, ...] = ()
    images: Annotated[
        dict[str, Text], Meta(description="what an offline lane runs in place of an image: its recipe")
    ] = {}
    app: tuple[App, ...] = ()
    ingress: Ingress = Ingress()
    storage: Storage = Storage()
    monitoring: Monitoring = Monitoring()
    declared: Declared = Declared()
    check: Checked = Checked()
    roles: Annotated[
        dict[Role, tuple[Text, ...]],
        Meta(description="which Kustomizations are what, where their contents don't show it"),
    ] = {}
    allow: tuple[Allow, ...] = ()
    claims: Annotated[str, Meta(description="a claims file of your own, in the form of `suites/claims.toml`")] = ""
    runbook: Annotated[str, Meta(description="the runbook for emergencies, a file of the tree")] = ""


_FORMS = {
    "flux": '[flux] entry = "clusters/home"',
    "git": '[git] aliases = ["github.com"]',
    "secret": '[[secret]] namespace = "apps", name = "web", and one of: keys = ["password"], tls = ["web.example.org"], file = "age.key"',
    "suspend": '[[suspend]] kind = "Kustomization", namespace = "flux-system", name = "vpn", reason = "…"',
    "patch": '[[patch]] kind = "Deployment", namespace = "apps", name = "web", reason = "…", set = {"/spec/replicas" = 1}',
    "images": '[images] "nginx:1.29" = "web"',
    "app": '[[app]] name = "web", namespace = "apps", workload = "Deployment/web", service = "web", port = 80',
    "ingress": '[ingress] namespace = "ingress-nginx", workload = "DaemonSet/NAME", release = "NAME"',
    "storage": '[storage] namespace = "longhorn-system", release = "longhorn"',
    "monitoring": '[monitoring] namespace = "monitoring", core = "SERVICE"',
    "declared": '[declared] nodes = 3, node_ports = [30080, 30443], exposed = ["Deployment/dns/blocky", 443]',
    "check": '[check] claims = ["rbac-least"] or "all"',
    "roles": '[roles] core = ["KUSTOMIZATION"]',
    "allow": '[[allow]] rule = "longhorn.backup", because = "…"',
    "claims": 'claims = "holdfast/claims.toml"',
    "runbook": 'runbook = "docs/runbook.md"',
}
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
    """Reads the file in the tree, or beside it; without one, nothing is set. Raises UsageError with everything that is wrong in it."""
    for path, beside in ((tree / FILE, False), (tree.parent / f"{tree.name}{FILE}", True)):
        if path.is_symlink():
            raise UsageError(f"{path} is a link, and what it leads to isn't read", "put the file itself there")
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
                table = tomllib.loads(text)
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise UsageError(f"{path}: {error}", "correct the file, then run again") from None
            return _Reader(path, text, beside=beside).read(table)
    return Settings()


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
            images=file.images, ingress=file.ingress, storage=file.storage, monitoring=file.monitoring, apps=file.app,
            declared=file.declared, claims=file.claims, runbook=file.runbook, roles={str(r): m for r, m in file.roles.items()},
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
        self.errors.append((f"{self.path}:{line}: {place}{words}", form or _FORMS[section]))

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
