"""Charts that a tree's releases name, fetched where the user says so: from where source-controller would, by helm's own client."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.paths import cache_dir
from holdfast.progress import step
from holdfast.tree.helm import Fetched, in_folder, in_tree
from holdfast.tree.manifest import Manifest, get, mapping
from holdfast.tree.releases import Release
from holdfast.tree.tree import Tree

_WITHIN_S = 120
_AT_ONCE = 4
_LONGEST = 2000
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)*")
_EXACT = re.compile(r"v?\d+\.\d+\.\d+(?:[-+][\w.+-]+)?")
_SCHEMES = ("http", "https", "oci")
# Of what a user has set up for the network, and nothing else of the environment.
_PASSED_ON = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


@dataclass(frozen=True)
class Wanted:
    """A chart as a release names it.

    Attributes:
        repository: where it is: a chart repository (http, https), or the folder of an OCI one.
        version: a version or a range; empty for the newest.
        plain: whether an OCI registry is asked without TLS.
    """

    repository: str
    chart: str
    version: str
    plain: bool = False

    def command(self, helm: str, folder: Path) -> list[str]:
        """How helm is called to put it into a folder."""
        oci = self.repository.startswith("oci://")
        return [
            helm,
            "pull",
            f"{self.repository.rstrip('/')}/{self.chart}" if oci else self.chart,
            *([] if oci else [f"--repo={self.repository}"]),
            *([f"--version={self.version}"] if self.version else []),
            *(["--plain-http"] if self.plain else []),
            f"--destination={folder}",
        ]

    @property
    def place(self) -> Path:
        """Where it is kept, with what else came of the same repository, chart and version."""
        whole = hashlib.sha256(
            "\0".join((self.repository, self.chart, self.version, str(self.plain))).encode()
        ).hexdigest()[:16]
        return cache_dir() / "fetched-charts" / whole


class NotFetched(Exception):
    """Why a chart isn't to be had, in words."""


def fetch(tree: Tree, find_helm: Callable[[], str], charts: Path | None = None) -> Fetched:
    """Fetches the charts of a tree's releases, but those that lie in this repository or in the folder *charts*; the same one once."""
    wanted: dict[str, Wanted] = {}
    lacking: list[str] = []
    for release in tree.releases:
        if in_tree(tree, release) or in_folder(charts, release):
            continue
        try:
            wanted[release.manifest.id] = wanted_by(tree, release)
        except NotFetched as why:
            lacking.append(f"{release.manifest.id}: {why}")
    each = list(dict.fromkeys(wanted.values()))
    if not each:
        return Fetched({}, tuple(lacking))
    if not (helm := find_helm()):
        return Fetched(
            {}, (*lacking, f"{len(each)} charts weren't fetched, since there is no helm: install it, then run again")
        )
    with step(f"fetching {len(each)} charts"), ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip(each, pool.map(lambda one: _outcome(one, helm), each), strict=True))
    files = {name: file for name, one in wanted.items() if isinstance(file := found[one], Path)}
    lacking += [f"{name}: {found[one]}" for name, one in wanted.items() if name not in files]
    return Fetched({name: str(file) for name, file in files.items()}, tuple(lacking))


def wanted_by(tree: Tree, release: Release) -> Wanted:
    """What a release's chart is fetched as. Raises NotFetched."""
    own = release.manifest
    if reference := mapping(own.spec.get("chartRef")):
        source = _source(tree, own, reference)
        if source.kind == "OCIRepository":
            return _of_oci(source)
        spec = source.spec  # a HelmChart
        source = _source(tree, source, mapping(spec.get("sourceRef")))
    else:
        spec = mapping(get(own.spec, "chart", "spec"))
        source = _source(tree, own, mapping(spec.get("sourceRef")))
    if source.kind != "HelmRepository":
        raise NotFetched(f"its chart is in {source.id}, which isn't fetched")
    _open(source)
    if str(source.spec.get("url") or "").startswith("oci://") and source.spec.get("type") != "oci":
        raise NotFetched(f"{source.id} has an oci:// URL and isn't of the type oci, which source-controller refuses")
    chart, version = str(spec.get("chart") or ""), str(spec.get("version") or "")
    return _checked(
        Wanted(str(source.spec.get("url") or ""), chart, "" if version == "*" else version, _is_plain(source))
    )


def _source(tree: Tree, by: Manifest, reference: Mapping[str, object]) -> Manifest:
    key = (str(reference.get("kind")), str(reference.get("namespace") or by.namespace), str(reference.get("name")))
    source = tree.by_key.get(key)
    if source is None:
        raise NotFetched(f"its source {'/'.join(key)} isn't in the tree")
    return source


def _of_oci(source: Manifest) -> Wanted:
    _open(source)
    folder, _, chart = str(source.spec.get("url") or "").rstrip("/").rpartition("/")
    reference = mapping(source.spec.get("ref"))
    for what, there in (
        ("names a digest", reference.get("digest")),
        ("filters its tags", reference.get("semverFilter")),
        ("takes one of its layers", source.spec.get("layerSelector")),
        ("is verified", source.spec.get("verify")),
    ):
        if there:
            raise NotFetched(f"{source.id} {what}, which helm's client can't do as source-controller does")
    tag = str(reference.get("semver") or reference.get("tag") or "latest")
    if not reference.get("semver") and not _EXACT.fullmatch(tag):
        raise NotFetched(f"{source.id} takes the tag {tag}, which is no version")
    return _checked(Wanted(folder, chart, tag, _is_plain(source)))


def _open(source: Manifest) -> None:
    """Raises NotFetched for a source that only somebody who is known is given."""
    for field in ("secretRef", "certSecretRef", "proxySecretRef"):
        if source.spec.get(field):
            raise NotFetched(f"{source.id} has a {field}, and a rehearsal has no credentials")
    if source.spec.get("provider") not in (None, "generic"):
        raise NotFetched(f"{source.id} asks {source.spec['provider']} for credentials")


def _is_plain(source: Manifest) -> bool:
    return source.spec.get("insecure") is True


def _checked(one: Wanted) -> Wanted:
    """What may be given to helm. Raises NotFetched."""
    try:
        address = urlsplit(one.repository)
    except ValueError as why:
        raise NotFetched(f"its repository has no address: {why}") from None
    if address.scheme not in _SCHEMES:
        raise NotFetched(f"an address of the scheme '{address.scheme}' isn't fetched: only {', '.join(_SCHEMES)} are")
    if address.username or address.password:
        raise NotFetched("its repository's address holds credentials")
    if not _NAME.fullmatch(one.chart):
        raise NotFetched(f"'{one.chart[:80]}' is no chart's name")
    if not (one.repository + one.version).isprintable() or len(one.repository + one.version) > _LONGEST:
        raise NotFetched("its repository or its version is no text that helm could be given")
    return one


def _outcome(one: Wanted, helm: str) -> Path | str:
    """The chart's file, or why there is none."""
    if _EXACT.fullmatch(one.version) and (kept := _kept(one)):
        return kept
    one.place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=one.place) as name:
        folder = Path(name)
        try:
            done = subprocess.run(
                one.command(helm, folder),
                capture_output=True,
                text=True,
                check=False,
                timeout=_WITHIN_S,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                env={"PATH": "", "HOME": name, **_network()},
            )
        except subprocess.TimeoutExpired:
            return f"helm didn't end within {_WITHIN_S}s"
        except (OSError, ValueError) as error:
            return f"helm can't be called: {error}"
        packed = sorted(folder.glob("*.tgz"))
        if done.returncode or not packed:
            said = " ".join(done.stderr.split()).removeprefix("Error: ")
            return f"its chart isn't to be had: {said[-300:] or 'helm said nothing'}"
        return packed[0].replace(one.place / packed[0].name)  # what another run of the same range uses stays


def _kept(one: Wanted) -> Path | None:
    return next(iter(sorted(one.place.glob("*.tgz"))), None)


def _network() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
