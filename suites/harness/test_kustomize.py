"""kustomize as a process that stays: every build its own answer, whatever the one before did."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from holdfast.errors import UsageError
from holdfast.provision import tools
from holdfast.tree import check as checking
from holdfast.tree import kustomize
from holdfast.tree.kustomize import BuildError, EachBuild, Folder, NoAnswerError, Staying, Tool
from suites.harness.test_check_properties import written as written_tree

ODD = """
import json, os, sys, time
for line in sys.stdin:
    folder = json.loads(line)["folder"].rpartition("/")[2]
    if folder == "dies":
        sys.exit(3)
    if folder == "hangs":
        time.sleep(60)
    error = "no such thing" if folder == "wrong" else ""
    print(json.dumps({"objects": None if error else [{"kind": folder, "by": os.getpid()}], "error": error}), flush=True)
"""


@pytest.fixture
def odd(tmp_path):
    program = tmp_path / "odd.py"
    program.write_text(ODD)
    made = Staying((sys.executable, str(program)))
    yield made
    made.close()


def folder(root, name):
    return Folder(root, root / name)


def test_one_process_does_all_that_are_asked_one_after_the_other(odd, tmp_path):
    answers = [odd.build(folder(tmp_path, name))[0] for name in ("a", "b", "c")]
    assert [a["kind"] for a in answers] == ["a", "b", "c"]
    assert len({a["by"] for a in answers}) == 1


def test_side_by_side_each_gets_its_own_answer(odd, tmp_path):
    names = [f"n{i}" for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: odd.build(folder(tmp_path, n))[0], names))
    assert [a["kind"] for a in answers] == names
    assert len({a["by"] for a in answers}) <= 4


def test_a_failed_build_is_its_own_only(odd, tmp_path):
    before = odd.build(folder(tmp_path, "a"))[0]["by"]
    with pytest.raises(BuildError, match="no such thing"):
        odd.build(folder(tmp_path, "wrong"))
    assert odd.build(folder(tmp_path, "b"))[0] == {"kind": "b", "by": before}


def test_after_one_that_died_or_hangs_the_next_is_built(odd, tmp_path, monkeypatch):
    with pytest.raises(NoAnswerError, match="ended with 3"):
        odd.build(folder(tmp_path, "dies"))
    monkeypatch.setattr(kustomize, "_TIMEOUT_S", 0.3)
    with pytest.raises(NoAnswerError, match="didn't end within"):
        odd.build(folder(tmp_path, "hangs"))
    monkeypatch.undo()
    assert odd.build(folder(tmp_path, "b"))[0]["kind"] == "b"


def test_a_build_without_an_answer_is_unread_and_no_defect(tmp_path):
    program = tmp_path / "mute.py"
    program.write_text("import sys; sys.stdin.readline()")
    tool = Tool((sys.executable, str(program)), "v0", stays=True)
    (tmp_path / "tree").mkdir()
    result = checking.check(checking.load(written_tree(tmp_path / "tree", {}), tool))
    assert result.findings == []
    assert result.too_little()
    assert any("kustomize ended" in line for line in result.not_read)


def test_one_that_can_not_be_started_is_said(tmp_path):
    (tmp_path / "tree").mkdir()
    with pytest.raises(UsageError, match="can't be started"):
        checking.load(written_tree(tmp_path / "tree", {}), Tool((str(tmp_path / "absent"),), "v0", stays=True))


# -- the real one, where it is ------------------------------------------------------------------------------------------

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"n": "1", "t": "2026-01-01"}}
WIDGET = {
    "apiVersion": "example.org/v1",
    "kind": "Widget",
    "metadata": {"name": "w"},
    "spec": {"parts": [{"name": "a", "size": 1}, {"name": "b", "size": 2}]},
}
PATCH = {
    "apiVersion": "example.org/v1",
    "kind": "Widget",
    "metadata": {"name": "w"},
    "spec": {"parts": [{"name": "a", "size": 9}]},
}
SCHEMA = {
    "definitions": {
        "org.example.v1.Widget": {
            "type": "object",
            "x-kubernetes-group-version-kind": [{"group": "example.org", "version": "v1", "kind": "Widget"}],
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {
                        "parts": {
                            "type": "array",
                            "items": {"type": "object"},
                            "x-kubernetes-patch-merge-key": "name",
                            "x-kubernetes-patch-strategy": "merge",
                        }
                    },
                }
            },
        }
    }
}


@pytest.fixture(scope="module")
def staying():
    tool = tools.kustomize()
    if not tool.stays:
        pytest.skip("there is no Go to build it")
    made = tool.start(2, many=False)
    yield made
    made.close()


def written(path, name, files):
    here = path / name
    here.mkdir()
    for file, body in files.items():
        (here / file).write_text(yaml.dump(body))
    return Folder(path, here, own_schema="openapi" in files["kustomization.yaml"])


def test_objects_come_as_they_are(staying, tmp_path):
    assert staying.build(
        written(tmp_path, "a", {"kustomization.yaml": {"resources": ["a.yaml"]}, "a.yaml": CONFIG})
    ) == [CONFIG]


def test_a_schema_that_one_build_brings_is_not_the_next_ones(staying, tmp_path):
    plain = {
        "kustomization.yaml": {"resources": ["w.yaml"], "patches": [{"path": "p.yaml"}]},
        "w.yaml": WIDGET,
        "p.yaml": PATCH,
    }
    own = plain | {
        "kustomization.yaml": {**plain["kustomization.yaml"], "openapi": {"path": "schema.yaml"}},
        "schema.yaml": SCHEMA,
    }
    parts = [
        len(staying.build(written(tmp_path, name, files))[0]["spec"]["parts"])
        for name, files in (("one", plain), ("two", own), ("three", plain))
    ]
    assert parts == [1, 2, 1]  # a list without a schema is replaced, one with a merge key is merged


def test_a_schema_is_seen_in_whatever_case_it_is_written(tmp_path):
    """kustomize takes the fields of a kustomization in any case, so the process would keep a schema that nobody noticed."""
    asked = []

    class Noting:
        def build(self, folder):
            asked.append(folder.own_schema)
            return []

        def close(self):
            pass

    tree = tmp_path / "tree"
    tree.mkdir()
    files = {
        "cluster/kustomization.yaml": "resources: [flux.yaml]\nopenAPI: {path: schema.json}\n",
        "cluster/schema.json": "{}",
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Tool, "start", lambda *_, **__: Noting())
        checking.load(written_tree(tree, files), Tool(("none",), "v0", stays=True))
    assert asked[0] is True


# -- which one is taken -------------------------------------------------------------------------------------------------


@pytest.fixture
def without_it(tmp_path, monkeypatch):
    """A cache without the service, a Go that fails, and how often it was asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    def failing(recipes, name):
        asked.append(name)
        raise UsageError("building failed: no module", "read the log")

    monkeypatch.setattr(tools.builds, "binary", failing)
    monkeypatch.setattr(tools.shutil, "which", lambda name: f"/absent/{name}" if name in ("go", "kustomize") else None)
    monkeypatch.setattr(tools.Tool, "of", classmethod(lambda cls, command: cls(command, "v5")))
    return asked


def test_where_it_can_not_be_built_another_is_taken_and_it_is_not_tried_every_time(without_it, capsys):
    for _ in range(3):
        assert tools.kustomize() == Tool(("/absent/kustomize", "build"), "v5")
    assert without_it == ["kustomize-service"]
    assert "kustomize is called for each build" in capsys.readouterr().out


def test_one_that_does_not_start_is_not_taken(without_it, tmp_path):
    made = tools.builds.program(tools.Recipes(), "kustomize-service")
    made.parent.mkdir(parents=True)
    made.write_bytes(b"cut off")
    made.chmod(0o755)
    assert tools.kustomize() == Tool(("/absent/kustomize", "build"), "v5")
    assert without_it == []


def test_nothing_outside_the_copy_is_read(staying, tmp_path):
    (tmp_path / "outside.yaml").write_text(yaml.dump(CONFIG))
    root = tmp_path / "root"
    root.mkdir()
    asked = written(root, "a", {"kustomization.yaml": {"resources": ["../../outside.yaml"]}})
    with pytest.raises(BuildError):
        staying.build(asked)


def test_a_program_for_each_build_says_the_same(staying, tmp_path):
    each = tools.each_build()
    if each is None:
        pytest.skip("there is no other kustomize")
    asked = written(
        tmp_path,
        "a",
        {
            "kustomization.yaml": {
                "resources": ["a.yaml", "w.yaml"],
                "namePrefix": "x-",
                "configMapGenerator": [{"name": "g", "literals": ["A=1"]}],
            },
            "a.yaml": CONFIG,
            "w.yaml": WIDGET,
        },
    )
    program: Tool = each
    other = program.start(1, many=False)
    assert isinstance(other, EachBuild)
    assert other.build(asked) == staying.build(asked)
    other.close()
