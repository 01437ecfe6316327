"""Who brings what a tree needs: definitions and releases of the tree, and what bootstraps the cluster before Flux runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

from holdfast.tree.manifest import Manifest, get
from holdfast.tree.releases import Release, known_charts
from holdfast.tree.tree import Tree

Giver = Manifest | Release
_INSTALL_CHARTS = frozenset(
    {
        ("fluxcd.controlplane.io", "ResourceSet"),
        ("helm.cattle.io", "HelmChart"),
        ("fleet.cattle.io", "Bundle"),
        ("argoproj.io", "Application"),
        ("argoproj.io", "ApplicationSet"),
        ("helm.crossplane.io", "Release"),
        ("addons.cluster.x-k8s.io", "HelmChartProxy"),
    }
)  # objects that make others, which aren't read: charts with their definitions among them
_BY_HAND = re.compile(r"(?:bootstrap|helmfile).*\.(?:ya?ml|gotmpl|sh|just|tf)$|\.tf(?:tpl)?$", re.IGNORECASE)
_GUIDE = re.compile(r"\.(?:md|adoc|rst)$", re.IGNORECASE)  # what is typed by its words is done by hand
_SPACE = r"(?:-n|--namespace)[ =]+[\"']?([a-z0-9-]+)"
_BY_HELM = re.compile(
    rf"\bhelm\b[^\n]*?{_SPACE}[^\n]*--create-namespace|\bhelm\b[^\n]*--create-namespace[^\n]*?{_SPACE}"
)
# Signs that a cluster is begun by more than Flux: what tasks and tools of other kinds do isn't read.
_TOOLS = re.compile(
    r"(?:^|/)(?:taskfile[^/]*|justfile|[^/]+\.just)$|(?:^|/)\.?taskfiles?/|helmfile|bootstrap[^/]*\.(?:sh|py|tf|ya?ml|gotmpl)$|(?:^|/)bootstrap/"
    r"|(?:^|/)talos/",
    re.IGNORECASE,
)
_HELMFILE = re.compile(r"^releases:", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?:#|//|\{\{/\*).*$", re.MULTILINE)
_DOCUMENT = re.compile(r"^---.*$", re.MULTILINE)
_DEFINITION = re.compile(r"^kind: *[\"']?(?:CustomResourceDefinition|Namespace)\b", re.MULTILINE)
_NAMESPACE = re.compile(r"\bcreate (?:namespace|ns) [\"']?([a-z0-9-]+)\b")
# A loop over the folders of one, each of which gives its namespace the name.
_EACH_FOLDER = re.compile(r"\bfor \w+ in [\"']?(?P<over>[^\s;\"']+)[\"']?/\*/?(?=[\"'\s;])")
_OF_A_VARIABLE = re.compile(r"\bcreate (?:namespace|ns) [\"']?\$\{?\w+")
_ASSIGNED = re.compile(
    r"^[ \t]*(?:(?:local|readonly|declare)[ \t]+)?(?:-\w+[ \t]+)?(?P<name>\w+)=[\"']?(?P<value>[^\s\"']+)", re.MULTILINE
)
_BY_AZURE = re.compile(
    r"k8s-configuration flux create[^\n]{0,400}?--namespace[= ]+[\"']?([a-z0-9-]+)"
    r"|fluxConfigurations@[\s\S]{0,800}?\bnamespace: *'([a-z0-9-]+)'"
)
_CALLS_AZURE = re.compile(r"\.(?:ps1|bicep|sh|md)$", re.IGNORECASE)
_OF_RELEASE = re.compile(r"^ +namespace: *[\"']?([a-z0-9-]+)\b", re.MULTILINE)
_TERRAFORM = re.compile(
    r'^resource +"kubernetes_namespace(?:_v1)?"(?:(?!^\}|^resource)[\s\S])*?\bname *= *"([a-z0-9-]+)"', re.MULTILINE
)
_NAMED = re.compile(r"^ *kind: *[\"']?Namespace\b[\s\S]{0,200}?^ +name: *[\"']?([a-z0-9-]+)\b", re.MULTILINE)
_INSTALLS = re.compile(r"\bhelm\b|\bhelmfile\b|\bkubectl\b|\bchart\b|://")
# A script fetches definitions from a project's repository: mostly that is called as its chart is, without what says that it holds definitions.
_PROJECT = re.compile(r"-crds?$")
_PROJECTS = {"gateway.networking.k8s.io": ("gateway-api",), "snapshot.storage.k8s.io": ("external-snapshotter",)}
_SIGNS = re.compile(r"[^a-z0-9\n]")
_SCRIPT = re.compile(r"\.(?:sh|bash|just)$|(?:^|/)(?:Makefile|justfile|[Tt]askfile[^/]*)$|(?:^|/)\.?taskfiles?/")
_APPLIES = re.compile(r"\bkubectl\b.*\b(?:apply|create|replace)\b")


def givers_of(tree: Tree) -> dict[tuple[str, str], list[Giver]]:
    """Who installs which kind, by group and kind: definitions in the tree, and releases (the kind is empty: all of the group)."""
    found: dict[tuple[str, str], list[Giver]] = {}
    for crd in tree.of("CustomResourceDefinition"):
        found.setdefault((str(crd.spec.get("group")), str(get(crd.spec, "names", "kind"))), []).append(crd)
    for release in tree.releases:
        for group in release.groups:
            found.setdefault((group, ""), []).append(release)
    return found


def more_may_come(tree: Tree) -> bool:
    """Whether charts of which nothing is known, or objects that install charts by themselves, may bring kinds that nothing else brings."""
    return bool(tree.unknown_releases) or installs_by_itself(tree)


def installs_by_itself(tree: Tree) -> bool:
    """Whether an object of the tree installs charts that aren't read."""
    return any(that_install(tree))


def that_install(tree: Tree) -> list[Manifest]:
    """The objects of the tree that install charts which aren't read."""
    return [m for m in tree.objects if (m.group, m.kind) in _INSTALL_CHARTS]


class BeforeFlux:
    """What bootstraps the cluster and isn't applied by Flux: a helmfile, a folder or a script for it.

    Only what makes something counts: releases of a helmfile, commands, definitions. That a file uses a kind or a namespace says nothing.
    """

    def __init__(self, tree: Tree) -> None:
        closures = [k.built.closure for k in tree.kustomizations.values() if k.built]
        applied = {f for c in closures for f in (*c.files, *c.kustomizations)} | {m.file for m in tree.bootstrap}
        files = [f for f in tree.repository.files if _BY_HAND.search(f) and f not in applied]
        self._tools = [f for f in tree.repository.files if _TOOLS.search(f) and f not in applied]
        self._read = tree.repository.text
        texts = [_COMMENT.sub("", tree.repository.text(f)) for f in files]
        self._namespaces = {name for text in texts for name in _spaces(text)}
        for file in (f for f in tree.repository.files if _GUIDE.search(f)):
            told = tree.repository.text(file).replace("\\\n", " ")
            self._namespaces |= {*_NAMESPACE.findall(told), *(n for pair in _BY_HELM.findall(told) for n in pair if n)}
        self._namespaces |= {name for text in texts for name in _of_folders(tree, text)}
        for file in (f for f in tree.repository.files if _CALLS_AZURE.search(f)):
            told = re.sub(r"[\\`]\n", " ", tree.repository.text(file))
            self._namespaces |= {n for pair in _BY_AZURE.findall(told) for n in pair if n}
        self._installs = "\n".join(part for text in texts for part in _installing(text))
        scripts = [
            _COMMENT.sub("", tree.repository.text(f))
            for f in tree.repository.files
            if _SCRIPT.search(f) and f not in files
        ]
        guides = [tree.repository.text(f) for f in tree.repository.files if _GUIDE.search(f)]
        every = (*texts, *scripts, *guides)
        self._applies = [line for text in every for line in text.splitlines() if _APPLIES.search(line)]
        by_hand = (f for f in tree.repository.files if _GUIDE.search(f) or _SCRIPT.search(f))
        self._cluster_api = any("clusterctl init" in tree.repository.text(f) for f in by_hand)
        self._names: dict[str, bool] = {}

    def makes_namespace(self, name: str) -> bool:
        """Whether it makes a namespace: by a command, as an object, or as that of a release of a helmfile."""
        return name in self._namespaces

    def installs(self, charts: Iterable[str]) -> bool:
        """Whether it installs one of these charts, by its name."""
        return bool(self._installs) and any(map(self._named, charts))

    def applies(self, manifest: Manifest) -> bool:
        """Whether it applies the file that an object comes from: a command of kubectl names it, and the folder that it lies in."""
        tail = "/".join(manifest.file.rsplit("/", 2)[-2:])
        if not self._applies or "/" not in tail:
            return False
        folder, _, name = tail.rpartition("/")
        # The folder itself, or one that whoever types it puts there.
        form = re.compile(rf"(?:^|[/\s\"'=])(?:{re.escape(folder)}|<[\w ./-]+>|\*)/{re.escape(name)}(?![\w.-])")
        return any(form.search(line) for line in self._applies)

    def may_install(self, words: Iterable[str]) -> bool:
        """Whether tasks, scripts or machine configuration that may begin a cluster speak of one of these words: what they do isn't read."""
        return any(word in self._of_tools for word in words)

    @cached_property
    def _of_tools(self) -> str:
        """What tools of other kinds say, in letters and digits only."""
        texts = [f"{name}\n{_COMMENT.sub('', self._read(name))}" for name in self._tools]
        return _SIGNS.sub("", "\n".join(texts).lower())

    def brings(self, group: str, givers: Iterable[Giver] = ()) -> bool:
        """Whether it installs the definitions of a group: by the group, a chart that is known to have them, or that of one of *givers*."""
        if self._cluster_api and group.endswith("cluster.x-k8s.io"):
            return True
        if not self._installs:
            return False
        charts = {chart for chart, facts in known_charts().items() if group in facts.get("groups", ())}
        names = {group, *charts, *(_PROJECT.sub("", chart) for chart in charts), *_PROJECTS.get(group, ())}
        names |= {giver.chart for giver in givers if isinstance(giver, Release)} - {""}
        return any(map(self._named, names))

    def _named(self, name: str) -> bool:
        if name not in self._names:
            self._names[name] = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", self._installs) is not None
        return self._names[name]


def _of_folders(tree: Tree, text: str) -> set[str]:
    """The namespaces that a script makes in a loop: one for each folder of one."""
    loop = _EACH_FOLDER.search(text) if _OF_A_VARIABLE.search(text) else None
    if loop is None:
        return set()
    values = {m["name"]: m["value"] for m in _ASSIGNED.finditer(text)}
    over = re.sub(r"\$\{?(\w+)\}?", lambda v: values.get(v[1], ""), loop["over"])
    over = re.sub(r"\$\{?\w+\}?", "", over).strip("./")
    folders = [f for f in tree.repository.folders if f == over or f.endswith(f"/{over}")] if over else []
    return {f.rpartition("/")[2] for f in tree.repository.folders if f.rpartition("/")[0] in folders}


def _spaces(text: str) -> list[str]:
    found = [m[1] for form in (_NAMESPACE, _TERRAFORM) for m in form.finditer(text)]
    found += [m[1] for part in _DOCUMENT.split(text) for m in _NAMED.finditer(part)]
    return found + ([m[1] for m in _OF_RELEASE.finditer(text)] if _HELMFILE.search(text) else [])


def _installing(text: str) -> list[str]:
    """What of a file installs something: all of a helmfile, definitions, and lines that name a chart, an address or a command."""
    if _HELMFILE.search(text):
        return [text]
    lines = [line for line in text.splitlines() if _INSTALLS.search(line)]
    return [*lines, *(part for part in _DOCUMENT.split(text) if _DEFINITION.search(part))]
