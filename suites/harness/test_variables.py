"""Variables are put into the lines that have some; what comes of it is what comes of the whole text, as Flux does it."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.tree import variables
from holdfast.tree.envsubst import substitute
from holdfast.tree.manifest import Manifest
from holdfast.tree.sources import load_text

TEXTS = st.sampled_from(
    [
        "plain",
        "yes",
        "0644",
        "${A}",
        "${B}",
        "x ${A} y",
        "$${A}",
        "${A}: b",
        "- ${A}",
        "${C:=d}",
        "a\n${A}\nb",
        "a\n${B} ",
        "'${A}'",
        '"${A}"',
        "${A} # no",
        "it's ${B}",
        "# ${A}",
    ]
)
LEAVES: st.SearchStrategy[object] = TEXTS | st.none() | st.booleans() | st.integers(-3, 900) | st.just({}) | st.just([])
KEYS = st.sampled_from(["a", "b", "c d", "${A}", "x${B}", "yes", "1"])
BODIES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
VALUES = st.sampled_from(
    ["abc", "1", "true", "", "x: y", "a #b", "[1, 2]", "O'Brien", "- z", "null", "0644", "&a b", "${A}"]
)


def of(body):
    return Manifest({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": body}, "c.yaml", "a/b")


def outcome(make):
    try:
        return make()
    except (ValueError, yaml.YAMLError):
        return "refused"


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(KEYS, BODIES, max_size=4), VALUES, VALUES)
def test_the_lines_alone_are_what_the_whole_text_is(body, a, b):
    values = {"A": a, "B": b}
    whole = of(body).body

    def by_the_whole():
        return load_text(substitute(yaml.dump(whole, Dumper=variables._Dumper, width=10**6, sort_keys=False), values))

    def by_the_lines():
        manifest = of(body)
        variables.substitute_one(manifest, values)
        return manifest.body

    assert outcome(by_the_lines) == outcome(by_the_whole)


@pytest.mark.parametrize(
    "text", ["a", "$", "$$", "${A}$", "$$${A}", "a$b${A}", "${A}${B}", "$${A}$", "", "$$$$", "{$}"]
)
def test_what_stands_between_variables_stays_but_for_doubled_dollars(text):
    values = {"A": "1", "B": "2"}
    wanted = text.replace("$$", "\0").replace("${A}", "1").replace("${B}", "2").replace("\0", "$")
    assert substitute(text, values) == wanted


def test_what_an_object_holds_twice_is_written_twice(tmp_path):
    """An anchor would be lost behind what a value makes a comment of, and what names it would be refused."""
    shared: list[object] = []
    manifest = of({"a": {"x${B}": shared}, "b": {"y${A}": shared}})
    variables.substitute_one(manifest, {"A": "abc", "B": "a #b"})
    assert manifest.body["data"] == {"a": "xa", "b": {"yabc": []}}
