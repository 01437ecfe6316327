"""The files of a repository as source-controller packs them: tracked ones, without links, without what the ignore rules leave out."""

from __future__ import annotations

import codecs
import os
import posixpath
import re
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pathspec import GitIgnoreSpec

from holdfast.errors import UsageError
from holdfast.tree.git import Checkout, top_of

# Source: fluxcd/pkg/sourceignore; the second list counts only where there is no pattern of one's own, the first always.
_ALWAYS_LEFT_OUT = (".git/", ".gitignore", ".gitmodules", ".gitattributes")
_LEFT_OUT = (
    "*.jpg",
    "*.jpeg",
    "*.gif",
    "*.png",
    "*.wmv",
    "*.flv",
    "*.tar.gz",
    "*.zip",
    ".github/",
    ".circleci/",
    ".travis.yml",
    ".gitlab-ci.yml",
    "appveyor.yml",
    ".drone.yml",
    "cloudbuild.yaml",
    "codeship-services.yml",
    "codeship-steps.yml",
    "**/.goreleaser.yml",
    "**/.sops.yaml",
    "**/.flux.yaml",
)
MAX_BYTES = 4 * 1024 * 1024  # a larger manifest reaches no API server (etcd takes 1.5 MiB)
_TEST_DATA = frozenset({"test", "tests", "testdata", "fixtures", "examples", "node_modules", "vendor"})
_CLUSTERS = frozenset(
    {"cluster", "clusters", "env", "envs", "environments", "fleet", "kubernetes", "k8s", "overlays", "stages"}
)
_SET_ASIDE = re.compile(
    r"^[._]*(?:archived?|archives|attic|backups?|deferred|deprecated|disabled|graveyard|obsolete|old|retired|trash|unused)$|^_+(?:old|archived?|unused)[._-]|"
    r"[._-](?:bak|backup|disabled|old|orig)$|^[._-]*(?:tmpl|templates?|skeleton|boilerplate)$",
    re.IGNORECASE,
)
_WORKING_NAMES = frozenset({".git", ".venv", "node_modules"})


@dataclass(frozen=True, order=True)
class Location:
    """A line of a file; *file* is relative to the tree."""

    file: str
    line: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class Repository:
    """A GitOps tree on disk.

    Attributes:
        root: its folder, resolved.
        files: paths relative to it, sorted; links are not among them.
        links: symbolic links, which source-controller leaves out.
        odd: names that can't be read as text, escaped.
        modules: Git submodules, whose files are another repository's.
        commit: of its HEAD; empty where it is no checkout.
        remotes: the addresses that the checkout fetches from and pushes to.
        branch: the one that is checked out; empty where none is.
    """

    root: Path
    files: tuple[str, ...]
    links: frozenset[str]
    odd: tuple[str, ...] = ()
    commit: str = ""
    modules: tuple[str, ...] = ()
    remotes: tuple[str, ...] = ()
    branch: str = ""
    _texts: dict[str, str] = field(default_factory=dict)

    @cached_property
    def known(self) -> frozenset[str]:
        """All files, for quick look-ups."""
        return frozenset(self.files)

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder that holds a file; the root is ``.``."""
        found = {"."}
        for name in self.files:
            while (name := posixpath.dirname(name)) and name not in found:
                found.add(name)
        return frozenset(found)

    def raw(self, name: str) -> bytes:
        """A file's bytes, as far as `MAX_BYTES`."""
        with open(f"{self.root}/{name}", "rb") as file:  # noqa: PTH123  ten thousand times
            return file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)

    def text(self, name: str) -> str:
        """A file's text: UTF-8, or UTF-16 where it begins with that mark, as Go's YAML parser reads it; what is neither is replaced."""
        if name not in self._texts:
            raw = self.raw(name)
            coding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
            self._texts[name] = raw.decode(coding, errors="replace").removeprefix("\ufeff")
        return self._texts[name]

    def below(self, folder: str) -> list[str]:
        """The files below a folder."""
        return list(self.files) if folder == "." else [f for f in self.files if f.startswith(f"{folder}/")]

    @cached_property
    def packed(self) -> frozenset[str]:
        """The files that source-controller packs by its defaults and the tree's ``.sourceignore`` files."""
        return self.packed_with("")

    def packed_with(self, own_rules: str) -> frozenset[str]:
        """The same where the source has rules of its own (``spec.ignore``): they come last, so they can also take back."""
        own = [n for n in self.files if posixpath.basename(n) == ".sourceignore"]
        lines = [_below(posixpath.dirname(n), line) for n in own for line in self.text(n).splitlines()]
        lines += own_rules.splitlines()
        patterns = [line for line in lines if line.strip() and not line.startswith("#")]
        left_out = [*_ALWAYS_LEFT_OUT, *(patterns or _LEFT_OUT)]  # with a pattern of one's own the default list is gone
        return frozenset(self.files) - frozenset(GitIgnoreSpec.from_lines(left_out).match_files(self.files))


def _below(folder: str, line: str) -> str:
    """A rule of an ignore file in *folder*, as one of the root's."""
    if not folder or not line.strip() or line.startswith("#"):
        return line
    no, rule = ("!", line[1:]) if line.startswith("!") else ("", line)
    anchored = "/" in rule.rstrip("/")
    return f"{no}/{folder}/{rule.lstrip('/')}" if anchored else f"{no}/{folder}/**/{rule}"


def is_test_data(name: str) -> bool:
    """Whether a path lies in a folder that is test data for something else; ``clusters/test`` is a cluster."""
    parts = posixpath.dirname(name).split("/")
    return any(
        part in _TEST_DATA and not (above in _CLUSTERS and part in ("test", "tests"))
        for above, part in zip(["", *parts], parts, strict=False)
    )


def is_set_aside(name: str) -> bool:
    """Whether a path lies in a folder that no cluster reads: an archive, a copy kept, a template, test data, a tool's hidden folder."""
    parts = posixpath.dirname(name).split("/")
    return is_test_data(name) or any(
        _SET_ASIDE.search(part) or (part.startswith(".") and len(part) > 2) for part in parts
    )


def is_sync_of_bootstrap(name: str) -> bool:
    """Whether a file is called as ``flux bootstrap`` calls what it syncs a cluster by."""
    return posixpath.basename(name).startswith("gotk-sync.")


def read(root: Path) -> Repository:
    """Lists the files of a tree: what Git tracks or would track, or every file where it is no checkout. Raises UsageError without a folder."""
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}", "name the GitOps tree: holdfast check PATH")
    root = root.resolve()
    raw, head, remotes, branch = _tracked(root)
    names, odd = [], []
    for one in raw:
        try:
            names.append(one.decode("utf-8"))
        except UnicodeDecodeError:
            odd.append(one.decode("utf-8", errors="backslashreplace"))
    links, files, modules = set(), [], []
    for name in sorted(names):
        path = root / name
        if is_linked(root, name):
            links.add(name)
        elif path.is_file():
            files.append(name)
        elif path.is_dir():
            modules.append(name)
    return Repository(root, tuple(files), frozenset(links), tuple(sorted(odd)), head, tuple(modules), remotes, branch)


def _tracked(root: Path) -> tuple[list[bytes], str, tuple[str, ...], str]:
    """The names of the files that Git tracks or would track, or of every file where it is no checkout; its HEAD's commit, remotes, branch."""
    top = top_of(root)
    if top is not None and shutil.which("git"):
        with Checkout(top) as source:
            listed = source.run("ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=root)
            head = source.git("rev-parse", "--verify", "-q", "HEAD", check=False)
            remotes, branch = source.remotes, source.branch
        if listed.returncode == 0 and listed.stdout:
            return sorted({name for name in listed.stdout.split(b"\0") if name}), head, remotes, branch
    found = []
    base = os.fsencode(root)
    for folder, below, names in os.walk(base):
        here = os.path.relpath(folder, base)
        linked = [d for d in below if os.path.islink(os.path.join(folder, d))]  # noqa: PTH118, PTH114  bytes: a name need not be text
        below[:] = [d for d in below if os.fsdecode(d) not in _WORKING_NAMES and d not in linked]
        found += [n if here == b"." else os.path.join(here, n) for n in [*names, *linked]]  # noqa: PTH118
    return sorted(found), "", (), ""


def is_linked(root: Path, name: str) -> bool:
    """Whether the file, or a folder above it, is a link."""
    path = root
    for part in name.split("/"):
        path /= part
        if path.is_symlink():
            return True
    return False
