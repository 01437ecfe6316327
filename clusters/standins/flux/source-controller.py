"""Stand-in for Flux's source-controller: clones by Git, packs the tree, serves it, and says so in the status."""

import base64
import fnmatch
import gzip
import hashlib
import http.server
import io
import os
import shutil
import subprocess
import tarfile
import tempfile

import standin

DATA = os.environ.get("STORAGE_PATH", "/data")
HOST = "source-controller.flux-system.svc.cluster.local."
# What Flux leaves out of an artifact unless the source says otherwise (fluxcd.io, GitRepository, "default exclusions").
ALWAYS_OUT = [".git/", ".gitignore", ".gitmodules", ".gitattributes"]
USUALLY_OUT = [
    "*.jpg",
    "*.jpeg",
    "*.gif",
    "*.png",
    "*.wmv",
    "*.flv",
    "*.tar.gz",
    "*.zip",
    ".github/",
    ".circleci/",
    ".travis.yml",
    ".gitlab-ci.yml",
    "appveyor.yml",
    ".drone.yml",
    "cloudbuild.yaml",
    "codeship-services.yml",
    "codeship-steps.yml",
    "**/.goreleaser.yml",
    "**/.sops.yaml",
    "**/.flux.yaml",
]


def git(*args, cwd=None, env=None, timeout=60):
    done = subprocess.run(
        ["git", *args],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        words = " ".join(line for line in (done.stderr or done.stdout).split("\n") if line.strip())
        raise standin.Failed("GitOperationFailed", f"failed to checkout and determine revision: {words[-500:]}")
    return done.stdout


def credentials(controller, item, folder):
    """The environment that git needs for the source's Secret, which must hold identity and known_hosts."""
    url, ref = item["spec"]["url"], item["spec"].get("secretRef")
    base = {"GIT_TERMINAL_PROMPT": "0", "HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"}
    if not url.startswith("ssh://"):
        return base
    if not ref:
        raise standin.Failed("AuthenticationFailed", "an ssh source needs a secretRef with identity and known_hosts")
    secrets = controller.client.resources.get(api_version="v1", kind="Secret")
    try:
        data = secrets.get(name=ref["name"], namespace=item["metadata"]["namespace"]).to_dict().get("data") or {}
    except standin.NotFoundError:
        raise standin.Failed("AuthenticationFailed", f"secret '{ref['name']}' not found") from None
    for key in ("identity", "known_hosts"):
        if key not in data:
            raise standin.Failed("AuthenticationFailed", f"secret '{ref['name']}' lacks the key '{key}'")
        path = os.path.join(folder, key)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(base64.b64decode(data[key]))
    command = (
        f"ssh -F none -i {folder}/identity -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10 "
        f"-o UserKnownHostsFile={folder}/known_hosts -o LogLevel=ERROR"
    )
    return {**base, "GIT_SSH_COMMAND": command}


def wanted(spec):
    """(what to fetch, how the revision is written before '@sha1:')."""
    ref = spec.get("ref") or {}
    if ref.get("commit"):
        return ref["commit"], ref.get("branch", "")
    if ref.get("name"):
        return ref["name"], ref["name"]
    if ref.get("tag"):
        return f"refs/tags/{ref['tag']}", ref["tag"]
    branch = ref.get("branch", "master")
    return f"refs/heads/{branch}", branch


def pack(mirror, sha, ignore):
    """The files of a commit as a tar.gz that is the same for the same commit and rules."""
    with tempfile.TemporaryDirectory() as folder:
        env = {
            "GIT_INDEX_FILE": os.path.join(folder, ".index"),
            "GIT_WORK_TREE": os.path.join(folder, "tree"),
            "GIT_DIR": mirror,
        }
        os.mkdir(env["GIT_WORK_TREE"])
        git("read-tree", sha, env=env)
        git("checkout-index", "-a", "-f", env=env, cwd=env["GIT_WORK_TREE"])
        rules = os.path.join(folder, "rules")
        with open(rules, "w") as file:
            file.write("\n".join(ALWAYS_OUT + (ignore.splitlines() if ignore is not None else USUALLY_OUT)))
        listing = ["ls-files", "-z", "-c", "-i", f"--exclude-from={rules}", "--exclude-per-directory=.sourceignore"]
        out = set(git(*listing, env=env, cwd=env["GIT_WORK_TREE"]).split("\0"))
        files = [
            f for f in git("ls-files", "-z", "-c", env=env, cwd=env["GIT_WORK_TREE"]).split("\0") if f and f not in out
        ]
        raw = io.BytesIO()
        with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
            for name in sorted(files):
                path = os.path.join(env["GIT_WORK_TREE"], name)
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = os.path.getsize(path), os.stat(path).st_mode & 0o777
                with open(path, "rb") as file:
                    tar.addfile(entry, file)
    return raw.getvalue()


def reconcile(controller, item):
    meta, spec = item["metadata"], item["spec"]
    where = os.path.join("gitrepository", meta["namespace"], meta["name"])
    fetch, shown = wanted(spec)
    with tempfile.TemporaryDirectory() as folder:
        env = credentials(controller, item, folder)
        if fetch.startswith("refs/"):
            lines = git("ls-remote", spec["url"], fetch, env=env, timeout=standin.seconds(spec.get("timeout"))).split()
            if not lines:
                raise standin.Failed(
                    "GitOperationFailed",
                    f"failed to checkout and determine revision: couldn't find remote ref '{fetch}'",
                )
            sha = lines[0]
        else:
            sha = fetch
        revision = f"{shown}@sha1:{sha}" if shown else f"sha1:{sha}"
        rules = hashlib.sha256(repr(spec.get("ignore")).encode()).hexdigest()[:6]
        name = f"{sha}-{rules}.tar.gz" if spec.get("ignore") is not None else f"{sha}.tar.gz"
        path = os.path.join(DATA, where, name)
        old = (item.get("status") or {}).get("artifact") or {}
        if not os.path.exists(path) or old.get("revision") != revision:
            mirror = os.path.join(DATA, "mirror", where)
            if not os.path.isdir(mirror):
                git("init", "-q", "--bare", mirror, env=env)
            git(
                "fetch",
                "-q",
                "--depth=1",
                spec["url"],
                fetch,
                cwd=mirror,
                env=env,
                timeout=standin.seconds(spec.get("timeout")),
            )
            data = pack(mirror, sha, spec.get("ignore"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + ".part", "wb") as file:
                file.write(data)
            os.replace(path + ".part", path)
            for stale in os.listdir(os.path.dirname(path)):
                if fnmatch.fnmatch(stale, "*.tar.gz") and stale != name and not old.get("path", "").endswith(stale):
                    os.remove(os.path.join(os.path.dirname(path), stale))
    with open(path, "rb") as file:
        data = file.read()
    url = f"http://{HOST}/{where}/{name}"
    artifact = {
        "path": f"{where}/{name}",
        "url": url,
        "revision": revision,
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "size": len(data),
        "lastUpdateTime": old.get("lastUpdateTime") if old.get("revision") == revision else standin.now(),
    }
    controller.ready(item, True, "Succeeded", f"stored artifact for revision '{revision}'", {"artifact": artifact})


def reconcile_helm(controller, item):
    controller.ready(item, True, "Succeeded", "stand-in: charts of this repository come with the lane")
    return 3600


class Artifacts(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args):
        super().__init__(*args, directory=DATA)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    os.makedirs(DATA, exist_ok=True)
    shutil.rmtree(os.path.join(DATA, "mirror"), ignore_errors=True)
    standin.serve(9090, Artifacts)
    standin.start(
        standin.Controller("source-controller", "source.toolkit.fluxcd.io/v1", "GitRepository", reconcile),
        standin.Controller("source-controller", "source.toolkit.fluxcd.io/v1", "HelmRepository", reconcile_helm),
    )
