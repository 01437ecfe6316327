"""The forms that the API server takes: of names, keys and values; and what it refuses, in words."""

from __future__ import annotations

import re
from typing import Any

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.sources import PathKey

Path = tuple[PathKey, ...]
Refusal = tuple[Path, str]
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
DATA_KEY = re.compile(r"(?=.{1,253}$)[-._a-zA-Z0-9]+")
ENV = re.compile(r"[ -<>-~]+")  # any printable character but "="
HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
PORTS = range(1, 65536)


def known(value: Any) -> bool:
    """Not so: a variable that isn't in the tree, or in what nothing applies, still one."""
    return not (isinstance(value, str) and (UNKNOWN in value or "${" in value))
