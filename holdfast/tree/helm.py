"""Charts that can be read - in the tree, or in a folder of charts - rendered by `helm template`, so that their objects are judged too."""

from __future__ import annotations

import json
import posixpath
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from holdfast.tree.chart_files import NoChart, put
from holdfast.tree.manifest import Body, Manifest, get, mapping, sequence
from holdfast.tree.releases import Release
from holdfast.tree.repository import Location
from holdfast.tree.sources import load_text
from holdfast.tree.tree import Charts, Tree

_TIMEOUT_S = 60
_SOURCE = re.compile(r"^# Source: [^/\n]+/(.+)$", re.MULTILINE)


@dataclass
class _Rendering:
    """What is known while charts are being rendered."""

    objects: list[Manifest] = field(default_factory=list)
    rendered: set[str] = field(default_factory=set)
    errors: list[tuple[Manifest, str]] = field(default_factory=list)
    unrendered: dict[str, str] = field(default_factory=dict)
    not_read: list[str] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)

    def lacks(self, release: Release, why: str) -> None:
        """A chart of the tree wasn't rendered."""
        self.not_read.append(f"{release.manifest.id}: {why}")
        self.unrendered[release.manifest.id] = why


@dataclass(frozen=True)
class Fetched:
    """Charts that were fetched: files by the release's id, and those that weren't to be had, in words."""

    files: Mapping[str, str] = field(default_factory=dict)
    lacking: tuple[str, ...] = ()


def render(tree: Tree, find_helm: Callable[[], str], charts: Path | None, fetched: Fetched) -> Tree:
    """The tree with what its releases' charts render; what can't be rendered is said in its `not_read`.

    Args:
        find_helm: gives the helm program, empty where there is none; asked only where there is a chart to render.
        charts: a folder with charts: NAME/, NAME-VERSION/ or NAME-VERSION.tgz.
    """
    out = _Rendering(not_read=list(fetched.lacking))
    for release in tree.releases:
        inside = in_tree(tree, release)
        found = inside or in_folder(charts, release) or fetched.files.get(release.manifest.id, "")
        if not found:
            continue
        name = release.manifest.id
        if release.manifest.spec.get("suspend") is True:
            out.unrendered[name] = "it is suspended: it installs nothing new, and what it has installed isn't known"
            continue
        out.folders[name] = found
        if inside and (lacking := _to_fetch(tree, inside)):
            out.lacks(release, f"its chart {found} needs {', '.join(lacking)}, which would have to be fetched")
        elif not (helm := find_helm()):
            out.lacks(release, f"its chart {found} wasn't rendered, since there is no helm")
        else:
            if release.unread:
                missing = ", ".join(release.unread)
                out.not_read.append(f"{name}: its chart was rendered without {missing}, which isn't in the tree")
            _render(tree, release, helm, found, out, inside=bool(inside))
            if name not in out.rendered:
                out.unrendered.setdefault(name, f"its chart {found} can't be rendered")
    doubts = [
        f"{manifest.id} is rendered by the chart of {manifest.owner}: what it brings wasn't followed"
        for manifest in out.objects
        if manifest.kind in ("Kustomization", "HelmRelease") and manifest.group.endswith(".toolkit.fluxcd.io")
    ]
    brought = Charts(
        tuple(out.objects),
        frozenset(out.rendered),
        tuple(out.errors),
        out.unrendered,
        tuple(doubts),
        out.folders,
        {name: Path(file).name for name, file in fetched.files.items()},
        fetched.lacking,
    )
    return replace(tree, charts=brought, not_read=(*tree.not_read, *out.not_read, *doubts))


def _to_fetch(tree: Tree, folder: str) -> list[str]:
    """The dependencies of a chart that aren't vendored: source-controller fetches them."""
    body = next((b for _, b in tree.sources.bodies(f"{folder}/Chart.yaml")), {})
    named = [str(mapping(d).get("name")) for d in sequence(body.get("dependencies"))]
    there = tree.repository.below(f"{folder}/charts")
    return [
        n for n in named if not any(f.startswith((f"{folder}/charts/{n}/", f"{folder}/charts/{n}-")) for f in there)
    ]


def in_tree(tree: Tree, release: Release) -> str:
    """The folder of a chart that lies in this repository."""
    ref = mapping(get(release.manifest.spec, "chart", "spec", "sourceRef"))
    own = mapping(tree.root.spec.get("sourceRef"))
    if ref.get("kind") != "GitRepository" or ref.get("name") != own.get("name"):
        return ""
    folder = posixpath.normpath(str(get(release.manifest.spec, "chart", "spec", "chart") or "").lstrip("/") or ".")
    return folder if f"{folder}/Chart.yaml" in tree.repository.known else ""


def in_folder(charts: Path | None, release: Release) -> str:
    """A release's chart in a folder of charts; empty where it isn't there."""
    if charts is None or not release.chart or "/" in release.chart:
        return ""
    exact = [
        charts / release.chart,
        charts / f"{release.chart}-{release.version}",
        charts / f"{release.chart}-{release.version}.tgz",
    ]
    some = sorted([*charts.glob(f"{release.chart}-[0-9]*.tgz"), *charts.glob(f"{release.chart}-[0-9]*/")])
    return next(
        (
            str(p.resolve())
            for p in [*exact, *some[::-1]]
            if (p.suffix == ".tgz" and p.is_file()) or (p / "Chart.yaml").is_file()
        ),
        "",
    )


def _render(tree: Tree, release: Release, helm: str, chart: str, out: _Rendering, *, inside: bool) -> None:
    own = release.manifest
    with tempfile.TemporaryDirectory(prefix="holdfast-helm-") as name:
        folder = Path(name)
        source = folder / "chart"
        try:
            put(tree, release, chart, source)
        except NoChart as why:
            out.errors.append((own, str(why)))
            return
        (folder / "values.yaml").write_text(json.dumps(release.values, default=str))
        skips = get(own.spec, "install", "crds") == "Skip" or get(own.spec, "install", "skipCRDs") is True
        command = [
            helm,
            "template",
            release.name[:53],
            str(source),
            "--namespace",
            release.target_namespace,
            "--values",
            str(folder / "values.yaml"),
            *([] if skips else ["--include-crds"]),
        ]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                env={"PATH": "", "HOME": name, "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"},
            )
        except subprocess.TimeoutExpired:
            out.not_read.append(f"{own.id}: helm didn't end within {_TIMEOUT_S}s")
            return
        if done.returncode:
            words = done.stderr.strip().replace(f"{source}", chart if inside else "the chart")
            if release.unread:  # what it lacks may be in them
                out.lacks(release, f"its chart can't be rendered without {', '.join(release.unread)}: {words[-200:]}")
                return
            out.errors.append((own, words.removeprefix("Error: ")[-400:]))
            return
        out.objects += list(_objects(tree, release, done.stdout, chart if inside else "", out))
        out.rendered.add(own.id)


def _objects(tree: Tree, release: Release, text: str, chart: str, out: _Rendering) -> list[Manifest]:
    found = []
    for part in re.split(r"^---\s*$", text, flags=re.MULTILINE):
        try:
            body = load_text(part)
        except (yaml.YAMLError, ValueError) as error:
            out.errors.append(
                (release.manifest, f"the chart renders what is no YAML: {str(error).partition(chr(10))[0]}")
            )
            continue
        if not isinstance(body, dict) or "helm.sh/hook" in mapping(get(body, "metadata", "annotations")):
            continue
        source = _SOURCE.search(part)
        file = posixpath.normpath(posixpath.join(chart, source[1])) if source and chart else ""
        at = Location(file, 1) if file in tree.repository.known else tree.locate(release.manifest, "spec", "chart")
        found.append(_placed(body, release, at))
    return found


def _placed(body: Body, release: Release, at: Location) -> Manifest:
    made = Manifest(body, at.file, "HelmChart", owner=release.manifest.id, at=at)
    if made.namespace and "namespace" not in made.meta:
        made.replace({**body, "metadata": {**made.meta, "namespace": release.target_namespace}})
    return made
