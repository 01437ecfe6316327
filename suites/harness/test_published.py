"""Programs out of published images: against a registry on loopback that does what registries do, and what they mustn't."""

import gzip
import hashlib
import http.server
import io
import json
import platform
import tarfile
import threading
import time

import pytest

from holdfast.errors import UsageError
from holdfast.paths import ROOT
from holdfast.provision import builds, programs, published
from holdfast.provision.recipes import Recipes

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def layer(files, links=()):
    """A layer of files (path: content) and symbolic links (path, target)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content.encode()))
        for path, target in links:
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return gzip.compress(packed.getvalue())


class Hub:
    """A registry: what it has, by path; it asks for a token, as public ones do."""

    def __init__(self):
        self.held, self.asked, self.refuses = {}, [], False
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                hub.asked.append(self.path)
                if hub.refuses:
                    return self.answer(403, b"no", "text/plain")
                if self.path.startswith("/token"):
                    return self.answer(200, json.dumps({"token": "t"}).encode(), "application/json")
                if self.headers.get("Authorization") != "Bearer t":
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", f'Bearer realm="http://{hub.address}/token",service="s"')
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                kind, content = hub.held.get(self.path, ("text/plain", None))
                return self.answer(404, b"none", kind) if content is None else self.answer(200, content, kind)

            def answer(self, status, content, kind):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def blob(self, name, content):
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.held[f"/v2/{name}/blobs/{digest}"] = ("application/octet-stream", content)
        return digest

    def put(self, name, tag, layers, *, architectures=("s390x", ARCHITECTURE)):
        """An image for some architectures, with the layers of which the last one is the newest; returns the last one's digest."""
        manifest = json.dumps({"layers": [{"digest": self.blob(name, one)} for one in layers]}).encode()
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self.held[f"/v2/{name}/manifests/{digest}"] = (MANIFEST, manifest)
        absent = f"sha256:{'0' * 64}"
        each = [
            {"digest": digest if a == ARCHITECTURE else absent, "platform": {"os": "linux", "architecture": a}}
            for a in architectures
        ]
        self.held[f"/v2/{name}/manifests/{tag}"] = (INDEX, json.dumps({"manifests": each}).encode())
        return digest


@pytest.fixture
def hub(monkeypatch, tmp_path):
    made = Hub()
    monkeypatch.setenv("HOLDFAST_REGISTRY", made.address)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    published._SILENCE.clear()
    yield made
    made.server.shutdown()
    published._SILENCE.clear()


ETCD = ("etcd", f"{Recipes().version('etcd')}-0")


def test_a_program_comes_out_of_the_newest_layer_for_this_machine(hub):
    old, new = layer({"usr/local/bin/etcd": "old", "a/etcd": "no program"}), layer({"./usr/local/bin/etcd": "new"})
    hub.put(*ETCD, [old, new])
    taken = published.program(Recipes(), "etcd")
    assert taken.read_text() == "new"
    assert taken.stat().st_mode & 0o111
    assert published.place(Recipes(), "etcd") == taken
    count = len(hub.asked)
    assert published.program(Recipes(), "etcd") == taken
    assert len(hub.asked) == count  # once is enough


def test_a_link_to_a_program_is_followed_inside_the_layer(hub):
    hub.put(*ETCD, [layer({"opt/etcd-3/etcd": "it", "bin/other": "x"}, [("usr/bin/etcd", "../../opt/etcd-3/etcd")])])
    assert published.program(Recipes(), "etcd").read_text() == "it"


def test_a_link_out_of_the_layer_takes_nothing_of_this_machine(hub):
    hub.put(*ETCD, [layer({}, [("bin/etcd", "/etc/passwd")])])
    assert published.program(Recipes(), "etcd") is None


def test_what_differs_from_its_digest_is_not_taken(hub, capsys):
    hub.put(*ETCD, [layer({"bin/etcd": "it"})])
    for path in [p for p in hub.held if "/blobs/" in p]:
        hub.held[path] = (hub.held[path][0], layer({"bin/etcd": "something else"}))
    assert published.program(Recipes(), "etcd") is None
    digest = hub.put(*ETCD, [layer({"bin/etcd": "it"})])  # a layer has the time at which it was packed: another digest
    manifest = f"/v2/etcd/manifests/{digest}"
    hub.held[manifest] = (MANIFEST, hub.held[manifest][1] + b" ")
    assert published.program(Recipes(), "etcd") is None
    assert "something other than sha256:" in capsys.readouterr().out
    assert not [p for p in published.place(Recipes(), "etcd").parent.iterdir() if p.is_file()]


def test_an_image_that_is_not_for_this_machine_or_has_no_such_program_is_said(hub, capsys):
    hub.put(*ETCD, [layer({"bin/etcd": "it"})], architectures=("s390x",))
    assert published.program(Recipes(), "etcd") is None
    hub.put(*ETCD, [layer({"bin/other": "it"})])
    assert published.program(Recipes(), "etcd") is None
    said = " ".join(capsys.readouterr().out.split())
    assert f"it has nothing for linux/{ARCHITECTURE}" in said
    assert "no layer has a program etcd" in said


def test_a_registry_that_refuses_is_not_asked_for_minutes(hub, capsys):
    """The client that is used tries again for two minutes by itself, also what was refused."""
    hub.refuses = True
    began = time.monotonic()
    assert published.program(Recipes(), "etcd") is None
    assert time.monotonic() - began < 20
    assert "isn't to be had" in capsys.readouterr().out


@pytest.mark.parametrize(
    "manifest", [[], {"layers": [{}]}, {"manifests": [{"platform": {"os": "linux", "architecture": ARCHITECTURE}}]}]
)
def test_what_is_no_manifest_is_no_crash(hub, manifest):
    hub.held["/v2/etcd/manifests/" + ETCD[1]] = (MANIFEST, json.dumps(manifest).encode())
    assert published.program(Recipes(), "etcd") is None


def test_what_a_mirror_gave_is_not_taken_for_the_projects_own(hub, monkeypatch):
    hub.put(*ETCD, [layer({"bin/etcd": "of a mirror"})])
    taken = published.program(Recipes(), "etcd")
    monkeypatch.delenv("HOLDFAST_REGISTRY")
    assert published.place(Recipes(), "etcd") != taken


def test_what_a_registry_lacks_is_built(hub, monkeypatch):
    monkeypatch.setattr(builds, "binary", lambda _, name: ROOT / name)
    assert programs.program(Recipes(), "etcd") == ROOT / "etcd"
    assert programs.program(Recipes(), "kube-scheduler") == ROOT / "kube"


def test_what_is_built_already_is_not_asked_for(hub):
    there = builds.program(Recipes(), "kube")
    there.parent.mkdir(parents=True)
    there.touch()
    assert programs.all_of(Recipes(), programs.KUBERNETES) == dict.fromkeys(programs.KUBERNETES, there)
    assert hub.asked == []


def test_a_mirror_that_does_not_answer_is_said(hub):
    hub.server.shutdown()
    hub.server.server_close()
    with pytest.raises(UsageError, match="HOLDFAST_REGISTRY"):
        published.program(Recipes(), "etcd")


def test_where_no_registry_answers_it_is_built(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "silence", lambda _: "nobody there")
    monkeypatch.setattr(builds, "binary", lambda _, name: ROOT / name)
    assert programs.program(Recipes(), "kwok") == ROOT / "kwok"


def test_a_flux_without_a_module_of_ours_is_never_built(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "silence", lambda _: "nobody there")
    with pytest.raises(UsageError, match=r"source-controller 1\.10\.1 can't be built here"):
        programs.program(Recipes(None, "2.10"), "source-controller")


def test_every_program_of_the_lane_of_processes_is_published_somewhere():
    for flux in Recipes().table["flux"]:
        recipes = Recipes(None, flux)
        names = [
            *programs.KUBERNETES,
            "etcd",
            "etcdctl",
            "etcdutl",
            "kwok",
            "source-controller",
            "kustomize-controller",
        ]
        for name in names:
            image = published.image_of(recipes, name)
            assert "{" not in image
            assert image.rpartition(":")[2].strip("v-0"), name
    assert published.image_of(Recipes("1.37.2"), "kube-apiserver").endswith("/kube-apiserver:v1.37.2")
