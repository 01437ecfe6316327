"""The user's own kubeconfig, read only where the user names one of its contexts: the one context's part of it, whole in itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from holdfast.errors import UsageError

IN_CLUSTER = "in-cluster"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# What names a file, relative to the kubeconfig that it stands in.
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def contexts() -> list[str]:
    """The contexts that the user has, in their order."""
    found = [str(c.get("name")) for file, body in _files() for c in _named(file, body, "contexts")]
    return list(dict.fromkeys(found)) + ([IN_CLUSTER] if _account() else [])


def of_context(name: str) -> dict[str, Any]:
    """A kubeconfig of one context alone, its files by absolute paths. Raises UsageError for one that isn't there, or is broken."""
    if not name:
        raise UsageError("no context is named, and none is guessed", f"name one with --context: {_listed()}")
    if name == IN_CLUSTER and (account := _account()):
        return account
    context = _one("contexts", name)
    if context is None:
        raise UsageError(f"there is no context {name}", f"name one with --context: {_listed()}")
    inner = context.get("context") or {}
    parts = {kind: _one(f"{kind}s", str(inner.get(kind) or "")) for kind in ("cluster", "user")}
    for kind, found in parts.items():
        if found is None:
            raise UsageError(
                f"the context {name} names the {kind} {inner.get(kind)}, which isn't there", "fix your kubeconfig"
            )
    _checked(name, (parts["cluster"] or {}).get("cluster"))
    if "auth-provider" in ((parts["user"] or {}).get("user") or {}):
        raise UsageError(
            f"the user of the context {name} has an auth-provider, which Kubernetes has removed since 1.26",
            "use an exec plugin, a token or a certificate: docs/own-cluster.md",
        )
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [context],
        "clusters": [parts["cluster"]],
        "users": [parts["user"]],
    }


def _checked(name: str, cluster: object) -> None:
    """Raises UsageError for an address that no API server has, and for one to which a token would go in the clear."""
    said = str(cluster.get("server") or "") if isinstance(cluster, dict) else ""
    try:
        url = urlsplit(said)
        host = url.hostname
    except ValueError:
        host = None
    if not host or url.scheme not in ("https", "http"):
        raise UsageError(
            f"the context {name} has no address of a server: {said.rpartition('@')[2] or 'none'}", "fix your kubeconfig"
        )
    if url.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        raise UsageError(
            f"the context {name} is reached without encryption (at {host}), so whoever is between could read the account",
            "name one by https",
        )


def _listed() -> str:
    return ", ".join(contexts()) or "your kubeconfig has none"


def _files() -> Iterator[tuple[Path, dict[str, Any]]]:
    said = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    for path in map(Path, filter(None, said.split(os.pathsep))):
        try:
            body = yaml.safe_load(path.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, yaml.YAMLError) as error:
            words = str(error).partition("\n")[0][:160]
            raise UsageError(
                f"the kubeconfig {path} can't be read: {words}", "fix it, or name another by KUBECONFIG"
            ) from None
        if isinstance(body, dict):
            yield path, body


def _named(file: Path, body: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    entries = body.get(kind)
    for one in entries if isinstance(entries, list) else []:
        if isinstance(one, dict):
            yield {k: _absolute(file, v) for k, v in one.items()}


def _one(kind: str, name: str) -> dict[str, Any] | None:
    """The first of several files wins, as kubectl has it."""
    return next((c for file, body in _files() for c in _named(file, body, kind) if c.get("name") == name), None)


def _absolute(file: Path, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    made = dict(value)
    for key in _FILES:
        if isinstance(made.get(key), str) and made[key]:
            made[key] = str(file.parent.absolute() / made[key])
    if isinstance(made.get("exec"), dict) and "/" in str(made["exec"].get("command")):
        made["exec"] = {**made["exec"], "command": str(file.parent.absolute() / made["exec"]["command"])}
    return made


def _account() -> dict[str, Any] | None:
    """The account of the pod that this runs in; None where it runs in none."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (_ACCOUNT / "token").exists():
        return None
    at = f"[{host}]" if ":" in host else host
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": IN_CLUSTER,
        "contexts": [{"name": IN_CLUSTER, "context": {"cluster": IN_CLUSTER, "user": IN_CLUSTER}}],
        "clusters": [
            {
                "name": IN_CLUSTER,
                "cluster": {"server": f"https://{at}:{port}", "certificate-authority": str(_ACCOUNT / "ca.crt")},
            }
        ],
        "users": [{"name": IN_CLUSTER, "user": {"tokenFile": str(_ACCOUNT / "token")}}],
    }
