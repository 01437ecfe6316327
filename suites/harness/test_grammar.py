"""The readers' grammar is the one of Go's parsers, by which kustomize and Flux read."""

import pytest
import yaml

from holdfast.provision import tools
from holdfast.tree import check as checking
from holdfast.tree.sources import compose, construct, load_text
from suites.harness import pairs


def values(text):
    return [construct(node) for node in compose(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &x 1\nb: *x\nc: &x 2\nd: *x\n", {"a": 1, "b": 1, "c": 2, "d": 2}),
        ("a: &x {k: &x 3}\nb: *x\n", {"a": {"k": 3}, "b": 3}),
        ("a: [&x one, *x, &x two, *x]\n", {"a": ["one", "one", "two", "two"]}),
        ("a: &x {k: 1}\nb: {<<: *x, l: &x 2}\nc: *x\n", {"a": {"k": 1}, "b": {"k": 1, "l": 2}, "c": 2}),
        ("a: 08\nb: 0815\nc: 017\nd: yes\n", {"a": 8, "b": 815, "c": 15, "d": "yes"}),
    ],
)
def test_what_go_takes_is_taken(text, value):
    assert values(text) == [value]


def test_an_anchor_doesnt_reach_the_next_document():
    with pytest.raises(yaml.YAMLError, match="undefined alias"):
        values("a: &x 1\nb: &x 2\n---\nc: *x\n")


def test_an_anchor_that_holds_itself_is_refused_also_under_a_name_that_is_taken_twice():
    with pytest.raises(yaml.YAMLError, match="holds itself"):
        values("a: &x 1\nb: &x [*x]\n")


def test_what_is_read_again_after_substitution_is_read_by_the_older_library():
    assert load_text("a: on\nb: 'on'\nc: N\nd: none\n") == {"a": True, "b": "on", "c": False, "d": "none"}


def test_a_layer_with_an_anchors_name_taken_twice_is_built(tmp_path):
    folder = pairs.write(pairs.load()["variable-becomes-a-word"], tmp_path / "tree", valid=True)
    file = folder / "apps/c.yaml"
    file.write_text(file.read_text().replace("app: c}", "app: &n c}").replace("value: yes", "value: &n plain"))
    assert file.read_text().count("&n") == 3
    found = checking.check(checking.load(folder, tools.kustomize()), strict=True).findings
    assert [f.what for f in found] == []


def test_what_an_unknown_variable_breaks_isnt_called_broken(tmp_path):
    """A Secret from outside holds what is put in: with it the text can be read."""
    folder = pairs.write(pairs.load()["variable-becomes-a-number"], tmp_path / "tree", valid=True)
    (folder / "apps/c.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: web}\ndata:\n"
        "  list: ${q:='}${LIST}${q:='}\n  shelf: ${open}${LIST}\n"
    )
    cluster = folder / "cluster/app.yaml"
    cluster.write_text(
        cluster.read_text()
        .replace("postBuild:", "postBuild:\n    substituteFrom: [{kind: Secret, name: outside}]")
        .replace('room: "0815"', 'LIST: "[ {name: x}, y: z ]"')
    )
    found = checking.check(checking.load(folder, tools.kustomize()), strict=True).findings
    assert not [f.what for f in found if f.rule == "apply.build"]
