"""The engine, the wrapper for machines that lack a capability, and the recipes of the images."""

import json

import pytest

from holdfast.errors import UsageError
from holdfast.provision import builds, capless_runc, engine, images, loop_devices, mirror, registry
from holdfast.provision.recipes import Recipes, hash_of


@pytest.mark.parametrize(
    ("bits", "lacks"), [("000001ffffffffff", False), ("000001fffeffffff", True), ("0000000000000000", True)]
)
def test_the_bounding_set_is_read_from_status(bits, lacks):
    assert engine.bounding_set_lacks(engine.CAP_SYS_RESOURCE, f"CapInh:\t0\nCapBnd:\t{bits}\n") is lacks


def test_a_machine_that_serves_a_cluster_is_seen(tmp_path):
    for number, name in (("10", "bash"), ("11", "k3s-server")):
        folder = tmp_path / number / "ns"
        folder.mkdir(parents=True)
        (tmp_path / number / "comm").write_text(name + "\n")
        (folder / "pid").symlink_to(__import__("os").readlink("/proc/self/ns/pid"))
    assert engine.kubernetes_runs_here(tmp_path) == "k3s-server"
    (tmp_path / "11/ns/pid").unlink()
    (tmp_path / "11/ns/pid").symlink_to("pid:[1]")  # inside a container: not this machine's
    assert engine.kubernetes_runs_here(tmp_path) == ""


def test_nothing_is_installed_on_a_machine_that_serves_a_cluster(monkeypatch):
    monkeypatch.setenv("HOLDFAST_INSTALL_ENGINE", "1")
    monkeypatch.setattr(engine, "kubernetes_runs_here", lambda: "kubelet")
    monkeypatch.setattr(engine, "apt_install", lambda *_: pytest.fail("installed all the same"))
    with pytest.raises(UsageError, match="runs kubelet"):
        engine._install()


def test_the_engine_is_installed_only_when_asked(monkeypatch):
    monkeypatch.delenv("HOLDFAST_INSTALL_ENGINE", raising=False)
    monkeypatch.setattr(engine, "kubernetes_runs_here", lambda: "")
    monkeypatch.setattr(engine, "apt_install", lambda *_: pytest.fail("installed all the same"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(UsageError):
        engine._install()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--root", "/x", "create", "--bundle", "/b", "id"], ("/b/config.json", "process")),
        (["run", "-b", "/b", "id"], ("/b/config.json", "process")),
        (["exec", "--process", "/p.json", "id"], ("/p.json", "")),
        (["exec", "--process=/p.json", "id"], ("/p.json", "")),
        (["state", "id"], None),
    ],
)
def test_the_wrapper_finds_what_runc_will_read(arguments, wanted):
    assert capless_runc.edited_file(arguments) == wanted


def test_the_wrapper_takes_out_what_can_not_be_granted():
    process = {
        "capabilities": {"bounding": ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"], "effective": ["CAP_SYS_RESOURCE"]},
        "oomScoreAdj": -999,
        "rlimits": [{"type": "RLIMIT_NOFILE"}],
        "args": ["sh"],
    }
    done = capless_runc.without_capability(json.loads(json.dumps(process)))
    assert done["capabilities"] == {"bounding": ["CAP_SYS_ADMIN"], "effective": []}
    assert done["oomScoreAdj"] == 0
    assert done["args"] == ["sh"]


def test_only_what_changed_gets_another_hash(tmp_path):
    recipes = Recipes()
    before = {name: recipes.hash_image(name) for name in recipes.images}
    copy = tmp_path / "clusters"
    __import__("shutil").copytree(recipes.root, copy, symlinks=True)
    (copy / "standins/web/index.html").write_text("another page\n")
    changed = Recipes(root=copy)
    after = {name: changed.hash_image(name) for name in changed.images}
    assert {n for n in before if before[n] != after[n]} == {"web"}
    assert changed.hash_node() != recipes.hash_node()
    assert {b: changed.hash_binary(b) for b in changed.table["binary"]} == {
        b: recipes.hash_binary(b) for b in recipes.table["binary"]
    }


def test_a_hash_sees_names_modes_links_and_contents(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    file = folder / "x"
    file.write_text("1")
    seen = [hash_of(folder)]
    file.chmod(0o755)
    seen.append(hash_of(folder))
    file.write_text("2")
    seen.append(hash_of(folder))
    file.rename(folder / "y")
    seen.append(hash_of(folder))
    (folder / "l").symlink_to("y")
    seen.append(hash_of(folder))
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("words", "said"),
    [("cc: write: No space left on device", "the disk is full"), ("main.go:3: undefined: x", "undefined: x")],
)
def test_a_build_that_fails_says_why_and_that_what_is_built_is_kept(tmp_path, words, said):
    with pytest.raises(UsageError, match=said) as caught:
        builds.run(["sh", "-c", f"echo '{words}'; exit 1"], what="building kube", log=tmp_path / "log")
    assert "what is built is kept" in caught.value.next_step


def test_too_little_disk_is_said_before_anything_is_built(monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda _: __import__("types").SimpleNamespace(free=3e9))
    with pytest.raises(UsageError, match=r"3\.0 GB are free"):
        images._check_space()


def test_a_version_without_a_recipe_is_said():
    with pytest.raises(UsageError, match=r"no recipe for Kubernetes 1\.2\.3"):
        _ = Recipes("1.2.3").kubernetes


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("python:3.11-slim", "library/python:3.11-slim"),
        ("alpine/git:2.49.1", "alpine/git:2.49.1"),
        ("ghcr.io/fluxcd/helm-controller:v1.5.4", "fluxcd/helm-controller:v1.5.4"),
        ("localhost:5000/a/b:1", "a/b:1"),
        ("docker.io/holdfast/web:lane", "holdfast/web:lane"),
    ],
)
def test_a_mirror_has_an_image_by_its_name_without_the_registry(image, wanted):
    assert mirror.path(image) == wanted


def test_a_mirror_that_does_not_answer_is_said(monkeypatch):
    monkeypatch.setenv("HOLDFAST_REGISTRY", "127.0.0.1:1")
    monkeypatch.setattr(registry, "_answers", lambda name: False)
    with pytest.raises(UsageError, match=r"HOLDFAST_REGISTRY=127\.0\.0\.1:1 doesn.t give 127\.0\.0\.1:1/kindest/node"):
        registry.offline()


def test_only_loop_devices_of_the_storage_stand_in_are_called_left_over(tmp_path):
    for name, backing in (
        ("loop0", "/run/engines/pvc-1/volume\n"),
        ("loop1", "/home/user/disk.img\n"),
        ("loop2", "/run/engines/pvc-2/volume (deleted)\n"),
    ):
        (tmp_path / name / "loop").mkdir(parents=True)
        (tmp_path / name / "loop" / "backing_file").write_text(backing)
    (tmp_path / "loop3").mkdir()
    assert loop_devices.left_over(tmp_path) == ["loop0", "loop2"]


def test_a_kubernetes_version_is_pinned_by_its_own_staging_modules():
    own = (
        "module k8s.io/kubernetes\n\ngo 1.25.0\n\ngodebug default=go1.25\n\nrequire (\n\tk8s.io/api v0.0.0\n\tk8s.io/klog/v2 v2.130.1\n)\n\n"
        "replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/kubectl => ./staging/src/k8s.io/kubectl\n)\n"
    )
    text = builds.derived_module(own, "1.35.4")
    assert "go 1.25.0\ngodebug default=go1.25\n" in text
    assert "require k8s.io/kubernetes v1.35.4\n" in text
    assert "\tk8s.io/api => k8s.io/api v0.35.4\n\tk8s.io/kubectl => k8s.io/kubectl v0.35.4\n)" in text
    assert "klog" not in text
    assert "cri-streaming" not in text  # it came with 1.36
