"""``.holdfast.toml``: what a lane has to know about a tree, and what it must change to run it. Nothing of it changes the tree.

See ``fixtures/gitops/.holdfast.toml`` for an example with every section.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from holdfast.errors import UsageError
from holdfast.tree.documents import Document, Entry

FILE = ".holdfast.toml"
_SECTIONS = {
    "flux": dict,
    "git": dict,
    "secret": list,
    "suspend": list,
    "patch": list,
    "images": dict,
    "ingress": dict,
    "storage": dict,
    "monitoring": dict,
    "app": list,
    "stated": dict,
    "claims": str,
    "runbook": str,
    "roles": dict,
    "check": dict,
    "allow": list,
}


@dataclass(frozen=True)
class Secret:
    """A Secret that isn't in Git: *keys* get random text, or *tls* names the hosts of a certificate that is made up."""

    namespace: str
    name: str
    keys: tuple[str, ...] = ()
    tls: tuple[str, ...] = ()
    file: str = ""
    key: str = ""


@dataclass(frozen=True)
class Adaptation:
    """An object that the lane changes: JSON pointers and the values to set there, with the reason."""

    kind: str
    namespace: str
    name: str
    reason: str
    set: dict[str, Any]


@dataclass(frozen=True)
class App:
    """An app that is sampled: its workload, its Service, the host that its Ingress answers for."""

    name: str
    namespace: str
    workload: str
    service: str
    port: int
    host: str = ""
    tls_secret: str = ""


@dataclass(frozen=True)
class Ingress:
    """Where the ingress controller lies, and which release makes it."""

    namespace: str = "ingress-nginx"
    workload: str = "DaemonSet/ingress-nginx-controller"
    release: str = "ingress-nginx"


@dataclass(frozen=True)
class Storage:
    """Where the storage system lies: its namespace, the release and the Kustomization that make it, and its StorageClass."""

    namespace: str = "longhorn-system"
    release: str = "longhorn"
    kustomization: str = "storage"
    storage_class: str = "longhorn"
    driver: str = "driver.longhorn.io"


@dataclass(frozen=True)
class Monitoring:
    """Where the monitoring lies: its namespace, and the Services of its parts (with the port's name or number)."""

    namespace: str = "monitoring"
    core: str = "monitoring-core-prometheus"
    longterm: str = "monitoring-longterm-prometheus"
    alertmanager: str = "monitoring-longterm-alertmanager"
    grafana: str = "monitoring-core-grafana"
    grafana_secret: str = "grafana-admin"  # noqa: S105  the name of a Secret
    longterm_release: str = "monitoring-longterm"


@dataclass(frozen=True)
class Settings:
    """What the file says; every part is empty where it says nothing."""

    entry: str = ""
    aliases: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    adaptations: tuple[Adaptation, ...] = ()
    images: dict[str, str] = field(default_factory=dict)
    ingress: Ingress = Ingress()
    storage: Storage = Storage()
    monitoring: Monitoring = Monitoring()
    apps: tuple[App, ...] = ()
    declared: dict[str, Any] = field(default_factory=dict)
    claims: str = ""
    runbook: str = ""
    roles: dict[str, list[str]] = field(default_factory=dict)
    promises: tuple[str, ...] = ()
    allowed: dict[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Each adaptation in words, for the fidelity notes."""
        said = [
            f"{c.kind}/{c.namespace}/{c.name} is changed in the lane ({', '.join(c.set)}): {c.reason}"
            for c in self.adaptations
        ]
        said += [f"the Git host {host} is the lane's own server" for host in self.aliases]
        said += [f"the Secret {s.namespace}/{s.name} is made up" for s in self.secrets]
        return said


def load(tree: Path) -> Settings:
    """Reads the file in the tree, or beside it; without one, nothing is adapted. Raises UsageError with what is wrong in it."""
    for path in (tree / FILE, tree.parent / f"{tree.name}{FILE}"):
        if path.is_symlink():
            raise UsageError(f"{path} is a link, and what it leads to isn't read", "put the file itself there")
        if path.is_file():
            try:
                return _read(tomllib.loads(path.read_text(encoding="utf-8")), path)
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise UsageError(f"{path}: {error}", "fix the file, then run again") from None
            except (TypeError, AttributeError, KeyError) as error:
                raise UsageError(
                    f"{path}: {str(error).replace('__init__() got an', 'an')}", "see the example in fixtures/gitops"
                ) from None
    return Settings()


def _read(table: dict[str, Any], path: Path) -> Settings:
    for section, value in table.items():
        if section not in _SECTIONS:
            near = difflib.get_close_matches(section, _SECTIONS, 1)
            raise UsageError(
                f"{path}: unknown section '{section}'" + (f"; did you mean '{near[0]}'?" if near else ""),
                f"sections are: {', '.join(_SECTIONS)}",
            )
        if not isinstance(value, _SECTIONS[section]):
            raise UsageError(
                f"{path}: '{section}' is written the wrong way",
                f"write it as [[{section}]]" if _SECTIONS[section] is list else f"write it as [{section}]",
            )
    suspended = [Adaptation(set={"/spec/suspend": True}, **s) for s in table.get("suspend", [])]
    return Settings(
        entry=str(table.get("flux", {}).get("entry", "")),
        aliases=tuple(table.get("git", {}).get("aliases", [])),
        secrets=tuple(_secret(s) for s in table.get("secret", [])),
        adaptations=(*suspended, *(Adaptation(**p) for p in table.get("patch", []))),
        images=table.get("images", {}),
        ingress=Ingress(**table.get("ingress", {})),
        storage=Storage(**table.get("storage", {})),
        monitoring=Monitoring(**table.get("monitoring", {})),
        apps=tuple(App(**a) for a in table.get("app", [])),
        declared=table.get("stated", {}),
        claims=table.get("claims", ""),
        runbook=table.get("runbook", ""),
        roles=table.get("roles", {}),
        promises=_promises(table.get("check", {}).get("promises", [])),
        allowed=_allowed(table.get("allow", []), path),
    )


def _promises(said: Any) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else tuple(said)


def _allowed(entries: list[dict[str, Any]], path: Path) -> dict[str, str]:
    """Findings of `holdfast check` that the owner allows, each with the reason; without one it is an error."""
    found = {}
    for entry in entries:
        if not entry.get("rule") or not str(entry.get("because", "")).strip():
            raise UsageError(
                f"{path}: an [[allow]] needs 'rule' and 'because' (the reason)", "say why it is allowed, or take it out"
            )
        found[f"{entry['rule']} {entry['object']}" if entry.get("object") else str(entry["rule"])] = str(
            entry["because"]
        )
    return found


def _secret(entry: dict[str, Any]) -> Secret:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Secret(**values)


def git_hosts(documents: list[Document]) -> dict[str, Document]:
    """The hosts that the tree's Git sources point at."""
    return {
        urlsplit(str(d.body["spec"]["url"])).hostname or "": d
        for d in documents
        if d.kind == "GitRepository" and (d.body.get("spec") or {}).get("url")
    }


def _references(value: Any, namespace: str) -> list[str]:
    """The names of Secrets that an object can't do without."""
    found: list[str] = []
    if isinstance(value, dict):
        if value.get("optional") is True:
            return []
        for key, below in value.items():
            if key in ("secretRef", "secretKeyRef") and isinstance(below, dict) and "name" in below:
                found += [str(below["name"])] if below.get("optional") is not True else []
            elif key == "secretName" and isinstance(below, str):
                found.append(below)
            elif key == "imagePullSecrets" and isinstance(below, list):
                found += [str(s["name"]) for s in below if "name" in s]
            else:
                found += _references(below, namespace)
    elif isinstance(value, list):
        for item in value:
            found += _references(item, namespace)
    return found


def lacking(documents: list[Document], settings: Settings, start: Entry) -> list[str]:
    """What the tree needs and nobody gave, in words: Secrets that aren't in Git, Git hosts that the lane can't reach."""
    have = {(d.namespace, d.name) for d in documents if d.kind == "Secret"} | {
        (s.namespace, s.name) for s in settings.secrets
    }
    sync = start.source.body["spec"].get("secretRef") or {}
    have.add((start.source.namespace, str(sync.get("name"))))  # the sync's own key is always made for the run
    suspended = {(c.kind, c.namespace, c.name) for c in settings.adaptations if c.set.get("/spec/suspend") is True}
    said = []
    for doc in documents:
        if doc.kind in ("CustomResourceDefinition", "Secret") or (doc.kind, doc.namespace, doc.name) in suspended:
            continue
        for name in _references(doc.body.get("spec"), doc.namespace):
            if (doc.namespace, name) not in have:
                have.add((doc.namespace, name))
                said.append(f"the Secret {doc.namespace}/{name}, needed by {doc.kind}/{doc.name} ({doc})")
    said += [
        f"the Git host {host} ({doc})"
        for host, doc in git_hosts(documents).items()
        if host and host not in settings.aliases
    ]
    return said
