"""Secrets in plain text: in Secret objects, value by value, and in every other text of the repository."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

import yaml

from holdfast.tree import plaintext
from holdfast.tree.findings import Evidence, Inconclusive, Outcome, Severity, Violation, rule
from holdfast.tree.manifest import Manifest, mapping, sequence, texts
from holdfast.tree.placeholders import is_placeholder
from holdfast.tree.repository import MAX_BYTES, Location, is_test_data
from holdfast.tree.sources import PathKey, child, compose, load_text, scalar
from holdfast.tree.tree import Tree, in_chart

_MANIFESTS = (".yaml", ".yml", ".json")
_SECRET = re.compile(r"[\"']?\bkind[\"']?\s*:\s*[\"']?(?:Sealed)?Secret\b")
_SHOWN = re.compile(
    r"(?i)(?:^|[/._-])(?:examples?|samples?|testdata|test_data|mocks?|e2e|__tests__|dist|venv|site-packages|ansible_collections|third_party|molecule|local[-_]?clusters?)(?:[/._-]|$)|(?:^|/)(?:kind|k3d|minikube|vagrant)(?:/|$)|(?:^|/)(?:\.yarn|vendored)/|(?:^|/)template[._-][^/]*$|(?:^|/)test_[^/]*$|[._-](?:test|spec)\.\w+$"
)
_RUST_TESTS = re.compile(r"^#\[cfg\(test\)\]\n(?:#\[[^\]\n]*\]\n)*(?:pub )?mod \w+ \{", re.MULTILINE)
_EXAMPLE = re.compile(r"(?i)(?:^|[/._-])(?:examples?|samples?)(?:[/._-]|$)")
_NO_SETTINGS = (".md", ".mdx", ".rst", ".adoc", ".py", ".go", ".js", ".ts", ".rs", ".java", ".rb", ".php", ".html")
_COMMENT = re.compile(r"\s*(?:#|//|--(?!-)|;|\*)")
_COMMENT_LINES = 3  # above a value: what stands further up is about something else
_SAID_TO_BE_NONE = re.compile(
    r"(?i)\b(?:not|isn't)\s+(?:an?\s+|really\s+)?(?:actual\s+|real\s+)?(?:secret|sensitive|confidential)\b|\bdummy\b|\bplace\s?holder\b"
)
_MAY_BE_NONE = re.compile(
    r"(?i)\bno\s+(?:actual\s+|real\s+)?secret\b(?!\s+(?:stores?|managers?|backends?|providers?|operators?|engines?)\b)|\b(?:is|gets?|be)\s+overrid|\boverridden\b|\bunused\b|\bnot\s+used\b"
)
_COMPOSE = re.compile(r"(?i)(?:^|/)(?:docker-)?compose[^/]*\.ya?ml$")
_OF_A_KEY = ("the value of", "a password", "a name and")
_PARTS = {"Secret": ("data", "stringData"), "SealedSecret": ("encryptedData",)}


@rule(
    "security.secret",
    "secrets-not-in-git",
    Severity.BREAKS_CLAIM,
    why="whoever reads the repository, today or in its history, has it",
    do="take it out, make a new one at its issuer, and keep that encrypted (SOPS) or outside of Git",
)
def secret(tree: Tree) -> Iterator[Outcome]:
    """Secrets, tokens and keys in plain text, in any file; a value is never shown."""
    read, other, applied = 0, 0, _applied_files(tree)
    for name in tree.repository.files:
        raw = tree.repository.raw(name)
        text = tree.repository.text(name)
        if "\0" in text[:4096]:
            other += 1  # a picture, an archive
            continue
        if len(raw) > MAX_BYTES:
            yield Inconclusive(f"{name} is larger than {MAX_BYTES >> 20} MiB: the rest of it wasn't read for secrets")
        read += 1
        for said in _in_file(tree, name, text):
            if name in applied or isinstance(said, Inconclusive):
                yield said
                continue
            if _in_tests_of_rust(name, text, said):
                yield _lesser(said, "test data or an example")
                if not said.what.startswith(_OF_A_KEY):  # in an issuer's own form
                    yield Inconclusive(f"{said.locations[0]}: {said.what}, in a module of tests")
                continue
            yield (apart := _apart(name, said))
            if apart is not said and said.object == name and said.severity is None and _may_be_real(name, text, said):
                yield Inconclusive(
                    f"{said.locations[0]}: {said.what}, which only the name of its folder calls an example"
                )
        yield from _guessable(name, text)
    yield from (
        Inconclusive(f"{name}: its name is no text, so it wasn't read for secrets") for name in tree.repository.odd
    )
    yield from _first_guesses(tree)
    yield Evidence(f"{read} files read for secrets, keys and tokens" + (f"; {other} are no text" if other else ""))


def _may_be_real(name: str, text: str, said: Violation) -> bool:
    """Whether what a folder's name calls an example looks like none: in an issuer's own form, or as if drawn by lot."""
    if is_test_data(name):
        return False
    if not said.what.startswith(_OF_A_KEY):
        return True
    line = text.split("\n")[said.locations[0].line - 1]
    return _EXAMPLE.search(name) is not None and plaintext.has_random_part(line)


def _guessable(name: str, text: str) -> Iterator[Inconclusive]:
    """What is no password in plain text, and may lead to one: the hash of one, a guide that tells one."""
    if is_test_data(name) or _SHOWN.search(name):
        return
    if not name.lower().endswith(_NO_SETTINGS):
        for line in plaintext.login_hashes(text):
            yield Inconclusive(
                f"{name}:{line}: the hash of a password: how good the password is, nobody sees, and whoever has the hash can guess"
            )
    if text.startswith("#cloud-config"):
        for key in dict.fromkeys(plaintext.given_to_a_machine(text)):
            yield Inconclusive(f"{name}: {key} is a word, and whether somebody logs in with it isn't known")
    if _COMPOSE.search(name) and "services:" in text:
        keys = [
            *plaintext.given_to_a_machine(text),
            *plaintext.given_as_words(text),
            *(["an address"] if plaintext.is_own_name_in_address(text) else []),
        ]
        for key in dict.fromkeys(keys):
            yield Inconclusive(f"{name}: {key} is a word, and whether the stack that is run by it has it isn't known")
    for key in dict.fromkeys(_commented_out(text)) if name.endswith((".yaml", ".yml")) else ():
        yield Inconclusive(
            f"{name}: a Secret that is commented out holds {key} in plain text, and whether it is used isn't known"
        )
    for line in plaintext.told_passwords(name, text):
        yield Inconclusive(f"{name}:{line}: a guide tells a password, and whether it opens something isn't known")


def _commented_out(text: str) -> Iterator[str]:
    """The keys of Secrets that somebody made a comment of, with what is in them: they are in Git all the same."""
    if not re.search(r"^[ \t]*#+[ \t]*kind:[ \t]*[\"']?Secret\b", text, re.MULTILINE):
        return
    lines = [re.sub(r"^[ \t]*#+ ?", "", line) if line.lstrip().startswith("#") else "---" for line in text.split("\n")]
    for part in re.split(r"^---.*$", "\n".join(lines), flags=re.MULTILINE):
        try:
            body = mapping(load_text(part)) if "Secret" in part else {}
        except (
            yaml.YAMLError,
            ValueError,
            RecursionError,
        ):  # a comment need be no YAML at all, such as a date that is none
            continue
        if body.get("kind") != "Secret" or "sops" in body:
            continue
        given = [(k, v, plaintext.of_data(str(v))) for k, v in mapping(body.get("data")).items()]
        given += [(k, v, str(v)) for k, v in mapping(body.get("stringData")).items()]
        for key, raw, value in given:
            known = isinstance(value, str) and not is_placeholder(str(raw))
            if known and (plaintext.in_secret(str(key), str(value)) or plaintext.is_any_password(str(key), str(value))):
                yield str(key)


def _first_guesses(tree: Tree) -> Iterator[Inconclusive]:
    """What is applied with a word like 'password' as its password: a place that something fills later, or the password that it has."""
    others = [m for m in tree.unreferenced_objects if m.kind == "HelmRelease"]
    known = {m.file for m in (*tree.objects, *others)}
    for manifest in (*tree.objects, *others, *_releases_elsewhere(tree, known)):
        if manifest.kind == "HelmRelease":
            pairs = [(p, v) for p, v in texts(manifest.spec.get("values")) if p and isinstance(p[-1], str)]
            named = [(".".join(map(str, p)), str(p[-1]), v) for p, v in pairs]
        else:
            every = [mapping(e) for _, c in manifest.containers(every=True) for e in sequence(c.get("env"))]
            named = [
                (str(e.get("name")), str(e.get("name")), e["value"]) for e in every if isinstance(e.get("value"), str)
            ]
        found = [where for where, key, value in named if plaintext.is_first_guess(key, value)]
        if manifest.kind == "HelmRelease":
            words = {".".join(map(str, path)): path for path, value in pairs if _is_a_word(str(path[-1]), value)}
            found += [
                where for where, path in words.items() if where not in found and not _is_acquitted(tree, manifest, path)
            ]
            found += [
                where
                for (path, value), (where, key, _) in zip(pairs, named, strict=True)
                if where not in found
                and " " not in value
                and plaintext.is_any_password(key, value)
                and not _is_acquitted(tree, manifest, path)
            ]
            found += [f"{where} (an address)" for where, _, value in named if plaintext.is_own_name_in_address(value)]
        if manifest.kind == "Secret" and not manifest.body.get("sops"):
            texts_of = [(k, v) for k, v in mapping(manifest.body.get("stringData")).items() if isinstance(v, str)]
            decoded = [
                (k, plaintext.of_data(v)) for k, v in mapping(manifest.body.get("data")).items() if isinstance(v, str)
            ]
            found += [k for k, v in [*texts_of, *decoded] if isinstance(v, str) and plaintext.is_any_password(k, v)]
        if manifest.kind == "ConfigMap":
            texts_of = [(k, v) for k, v in mapping(manifest.body.get("data")).items() if isinstance(v, str)]
            found += [
                f"{k} ({key})"
                for k, v in texts_of
                for key in dict.fromkeys(plaintext.weak(f"{k}: {v}" if "\n" not in v else v))
            ]
        if found:
            yield Inconclusive(
                f"{manifest.id}: whether {', '.join(found)} only holds a place, or is what it has, isn't known"
            )


def _releases_elsewhere(tree: Tree, known: set[str]) -> Iterator[Manifest]:
    """The releases in files that this cluster doesn't apply: another one may, and they are in Git all the same."""
    for file in tree.repository.files:
        if file in known or not file.endswith((".yaml", ".yml")):
            continue
        text = tree.repository.text(file)
        if "HelmRelease" in text and "assword" in text and not is_test_data(file):
            yield from (
                Manifest(body, file) for _, body in tree.sources.bodies(file) if body.get("kind") == "HelmRelease"
            )


def _is_acquitted(tree: Tree, manifest: Manifest, path: tuple[PathKey, ...]) -> bool:
    """Whether the comment at a value of a release says that it is no secret."""
    at = tree.locate(manifest, "spec", "values", *path)
    return bool(_SAID_TO_BE_NONE.search(_comment(tree.repository.text(at.file).split("\n"), at.line)))


def _is_a_word(key: str, value: str) -> bool:
    """Whether what stands under a password's key is a word: too weak to be told from a place that is filled later."""
    return plaintext.hint(key) == "password" and "\n" not in value and any(plaintext.weak(f"password: {value}"))


def _applied_files(tree: Tree) -> set[str]:
    """The files that Flux applies something of, whatever their folders are called."""
    return {f for k in tree.kustomizations.values() if k.built for f in k.built.closure.files}


def _apart(name: str, said: Violation) -> Violation:
    """What lies in test data or in an example opens nothing as a rule: it is said, and breaks no claim."""
    return _lesser(said, "test data or an example") if is_test_data(name) or _SHOWN.search(name) else said


def _in_tests_of_rust(name: str, text: str, said: Violation) -> bool:
    """Whether it stands within a module of tests, which is written out in the file and ends where a brace does at the beginning of a line."""
    for found in _RUST_TESTS.finditer(text) if name.endswith(".rs") and said.object == name else ():
        first = text.count("\n", 0, found.start()) + 1
        end = text.find("\n}", found.end())
        last = text.count("\n", 0, end) + 2 if end >= 0 else 0
        if first < said.locations[0].line < last:
            return True
    return False


def _lesser(said: Violation, because: str) -> Violation:
    return Violation(
        said.object,
        said.locations,
        f"{said.what} ({because})",
        why="if it is a real one, whoever reads the repository has it",
        do="make sure that it opens nothing, or take it out",
        severity=Severity.HYGIENE,
    )


def _in_file(tree: Tree, name: str, text: str) -> Iterator[Violation | Inconclusive]:
    if name.endswith(_MANIFESTS) and _SECRET.search(text):
        lines = text.split("\n")
        for document in _documents(tree, name, text):
            for kind, node in _secrets(document):
                yield from _in_secret(name, kind, node)
                for begin, end in _extents(kind, node):
                    lines[begin:end] = [""] * (end - begin)
        text = "\n".join(lines)  # what is judged as a Secret isn't judged again as a text
    elif "secretGenerator" in text and posixpath.basename(name).startswith(("kustomization.y", "Kustomization")):
        yield from _generated(tree, name)
    lines = text.split("\n")
    for line, what in tree.memory.of(name, text, lambda: [(t.line, t.what) for t in plaintext.in_text(name, text)]):
        said = Violation(name, (Location(name, line),), f"{what} in plain text")
        comment = _comment(lines, line)
        if _SAID_TO_BE_NONE.search(comment):
            yield _lesser(said, "its owner says that it is none")
        elif _MAY_BE_NONE.search(comment):
            yield Inconclusive(f"{name}:{line}: {what} in plain text, of which a comment may say that it opens nothing")
        else:
            yield said


def _comment(lines: list[str], line: int) -> str:
    """What is written beside a line, and in the comment right above it."""
    above = line - 1
    while above > max(line - 1 - _COMMENT_LINES, 0) and _COMMENT.match(lines[above - 1]):
        above -= 1
    return " ".join([*lines[above : line - 1], lines[line - 1].partition(" #")[2]])


def _documents(tree: Tree, name: str, text: str) -> list[yaml.Node]:
    """The documents of a file; none where it can't be parsed, as a template can't."""
    if name.endswith(".json") or in_chart(tree.repository, name):  # no trouble of a build's
        try:
            return list(compose(text))
        except (yaml.YAMLError, RecursionError):
            return []
    return [source.node for source in tree.sources.documents(name)]


def _secrets(node: yaml.Node | None) -> Iterator[tuple[str, yaml.MappingNode]]:
    """Every Secret in a document with its kind, also in a list or among a chart's values."""
    if isinstance(node, yaml.SequenceNode):
        for below in node.value:
            yield from _secrets(below)
    if isinstance(node, yaml.MappingNode):
        kind, api = scalar(node, "kind"), scalar(node, "apiVersion")
        if kind in _PARTS and api in (("", "v1") if kind == "Secret" else (api,)):
            yield kind, node
            return
        for _, below in node.value:
            yield from _secrets(below)


def _extents(kind: str, node: yaml.MappingNode) -> Iterator[tuple[int, int]]:
    """The lines of a Secret that hold its values."""
    for part in (*_PARTS[kind], "data"):
        held = child(node, part) if kind == "Secret" or part != "data" else child(child(node, "spec"), "encryptedData")
        if isinstance(held, yaml.MappingNode) and held.value:
            end = held.value[-1][1].end_mark
            yield held.start_mark.line, end.line + (end.column > 0)


def _in_secret(name: str, kind: str, node: yaml.MappingNode) -> Iterator[Violation]:
    """What a Secret holds in plain text, in one finding: it is taken out as one."""
    if kind != "Secret":
        return
    found: dict[str, int] = {}
    for part in _PARTS[kind]:
        held = child(node, part)
        for key, value in held.value if isinstance(held, yaml.MappingNode) else []:
            if isinstance(value, yaml.ScalarNode) and isinstance(key, yaml.ScalarNode):
                line = _line_in_value(key, value, encoded=part == "data")
                if line:
                    found[key.value] = line
    if found:
        label = f"Secret/{scalar(node, 'metadata', 'namespace') or 'default'}/{scalar(node, 'metadata', 'name') or 'unnamed'}"
        places = tuple(Location(name, line) for line in sorted(set(found.values())))
        yield Violation(label, places, f"{label} holds {', '.join(found)} in plain text")


def _line_in_value(key: yaml.ScalarNode, value: yaml.ScalarNode, *, encoded: bool) -> int:
    """The line on which a value of a Secret holds a secret; 0 where it holds none."""
    line = int(key.start_mark.line) + 1
    held = plaintext.of_data(value.value) if encoded else str(value.value)
    if isinstance(held, bytes):
        return line if plaintext.in_secret_bytes(key.value, held) else 0
    if not encoded and value.style == "|" and held.count("\n") > 1:
        first = next((p.line for p in plaintext.in_text(key.value, held, within_secret=True)), 0)
        return int(value.start_mark.line) + 1 + first if first else 0
    return line if plaintext.in_secret(key.value, held) else 0


def _generated(tree: Tree, name: str) -> Iterator[Violation]:
    """Files that kustomize makes Secrets of, each under its key."""
    entries = [
        str(entry)
        for _, body in tree.sources.bodies(name)
        for one in sequence(body.get("secretGenerator"))
        for entry in sequence(mapping(one).get("files"))
    ]
    for entry in entries:
        key, _, path = entry.rpartition("=")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        text = tree.repository.text(file).strip() if file in tree.repository.known else ""
        alone = text and "\n" not in text and next(plaintext.in_text(file, text), None) is None
        if alone and plaintext.in_secret(key or posixpath.basename(path), text):
            yield Violation(file, (Location(file, 1),), f"what {name} makes a Secret of, in plain text")
