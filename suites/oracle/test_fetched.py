"""Charts that are fetched: by the real helm, from a chart repository on loopback."""

import functools
import http.server
import subprocess
import threading

import pytest
import yaml

from holdfast.provision import fetched, tools
from holdfast.tree import assumed
from holdfast.tree import check as checking
from suites.harness import apart
from suites.harness.test_check_properties import written

SPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: n\n---\n"
TEMPLATE = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  version: {{ .Chart.Version }}\n"
)


VALUED = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n"
    '  size: {{ .Values.size | quote }}\n  name: {{ .Values.name | default "none" }}\n'
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
        valued = folder / "valued"
        (valued / "templates").mkdir(parents=True)
        (valued / "templates/it.yaml").write_text(VALUED)
        (valued / "Chart.yaml").write_text(yaml.dump({"apiVersion": "v2", "name": "valued", "version": "3.0.0"}))
        (valued / "values.yaml").write_text("size: 1\nname: a\n")
        (valued / "values-ha.yaml").write_text("size: 3\n")
        subprocess.run([helm, "package", str(valued), "-d", str(folder / "shop")], check=True, capture_output=True)
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


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        (["values.yaml", "values-ha.yaml"], {"size": "3", "name": "a"}),
        (["values-ha.yaml"], {"size": "3", "name": "none"}),  # the chart's own values don't count then
        ([], {"size": "1", "name": "a"}),
    ],
)
def test_the_values_files_that_a_release_names_count_in_a_fetched_chart(tmp_path, shop, program, named, wanted):
    its = release("it", "3.0.0", "valued")
    its["spec"]["chart"]["spec"] |= {"valuesFiles": named} if named else {}
    tree = read(tmp_path, program, repository(shop.url), its)
    assert [m.body["data"] for m in tree.of("ConfigMap")] == [wanted]
    told = assumed.releases(tree, tmp_path / "lane")["n/it"]
    values = yaml.safe_load((fetched.Path(told["chart"]) / "values.yaml").read_text())
    assert str(values["size"]) == wanted["size"]


def test_a_values_file_that_a_chart_lacks_is_an_error_of_the_release(tmp_path, shop, program):
    its = release("it", "3.0.0", "valued")
    its["spec"]["chart"]["spec"]["valuesFiles"] = ["../../absent.yaml"]
    tree = read(tmp_path, program, repository(shop.url), its)
    ((manifest, words),) = tree.charts.errors
    assert (manifest.name, words) == ("it", "no values file found at path '../../absent.yaml'")
    its["spec"]["chart"]["spec"]["ignoreMissingValuesFiles"] = True
    assert not read(tmp_path / "again", program, repository(shop.url), its).charts.errors


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
        ({"url": "file:///etc"}, {}, "an address of the scheme 'file' isn't fetched"),
        ({"url": "git+https://127.0.0.1/x"}, {}, "isn't fetched: only http, https, oci are"),
        ({"url": "http://[x/"}, {}, "its repository has no address"),
        ({"url": "https://me:secret@127.0.0.1/x"}, {}, "its repository's address holds credentials"),
        ({"url": "oci://127.0.0.1/x"}, {}, "isn't of the type oci"),
        ({}, {"version": "1\0"}, "no text that helm could be given"),
        ({}, {"version": "1" * 200_000}, "no text that helm could be given"),
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


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "takes the tag latest"),
        ({"ref": {"digest": "sha256:0"}}, "names a digest"),
        ({"ref": {"semver": "1.x", "semverFilter": "rc"}}, "filters its tags"),
        ({"ref": {"tag": "1.0.0"}, "layerSelector": {"operation": "copy"}}, "takes one of its layers"),
        ({"ref": {"tag": "1.0.0"}, "verify": {"provider": "cosign"}}, "is verified"),
        ({"ref": {"tag": "1.0.0"}}, ""),
        ({"ref": {"semver": ">=1.0.0"}}, ""),
    ],
)
def test_an_oci_repository_is_only_fetched_as_flux_would_take_it(tmp_path, program, spec, said):
    source = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "OCIRepository",
        "metadata": {"name": "shop", "namespace": "n"},
        "spec": {"url": "oci://127.0.0.1/charts/app", "interval": "1h", **spec},
    }
    its = release()
    its["spec"] = {"interval": "1h", "chartRef": {"kind": "OCIRepository", "name": "shop"}}
    tree = read(tmp_path, program, source, its, fetch=False)
    (one,) = tree.releases
    if said:
        with pytest.raises(fetched.NotFetched, match=said):
            fetched.wanted_by(tree, one)
    else:
        assert fetched.wanted_by(tree, one).chart == "app"


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
