"""Charts that are fetched: by the real helm, from a chart repository on loopback."""

import functools
import http.server
import subprocess
import threading

import pytest
import yaml

from holdfast.provision import fetched, tools
from holdfast.tree import check as checking
from suites.harness import apart
from suites.harness.test_check_properties import written

SPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: n\n---\n"
TEMPLATE = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  version: {{ .Chart.Version }}\n"
)


class Shop:
    """A chart repository: ``app`` in three versions; *asked* is what was asked of it."""

    def __init__(self, folder, helm):
        chart = folder / "app"
        (chart / "templates").mkdir(parents=True)
        (chart / "templates/it.yaml").write_text(TEMPLATE)
        self.asked = []
        for version in ("1.0.0", "1.1.0", "2.0.0"):
            (chart / "Chart.yaml").write_text(yaml.dump({"apiVersion": "v2", "name": "app", "version": version}))
            subprocess.run([helm, "package", str(chart), "-d", str(folder / "shop")], check=True, capture_output=True)
        subprocess.run([helm, "repo", "index", str(folder / "shop")], check=True, capture_output=True)
        shop = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_request(self, *_):
                shop.asked.append(self.path)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder / "shop"))
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def program():
    return tools.helm()


@pytest.fixture
def shop(tmp_path, program, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(apart.cache(tmp_path / "cache")))
    made = Shop(tmp_path / "made", program)
    yield made
    made.server.shutdown()


def repository(url, **spec):
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "HelmRepository",
        "metadata": {"name": "shop", "namespace": "n"},
        "spec": {"url": url, "interval": "1h", **spec},
    }


def release(name="app", version="1.x", chart="app", **spec):
    wanted = {"chart": chart, "version": version, "sourceRef": {"kind": "HelmRepository", "name": "shop"}}
    return {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": name, "namespace": "n"},
        "spec": {"interval": "1h", "chart": {"spec": wanted}, **spec},
    }


def read(tmp_path, program, *objects, fetch=True):
    root = written(tmp_path / "tree", {"cluster/r.yaml": SPACE + yaml.safe_dump_all(objects)})
    get = functools.partial(fetched.fetch, find_helm=lambda: program)
    return checking.load(root, tools.kustomize(), lambda: program, fetch=get if fetch else None)


def versions(tree):
    return {m.name: m.body["data"]["version"] for m in tree.of("ConfigMap")}


def test_the_newest_of_a_range_is_rendered_and_an_exact_one_is_kept(tmp_path, shop, program):
    trees = [repository(shop.url), release(), release("old", "1.0.0"), release("new", "*")]
    tree = read(tmp_path, program, *trees)
    assert versions(tree) == {"app": "1.1.0", "old": "1.0.0", "new": "2.0.0"}
    assert not tree.not_read
    shop.asked.clear()
    assert versions(read(tmp_path / "again", program, repository(shop.url), release("old", "1.0.0"))) == {
        "old": "1.0.0"
    }
    assert shop.asked == []


def test_without_it_nothing_is_asked(tmp_path, shop, program):
    tree = read(tmp_path, program, repository(shop.url), release(), fetch=False)
    assert versions(tree) == {}
    assert shop.asked == []


@pytest.mark.parametrize(
    ("source", "wanted", "said"),
    [
        ({}, {"chart": "absent"}, "isn't to be had"),
        ({}, {"version": "9.x"}, "isn't to be had"),
        ({"secretRef": {"name": "s"}}, {}, "HelmRepository/n/shop has a secretRef"),
        ({"provider": "aws"}, {}, "asks aws for credentials"),
        ({}, {"chart": "--post-renderer=x"}, "'--post-renderer=x' is no chart's name"),
        ({"url": "file:///etc"}, {}, "'file:///etc' isn't fetched"),
        ({"url": "git+https://127.0.0.1/x"}, {}, "isn't fetched: only http, https, oci are"),
    ],
)
def test_what_is_not_to_be_had_is_said_and_only_that_is_unread(tmp_path, shop, program, source, wanted, said):
    odd = repository(**{"url": shop.url, **source})
    odd["metadata"]["name"] = "odd"
    its = release("odd", **{"chart": "app", **wanted})
    its["spec"]["chart"]["spec"]["sourceRef"]["name"] = "odd"
    tree = read(tmp_path, program, repository(shop.url), release(), odd, its)
    assert versions(tree) == {"app": "1.1.0"}
    (words,) = [line for line in tree.not_read if "odd" in line]
    assert said.replace("n/shop", "n/odd") in words


def test_an_oci_chart_is_asked_for_by_its_address():
    one = fetched.Wanted("oci://127.0.0.1:5000/charts", "app", ">=1.0.0", plain=True)
    words = one.command("helm", fetched.Path("/d"))
    assert words == [
        "helm",
        "pull",
        "oci://127.0.0.1:5000/charts/app",
        "--version=>=1.0.0",
        "--plain-http",
        "--destination=/d",
    ]


def test_the_credentials_of_whoever_runs_it_stay_at_home(monkeypatch, tmp_path, shop, program):
    """A registry's or a cloud's credentials in the environment reach no program that works on a tree's words."""
    seen = []
    run = subprocess.run
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setattr(fetched.subprocess, "run", lambda *a, **k: (seen.append((a[0], k.get("env"))), run(*a, **k))[1])
    read(tmp_path, program, repository(shop.url), release())
    given = [env for command, env in seen if command[0] == program]
    assert len(given) == 2  # it was fetched, and rendered
    assert not any("AWS_SECRET_ACCESS_KEY" in env for env in given)
