"""What `holdfast check --against` says of a change of a chart is what a real helm does with it on a real API server."""

import subprocess
import time

import pytest
from kubernetes.client.exceptions import ApiException

from holdfast.drivers import kwok
from holdfast.kube import KubeClient
from holdfast.provision import builds, tools
from holdfast.provision.recipes import Recipes
from holdfast.rehearsal import folders
from suites.harness.chart_changes import CASES, SPACE, files


@pytest.fixture(scope="module")
def lane():
    with folders.held() as folder:
        driver = kwok.open(kwok.profiles()[-1], folder, "")
        try:
            driver.ensure_host()
            driver.up()
            yield driver
        finally:
            driver.down()


@pytest.fixture(scope="module")
def program():
    return tools.helm() or str(builds.binary(Recipes(), "helm"))


def written(folder, chart):
    for name, text in chart.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "charts" / "thing"


def helm(program, lane, home, *words):
    """Helm's words where it fails; empty where it doesn't."""
    command = [program, *words, "--namespace", SPACE, "--kubeconfig", str(lane.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env={"HOME": str(home)})
    return (done.stderr or done.stdout) if done.returncode else ""


def _until(look):
    limit = time.monotonic() + 20
    while not look():
        assert time.monotonic() < limit, "not within the time"
        time.sleep(0.1)


def is_there(client, kind, name):
    found = client.get(kind, name, SPACE)
    return bool(found) and not found["metadata"].get("deletionTimestamp")


def identities(items):
    return {(i["kind"], i["metadata"]["name"]) for i in items}


@pytest.mark.parametrize("force", [False, True], ids=["upgrade", "with-force"])
@pytest.mark.parametrize("case", CASES, ids=[c.what for c in CASES])
def test_helm_does_what_was_foretold(lane, program, tmp_path, case, force):
    client = KubeClient(lane.kubeconfig)
    old = written(tmp_path / "a", files(case, after=False, version="0.1.0"))
    new = written(tmp_path / "b", files(case, after=True, version="0.2.0"))
    everything = identities([*case.before, *case.after, *case.crds[0]])
    try:
        assert helm(program, lane, tmp_path, "install", "thing", str(old)) == ""
        more = ["--force-replace", "--server-side=false"] if force else []  # helm refuses the two together
        said = helm(program, lane, tmp_path, "upgrade", "thing", str(new), *more)
        assert bool(said) is case.refused, said or "it is taken"
        if case.refused:
            return
        assert {one for one in everything if not is_there(client, *one)} == set(case.gone)
    finally:
        helm(program, lane, tmp_path, "uninstall", "thing")
        for kind, name in everything:
            try:
                client.delete(kind, name, SPACE)
            except ApiException:
                continue
        _until(lambda: not any(client.get(k, n, SPACE) for k, n in everything))
