"""What `holdfast check` says: the summary, the order, each rule once, what isn't read, rules explained, options that name nothing."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from holdfast.checking import documents, explain, text, words
from holdfast.errors import UsageError
from holdfast.tree import check as checking
from holdfast.tree import kept
from holdfast.tree.findings import RULES, Severity
from suites.harness import examples, pairs
from suites.harness.test_check_command import check
from suites.harness.test_check_properties import KUSTOMIZE, kustomization, written

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}


def big(folder, number=100, unread=0):
    """A tree of many Kustomizations with a habit, one folder that isn't there, and some that aren't read."""
    layers, files = [], {}
    for index in range(number):
        one = kustomization(f"k{index:03}", [f"k{index - 1:03}"] if index % 10 else [])
        one["spec"]["interval"] = "1h"
        if index < unread:
            one["spec"]["sourceRef"]["name"] = "another"
        layers.append(one)
        files[f"parts/k{index:03}/c.yaml"] = yaml.dump(
            CONFIG | {"metadata": {"name": f"c{index}", "namespace": "default"}}
        )
    files["cluster/all.yaml"] = yaml.dump_all(layers)
    del files["parts/k091/c.yaml"], files["parts/k058/c.yaml"]
    return checking.check(checking.load(written(folder, files), KUSTOMIZE), strict=True)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return big(tmp_path_factory.mktemp("many"))


def said(result, **options):
    return list(text.lines(result, colour=False, **options))


def test_the_first_line_says_how_much_was_read(many):
    first = said(many)[0]
    assert first.startswith("99 of 101 Kustomizations, 200 objects · entry cluster")


def test_the_summary_is_ten_lines_at_most_and_names_the_worst_first(many):
    lines = said(many)
    assert lines.index("") <= 10
    assert "2 breaks-apply" in lines[1]
    assert "(with it 9 Kustomizations)" in lines[2], "k091 takes eight others with it, k058 one"


def test_a_tree_of_a_hundred_kustomizations_fits_two_screens(many):
    lines = said(many)
    assert len(lines) <= 80
    assert len(said(many, verbose=True)) > len(lines)


def test_the_worst_is_what_takes_most_down_with_it_and_json_has_the_same_order(many):
    found = [f for f in many.findings if f.severity is Severity.BREAKS_APPLY]
    assert [f.reach for f in found] == [9, 2]
    told = documents.as_json(many)["findings"]
    assert [(f["rule"], f["reach"]) for f in told] == [(f.rule, f.reach) for f in many.findings]


def test_a_habit_is_one_finding_with_every_place(many):
    (habit,) = [f for f in many.findings if f.rule == "flux.retry"]
    assert len(habit.each) == len(set(habit.each)) == 100
    told = next(f for f in documents.as_json(many)["findings"] if f["rule"] == "flux.retry")
    assert len(told["files"]) == len(told["each"]) == 100
    assert {"Kustomization/flux-system/k007", "Kustomization/flux-system/k099"} <= set(told["hits"])
    assert sum("flux.retry" in line for line in said(many)) == 1


def test_why_and_do_are_said_once_a_rule(many):
    lines = said(many)
    assert sum(line.strip().startswith("why:") for line in lines) == 1
    assert sum("set retryInterval" in line for line in lines) == 1


def test_a_chain_is_steps(tmp_path):
    result = checking.check(checking.load(pairs.invalid("loop-kind"), KUSTOMIZE))
    lines = said(result)
    assert sum(line.startswith("      → ") for line in lines) >= 2
    assert not any(line.count(" → ") > 1 for line in lines)
    (loop,) = [f for f in documents.as_json(result)["findings"] if f["rule"] == "boot.loop"]
    assert len(loop["steps"]) >= 2
    assert all(step in loop["what"] for step in loop["steps"])


@pytest.mark.parametrize(
    ("what", "head", "number"),
    [
        ("a is b", "a is b", 0),
        ("a is b: c", "a is b: c", 0),
        ("a is frozen: a needs b (f.yaml:3)", "a is frozen", 1),
        ("a is frozen: a has 'wait: true' (f.yaml:3) → b needs c (g.yaml:1)", "a is frozen", 2),
    ],
)
def test_what_a_chain_is(what, head, number):
    assert (words.steps(what)[0], len(words.steps(what)[1])) == (head, number)


def test_no_sentence_is_longer_than_two_hundred_characters():
    many_names = ", ".join(f"Deployment/apps/name-{n}" for n in range(30))
    assert words.shown(f"{many_names} have no volume").endswith("and 27 more have no volume")
    assert len(words.shown("word " * 100)) <= words.LONGEST
    assert words.shown("account holdfast-unknown-EMAIL has all rights") == "account ${EMAIL} has all rights"


def test_a_list_says_once_how_many_more_there_are():
    items = [f"Kustomization/flux-system/layer-{n:04}" for n in range(94)]
    told = words.listed(items, 6)
    assert told.count(" more") == 1
    assert told.endswith(f"and {94 - told.count('layer')} more")
    assert len(told) <= words.LONGEST + len(" and 94 more")
    assert words.listed(items, len(items), 100_000) == ", ".join(items)
    assert words.listed(["x" * 500, "y"], 6) == f"{'x' * 500} and 1 more"


@pytest.mark.parametrize(("unread", "code"), [(1, 0), (3, 11)])
def test_nothing_found_in_what_was_hardly_read_is_no_success(tmp_path, unread, code):
    layers = [kustomization(f"k{n}") for n in range(19)]
    for one in layers[:unread]:
        one["spec"]["sourceRef"]["name"] = "another"
    files = {
        f"parts/k{n}/c.yaml": yaml.dump(CONFIG | {"metadata": {"name": f"c{n}", "namespace": "default"}})
        for n in range(19)
    }
    source = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository"}
    source |= {"metadata": {"name": "another", "namespace": "flux-system"}}
    source |= {"spec": {"interval": "1m", "url": "https://git.example.org/another", "ref": {"branch": "main"}}}
    files |= {"cluster/all.yaml": yaml.dump_all([*layers, source])}
    ended, out, _ = check(written(tmp_path, files))
    assert ended == code
    assert ("more than a tenth wasn't read" in out) is (code == 11)


def test_a_finding_is_worse_than_what_was_not_read(tmp_path):
    layers = [kustomization("a"), kustomization("b")]
    layers[0]["spec"]["sourceRef"]["name"] = "another"
    assert check(written(tmp_path, {"cluster/all.yaml": yaml.dump_all(layers)}))[0] == 1


# -- rules explained ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_is_explained(name):
    lines = list(explain.lines(name))
    assert lines[0].startswith(f"{name} · {RULES[name].severity}")
    for word in ("what: ", "do: ", "proved: "):
        assert any(line.strip().startswith(word) and len(line.strip()) > len(word) for line in lines), word


def test_the_examples_are_what_the_pairs_say():
    assert explain.examples() == examples.made(), "run: python -m suites.harness.examples"


def test_a_rule_that_is_none_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"did you mean 'network\.dns'"):
        list(explain.lines("network.dnss"))


def test_explain_needs_no_tree():
    code, out, _ = check("--explain", "boot.loop", "/absent")
    assert code == 0
    assert "in a rehearsal of its invalid tree" in out


# -- options that name nothing -----------------------------------------------------------------------------------------


def test_options_that_name_nothing_are_said_in_words(tmp_path):
    tree = pairs.valid("image")
    (tmp_path / "file").write_text("")
    for arguments, part in (
        (("--charts", "/nonexistent"), "--charts /nonexistent: there is no such folder"),
        (("--charts", tmp_path / "file"), "that is no folder"),
        (("--picture", tmp_path / "absent" / "p.html"), f"there is no folder {tmp_path / 'absent'}"),
        (("--picture", tmp_path), "that is a folder"),
        (("--picture", "/proc/p.html"), "it can't be written"),
    ):
        code, _, err = check(tree, *arguments)
        assert (code, part in err, "next:" in err) == (64, True, True), err
        assert "Errno" not in err


@pytest.mark.parametrize("home", ["/proc/nowhere", "/dev/null/home"])
def test_a_home_that_can_not_be_written_is_said_in_words(home):
    environment = {k: v for k, v in os.environ.items() if k != "XDG_CACHE_HOME"} | {"HOME": home}
    command = [sys.executable, "-m", "holdfast", "check", str(pairs.valid("image"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert f"the folder for caches, {home}/.cache/holdfast, can't be made" in done.stderr
    assert "XDG_CACHE_HOME" in done.stderr


def test_json_says_how_much_was_read(many):
    assert json.loads(json.dumps(documents.as_json(many)))["read"] == {"kustomizations": 99, "of": 101, "objects": 200}


def test_a_cache_that_another_check_cleans_is_no_trouble(tmp_path, monkeypatch):
    """Its files go between being listed and being looked at."""
    (tmp_path / "kept").mkdir()
    for number in range(3):
        (tmp_path / "kept" / f"{number}.json").symlink_to(tmp_path / "gone")
    monkeypatch.setattr(kept, "_MOST", 1)
    tree = written(tmp_path / "tree", {"cluster/c.yaml": yaml.dump(CONFIG)})
    checking.load(tree, KUSTOMIZE, cache=tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("*.json"))) <= 1


def test_the_table_of_rules_says_what_proves_each():
    command = [sys.executable, "-m", "holdfast", "check", "--rules"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(
        subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True).stdout
    )
    assert {one["rule"] for one in found} == set(RULES)
    for one in found:
        (line,) = [row for row in text.splitlines() if row.split(" ")[0] == one["rule"]]
        assert (one["on"] in line) if one["oracle"] else line.endswith("its pair of trees only")
    assert any(one["oracle"] for one in found)
