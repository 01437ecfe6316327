"""Where documents and fields stand in the files of a tree: PyYAML's C parser with marks, each file once, only when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from holdfast.tree.repository import Location, Repository

PathKey = str | int
_MOST_NODES = 1_000_000
_ANCHOR = re.compile(r"(?:^|[\s\[{,:-])&([^\s,\[\]{}]+)")


class Loader(yaml.CSafeLoader):
    """Scalars as Go's parser reads them: no dates, no ``22:22`` in base 60, and only true and false are booleans."""


Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
    ("int", r"[-+]?(?:0b[01]+|0o?[0-7]+|0|[1-9][0-9_]*|0x[0-9a-fA-F]+)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\d[\d_]*\.\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|0\d*[89]\d*)|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _integer(loader: Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    return int(text.replace("0o", "0"), 8) if re.fullmatch(r"[-+]?0o?[0-7]+", text) else int(text, 0)


def _number(loader: Loader, node: yaml.ScalarNode) -> float:
    return float(
        str(loader.construct_scalar(node))
        .replace("_", "")
        .replace(".inf", "inf")
        .replace(".nan", "nan")
        .replace(".Inf", "inf")
        .replace(".INF", "inf")
        .replace(".NaN", "nan")
        .replace(".NAN", "nan")
    )


def _untagged(loader: Loader, node: yaml.Node) -> Any:
    """The value below a tag that nobody here knows."""
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return (
        loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.MappingNode)
        else loader.construct_sequence(node, deep=True)
        if isinstance(node, yaml.SequenceNode)
        else None
    )


def _refused(node: yaml.Node) -> Any:
    raise yaml.constructor.ConstructorError(
        None, None, f"{str(node.value)[:40]!r} isn't what its tag {node.tag} says", node.start_mark
    )


def _truth(loader: Loader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node)).lower()
    return text == "true" if text in ("true", "false") else bool(_refused(node))


Loader.add_constructor(None, _untagged)
Loader.add_constructor("tag:yaml.org,2002:bool", _truth)
Loader.add_constructor("tag:yaml.org,2002:timestamp", _untagged)
Loader.add_constructor("tag:yaml.org,2002:binary", _untagged)
Loader.add_constructor("tag:yaml.org,2002:int", _integer)
Loader.add_constructor("tag:yaml.org,2002:float", _number)


class OldLoader(Loader):
    """Scalars as Flux reads them again after it put variables in: by Go's second YAML library, to which yes, no, on and off are booleans."""


_WORDS = r"y|Y|yes|Yes|YES|on|On|ON|n|N|no|No|NO|off|Off|OFF"
OldLoader.add_implicit_resolver("tag:holdfast,2026:word", re.compile(f"^(?:{_WORDS})$"), list("yYnNoO"))
OldLoader.add_constructor("tag:holdfast,2026:word", lambda _, node: str(node.value).lower() in ("y", "yes", "on"))


@dataclass(frozen=True)
class Source:
    """One document of a file: its node tree with marks, and what it names."""

    line: int
    node: yaml.Node
    kind: str
    name: str


@dataclass(frozen=True)
class Trouble:
    """What a parser can't read, or reads otherwise than its writer thinks."""

    location: Location
    what: str


class Sources:
    """Documents of the tree's files, composed once."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._documents: dict[str, list[Source]] = {}
        self.troubles: dict[str, Trouble] = {}

    def documents(self, file: str) -> list[Source]:
        """The documents of a file, as far as it can be parsed; what can't is in `troubles`."""
        if file not in self._documents:
            self._documents[file] = list(self._compose(file)) if file in self.repository.known else []
        return self._documents[file]

    def _compose(self, file: str) -> Iterator[Source]:
        try:
            for node in compose(self.repository.text(file)):
                yield Source(node.start_mark.line + 1, node, scalar(node, "kind"), scalar(node, "metadata", "name"))
        except (yaml.YAMLError, RecursionError) as error:
            self.troubles[file] = Trouble(Location(file, line_of(error)), words_of(error))

    def bodies(self, file: str) -> list[tuple[int, dict[str, Any]]]:
        """The mappings of a file with their first lines."""
        found = []
        for source in self.documents(file):
            try:
                body = construct(source.node)
            except (yaml.YAMLError, ValueError, RecursionError) as error:
                self.troubles[file] = Trouble(Location(file, source.line), words_of(error))
                continue
            if isinstance(body, dict):
                found.append((source.line, body))
        return found

    def locate(
        self, file: str, kind: str = "", name: str = "", path: Sequence[PathKey] = (), namespace: str = ""
    ) -> Location:
        """The line of a field of an object in *file*, or of the nearest thing above it that stands there."""
        found = self.find(file, kind, name, namespace)
        if found is None:
            return Location(file, 1)
        return Location(file, deepest(found, path)[0])

    def find(self, file: str, kind: str, name: str, namespace: str = "") -> yaml.Node | None:
        """The node of an object in *file*; where names were changed on the way, the one whose name is part of the new one."""
        candidates = list(self._objects(file, kind))
        named = [n for n in candidates if scalar(n, "metadata", "name") == name]
        if named:
            return next((n for n in named if scalar(n, "metadata", "namespace") == namespace), named[0])
        near = [n for n in candidates if (own := scalar(n, "metadata", "name")) and own in name]
        return max(
            near,
            key=lambda n: len(scalar(n, "metadata", "name")),
            default=candidates[0] if len(candidates) == 1 else None,
        )

    def _objects(self, file: str, kind: str) -> Iterator[yaml.Node]:
        for source in self.documents(file):
            if source.kind == kind or not kind:
                yield source.node
            elif source.kind.endswith("List"):
                items = child(source.node, "items")
                if isinstance(items, yaml.SequenceNode):
                    yield from (n for n in items.value if scalar(n, "kind") == kind)

    def value(self, file: str, kind: str, name: str, path: Sequence[PathKey], namespace: str = "") -> str | None:
        """The text of a scalar of an object in *file*; None where there is none."""
        node = self.find(file, kind, name, namespace)
        for key in path:
            node = child(node, key)
        return str(node.value) if isinstance(node, yaml.ScalarNode) else None

    def depth(self, file: str, kind: str, name: str, path: Sequence[PathKey], namespace: str = "") -> int:
        """How many steps of *path* stand in the object in *file*."""
        found = self.find(file, kind, name, namespace)
        return deepest(found, path)[1] if found else -1


class _Recomposer(yaml.composer.Composer, yaml.resolver.BaseResolver):
    """Composes from the events of the C parser, and lets a later anchor take the name of an earlier one, as Go's parsers do."""

    def __init__(self, text: str, parser: type[Loader]) -> None:
        yaml.composer.Composer.__init__(self)
        yaml.resolver.BaseResolver.__init__(self)
        self._parser = parser(text)
        self.yaml_implicit_resolvers = parser.yaml_implicit_resolvers
        self.check_event, self.get_event = self._parser.check_event, self._parser.get_event
        self.dispose = self._parser.dispose

    def peek_event(self) -> Any:
        event: Any = self._parser.peek_event()
        if not isinstance(event, yaml.AliasEvent) and getattr(event, "anchor", None):
            self.anchors.pop(event.anchor, None)
        return event


def compose(text: str, parser: type[Loader] = Loader) -> Iterator[yaml.Node]:
    """The documents of a text as nodes."""
    loader: Any = _Recomposer(text, parser) if _has_an_anchor_twice(text) else parser(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                if "&" in text:
                    expanded(node, {})
                yield node
    finally:
        loader.dispose()


def _has_an_anchor_twice(text: str) -> bool:
    """Whether an anchor's name may be taken twice; the C parser refuses that within a document."""
    if "&" not in text:
        return False
    names = _ANCHOR.findall(text)
    return len(names) != len(set(names))


def load_text(text: str) -> Any:
    """The value of a text that is one document, as Flux reads it after substitution. Raises YAMLError for what is broken, or never ends."""
    node = next(compose(text, OldLoader), None)
    return OldLoader("").construct_document(node) if node is not None else None


def expanded(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many nodes there are once every alias is written out. Raises YAMLError for one that holds itself, and for what never ends."""
    if id(node) in sizes:
        if sizes[id(node)] < 0:
            raise yaml.constructor.ConstructorError(None, None, "an anchor holds itself", node.start_mark)
        return sizes[id(node)]
    sizes[id(node)] = -1
    size = 1
    if isinstance(node, yaml.MappingNode):
        size += sum(expanded(k, sizes) + expanded(v, sizes) for k, v in node.value)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(expanded(v, sizes) for v in node.value)
    if size > _MOST_NODES:
        raise yaml.constructor.ConstructorError(
            None, None, "its aliases expand to more than a million nodes", node.start_mark
        )
    sizes[id(node)] = size
    return size


def construct(node: yaml.Node) -> Any:
    """A node's value."""
    return Loader("").construct_document(node)


def child(node: yaml.Node | None, key: PathKey) -> yaml.Node | None:
    """A mapping's value or a sequence's item; a merge key's content counts as the mapping's own."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                found: yaml.Node = value
                return found
        for name, value in node.value:
            if name.value == "<<" and (below := child(value, key)):
                return below
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        item: yaml.Node = node.value[key]
        return item
    if isinstance(node, yaml.SequenceNode) and isinstance(key, str):  # an item by its name, as strategic merges find it
        return next((n for n in node.value if scalar(n, "name") == key), None)
    return None


def scalar(node: yaml.Node | None, *path: PathKey) -> str:
    """The text of a scalar below *node*; empty where there is none."""
    for key in path:
        node = child(node, key)
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def deepest(node: yaml.Node, path: Sequence[PathKey]) -> tuple[int, int]:
    """The line of the deepest step that stands there, and how many steps that were."""
    line = node.start_mark.line + 1
    for count, key in enumerate(path):
        below = child(node, key)
        if below is None:
            return line, count
        line = below.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            line = next((k.start_mark.line + 1 for k, v in node.value if v is below), line)
        node = below
    return line, len(path)


def line_of(error: Exception) -> int:
    """The line that a YAML error names, from 1."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return int(mark.line) + 1 if mark else 1


def words_of(error: Exception) -> str:
    """What is wrong, in the parser's words."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    context = getattr(error, "context", None)
    return f"{context}: {problem}" if context else str(problem)
