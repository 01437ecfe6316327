"""Encrypted files (SOPS) of a tree for whose key nobody was asked: the same files with placeholders in place of what can't be read."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import yaml

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.sops import is_encrypted
from holdfast.tree.tree import Tree

_MARK = re.compile(r"ENC\[AES256_GCM,")
_TYPE = re.compile(r",type:(\w+)\]$")
_OF_TYPE: dict[str, Any] = {"int": 1, "float": 1.0, "bool": True}
_LINE = re.compile(r"^(?P<key>[\w.-]+)=ENC\[AES256_GCM,.*$", re.MULTILINE)


def placeholder(key: str) -> str:
    """What stands for the value under a key: as good as any text may be, also as part of a host's name."""
    return f"{UNKNOWN}{re.sub(r'[^a-z0-9]+', '-', key.lower()).strip('-') or 'value'}"


def replaced(text: str) -> str | None:
    """A file's text with placeholders; None where nothing of it is encrypted. What is in no form that SOPS writes stays as it is."""
    if not _MARK.search(text):
        return None
    try:
        documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, ValueError):
        return _of_lines(text)
    if not any(isinstance(d, dict) for d in documents):
        return _of_lines(text)
    plain = [_plain(d) if isinstance(d, dict) and "sops" in d else d for d in documents]
    if text.lstrip().startswith("{"):
        return json.dumps(plain[0], indent=1)
    return "".join(f"---\n{yaml.safe_dump(d, sort_keys=False)}" for d in plain if d is not None)


def _of_lines(text: str) -> str:
    """``KEY=value`` files."""
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("sops_"))
    return _LINE.sub(lambda m: f"{m['key']}={placeholder(m['key'])}", kept) + "\n"


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    out = {key: _value(key, value) for key, value in document.items() if key != "sops"}
    if out.get("kind") == "Secret" and isinstance(out.get("data"), dict):
        out["data"] = {
            key: base64.b64encode(value.encode()).decode()
            if isinstance(value, str) and value.startswith((UNKNOWN, "{"))
            else value
            for key, value in out["data"].items()
        }
    return out


def _value(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _value(str(k), v) for k, v in value.items()}
    if isinstance(value, list):
        return [_value(key, v) for v in value]
    if not isinstance(value, str) or not _MARK.match(value):
        return value
    if key == ".dockerconfigjson":
        return '{"auths":{}}'
    kind = _TYPE.search(value)
    return _OF_TYPE.get(kind[1], placeholder(key)) if kind else placeholder(key)


def left_encrypted(tree: Tree) -> frozenset[str]:
    """The files of encrypted Secrets that a Kustomization applies and none decrypts: they stay as they are, so that Flux's own word is seen."""
    files: dict[bool, set[str]] = {True: set(), False: set()}
    for kustomization in tree.kustomizations.values():
        files[bool(kustomization.spec.get("decryption"))] |= {m.file for m in kustomization.objects if is_encrypted(m)}
    return frozenset(files[False] - files[True])


def replace_in(folder: Path, kept: frozenset[str] = frozenset()) -> list[str]:
    """Replaces what is encrypted in every file of a checkout, but for those that are *kept*; returns the files, relative to it."""
    changed = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and ".git" not in p.parts):
        if path.stat().st_size > 1_000_000 or str(path.relative_to(folder)) in kept:
            continue
        text = path.read_bytes().decode("utf-8", errors="surrogateescape")
        plain = replaced(text)
        if plain is not None:
            path.write_bytes(plain.encode("utf-8", errors="surrogateescape"))
            changed.append(str(path.relative_to(folder)))
    return changed
