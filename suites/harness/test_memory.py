"""What was found in a text is known by its content: it is found again where the text, or who reads it, is another."""

import json
from types import SimpleNamespace

import pytest

from holdfast.tree import check as checking
from holdfast.tree.memory import Memory
from suites.harness import pairs
from suites.harness.test_check_properties import KUSTOMIZE


@pytest.fixture
def reader(tmp_path):
    source = tmp_path / "reader.py"
    source.write_text("one")
    return SimpleNamespace(__file__=str(source)), source


def finder(said):
    """Finds a line, and counts how often it is asked."""
    said.setdefault("asked", 0)

    def find():
        said["asked"] += 1
        return [(1, "a key")]

    return find


def test_what_did_not_change_is_not_looked_at_again(tmp_path, reader):
    module, source = reader
    said = {}

    def ask(name="a.yaml", text="key: x"):
        memory = Memory(tmp_path / "cache", tmp_path, module)
        assert memory.of(name, text, finder(said)) == [(1, "a key")]
        memory.keep()
        return said["asked"]

    assert ask() == 1
    assert ask() == 1
    assert ask(text="key: y") == 2  # another text
    assert ask(text="key: y", name="a.md") == 3  # which the rules read otherwise
    assert ask() == 4  # what nobody asked for the last time isn't kept
    source.write_text("two")
    assert ask() == 5  # another reader


def test_a_check_of_other_claims_only_forgets_nothing(tmp_path):
    """The rules that ask for nothing say nothing about what is worth keeping; those that ask keep it."""

    def checked(*only):
        tree = checking.load(pairs.valid("tls-secret"), KUSTOMIZE, cache=tmp_path / "cache")
        checking.check(tree, only=only, strict=True)
        return {f.name: f.read_text() for f in (tmp_path / "cache").glob("found-*.json")}

    assert checked("ingress-tls") == {}
    kept = checked("secrets-not-in-git")
    assert len(kept) == 1
    assert checked("ingress-tls") == kept


def test_nothing_of_a_text_is_kept_and_nobody_else_may_read_it(tmp_path, reader):
    memory = Memory(tmp_path / "cache", tmp_path, reader[0])
    memory.of("a.yaml", "key: hunter2-hunter2", finder({}))
    memory.keep()
    (file,) = (tmp_path / "cache").iterdir()
    assert "hunter2" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("held", ["", "[]", '{"a": 1}', '{"a": [[1]]}', "\xff"])
def test_a_cache_that_can_not_be_read_is_none(tmp_path, reader, held):
    memory = Memory(tmp_path / "cache", tmp_path, reader[0])
    memory.of("a", "b", finder({}))
    memory.keep()
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text(held, encoding="latin-1")
    again = Memory(tmp_path / "cache", tmp_path, reader[0])
    assert again.of("a", "b", finder({})) == [(1, "a key")]
    again.keep()
    assert json.loads(file.read_text())


def test_without_a_folder_that_can_be_written_nothing_is_kept_and_nothing_fails(tmp_path, reader):
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file" / "below"):
        memory = Memory(folder, tmp_path, reader[0])
        memory.of("a", "b", finder({}))
        memory.keep()
