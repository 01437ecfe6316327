"""Builds the parts of the offline images: Go programs and Debian root file systems. Only what changed is built again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.paths import cache_dir
from holdfast.progress import step
from holdfast.provision.packages import apt_install
from holdfast.provision.recipes import LEFT_OUT, Recipes


def run(
    command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None, what: str, log: Path
) -> None:
    """Runs a build command with its output in *log*; raises UsageError with its last words where it fails."""
    with log.open("ab") as out:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            check=False,
        )
    if done.returncode == 0:
        return
    words = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-3:]
    if any("No space left" in line for line in words):
        raise UsageError(
            f"{what}: the disk is full", "free some space (10 GB are needed), then run again: what is built is kept"
        )
    raise UsageError(f"{what} failed: {' / '.join(words)}", f"read {log}, then run again: what is built is kept")


def _log(name: str) -> Path:
    folder = cache_dir() / "log"
    folder.mkdir(exist_ok=True)
    path = folder / f"build-{name}.log"
    path.write_bytes(b"")
    return path


def _modfile(module: Path, version: str, env: dict[str, str]) -> list[str]:
    """go.mod for a Kubernetes version other than the pinned one: of its own staging modules, its sums checked by the sum database."""
    pinned = (module / "go.mod").read_text()
    if not version or f"k8s.io/kubernetes v{version}\n" in pinned:
        return []
    derived = cache_dir() / "pins" / f"kubernetes-{version}.mod"
    if not derived.exists():
        derived.parent.mkdir(exist_ok=True)
        part = derived.with_suffix(".part.mod")
        part.write_text(derived_module(_own_module(module, version, env), version))
        command = ["go", "mod", "tidy", f"-modfile={part}"]
        run(command, cwd=module, env=env, what=f"pinning Kubernetes {version}", log=_log("pins"))
        part.with_suffix(".sum").replace(derived.with_suffix(".sum"))
        part.replace(derived)
    return [f"-modfile={derived}"]


def _whole_modules(name: str, module: Path, lacks: Mapping[str, str], env: dict[str, str]) -> list[str]:
    """go.mod that takes modules from copies which have the file that their project makes and doesn't publish: empty, since nothing reads it."""
    if not lacks:
        return []
    folder = cache_dir() / "pins" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = (module / "go.mod").read_text()
    for number, (path, file) in enumerate(lacks.items()):
        shutil.copytree(_source(module, path, env), folder / str(number), copy_function=shutil.copyfile)
        (folder / str(number) / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / str(number) / file).touch()
        text += f"\nreplace {path} => {folder / str(number)}\n"
    derived = folder / "go.mod"
    derived.write_text(text)
    shutil.copyfile(module / "go.sum", folder / "go.sum")
    return [f"-modfile={derived}"]


def _source(module: Path, path: str, env: dict[str, str]) -> Path:
    """Where the files of a pinned module lie, its sum checked. Raises UsageError."""
    for words in (["mod", "download", path], ["list", "-m", "-f", "{{.Dir}}", path]):
        done = subprocess.run(
            ["go", *words], cwd=module, env={**os.environ, **env}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = " ".join((done.stdout + done.stderr).split())[-200:]
            raise UsageError(f"{path} can't be had: {said}", "look whether Go reaches its modules, then run again")
    return Path(done.stdout.strip())


def _own_module(module: Path, version: str, env: dict[str, str]) -> str:
    """The go.mod of a Kubernetes version. Raises UsageError."""
    wanted, found = ["go", "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"], ""
    done = subprocess.run(wanted, cwd=module, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    with contextlib.suppress(ValueError):
        found = str(json.loads(done.stdout).get("GoMod") or "")
    if not found:
        said = " ".join((done.stdout + done.stderr).split())[-200:]
        raise UsageError(
            f"pinning Kubernetes {version} failed: {said}", "look whether Go reaches its modules, then run again"
        )
    return Path(found).read_text()


def derived_module(own: str, version: str) -> str:
    """go.mod of a program of Kubernetes' own packages: what *own*, its go.mod, replaces by folders is published as modules of their own."""
    staged = sorted(set(re.findall(r"^\s*(k8s\.io/\S+) => \./staging/", own, re.MULTILINE)))
    language = re.findall(r"^(?:go|godebug) [^(\n]+$", own, re.MULTILINE)  # what its programs are compiled as
    assert staged, "Kubernetes replaces its staging modules"
    assert language, "a go.mod names its language"
    published = "\n".join(f"\t{name} => {name} v0.{version.partition('.')[2]}" for name in staged)
    return (
        f"module holdfast/images/kubernetes\n\n{chr(10).join(language)}\n\n"
        f"require k8s.io/kubernetes v{version}\n\nreplace (\n{published}\n)\n"
    )


def _ldflags(name: str, version: str) -> str:
    flags = ["-s", "-w"]
    if name == "kube":
        major, minor, _ = version.split(".")
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            flags += [
                f"-X {package}.gitVersion=v{version}",
                f"-X {package}.gitMajor={major}",
                f"-X {package}.gitMinor={minor}",
                f"-X {package}.gitTreeState=clean",
            ]
    if name == "flux":
        flags.append(f"-X main.VERSION={version}")
    if name == "containerd":
        flags.append(f"-X github.com/containerd/containerd/v2/version.Version=v{version}")
    return " ".join(flags)


def program(recipes: Recipes, name: str) -> Path:
    """Where a Go program lies once it is built."""
    return cache_dir() / "bin" / f"{name}-{recipes.hash_binary(name)}"


def binary(recipes: Recipes, name: str) -> Path:
    """Builds a Go program, or finds the one built before; returns its path."""
    entry = recipes.table["binary"][name]
    target = program(recipes, name)
    if target.exists():
        return target
    if not shutil.which("go"):
        raise UsageError(
            "the offline images need Go, and there is none",
            "install Go 1.26, or use a machine that reaches an image registry",
        )
    version = recipes.version(name)
    module = recipes.root / "images" / entry["module"]
    target.parent.mkdir(exist_ok=True)
    part = target.with_suffix(".part")
    toolchain = recipes.toolchain(name)
    # GOFLAGS of the user's could ask for a vendor folder or for C code that a bare image can't load.
    env = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    env |= {"GOTOOLCHAIN": toolchain} if toolchain else {}
    with step(f"building {name} {version}".rstrip()):
        command = [
            "go",
            "build",
            "-trimpath",
            "-buildvcs=false",
            *_modfile(module, version if name == "kube" else "", env | {"GOFLAGS": "-mod=mod"}),
            *_whole_modules(name, module, entry.get("lacks", {}), env),
            "-ldflags",
            _ldflags(name, version),
            *(["-tags", entry["tags"]] if "tags" in entry else []),
            "-o",
            str(part),
            *entry["packages"],
        ]
        run(
            command,
            cwd=module,
            env=env,
            what=f"building {name}",
            log=_log(name),
        )
    part.replace(target)
    shutil.rmtree(cache_dir() / "pins" / name, ignore_errors=True)  # copies of modules, where it needed any
    return target


def _debian_mirror() -> str:
    """The mirror that this machine's apt is set up with (both of apt's formats), so that no file names one."""
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        if not path.exists():
            continue
        for line in path.read_text(errors="replace").splitlines():
            found = re.match(r"(?:URIs:|deb\s+(?:\[.*?\]\s+)?)\s*(\S+/debian/?)(\s|$)", line)
            if found and "security" not in found[1]:
                return found[1]
    raise UsageError(
        "apt's sources name no Debian mirror",
        "set up apt for Debian 12, or use a machine that reaches an image registry",
    )


def rootfs(recipes: Recipes, name: str) -> Path:
    """Makes a Debian root file system as a tar file, or finds the one made before; returns its path."""
    target = cache_dir() / "rootfs" / f"{name}-{recipes.hash_rootfs(name)}.tar"
    if target.exists():
        return target
    if os.geteuid() != 0:
        raise UsageError(
            "the offline images are made by debootstrap, which needs root",
            "run as root, or where an image registry answers",
        )
    if not shutil.which("debootstrap"):
        apt_install("debootstrap")
    target.parent.mkdir(exist_ok=True)
    folder = target.with_suffix(".d")
    shutil.rmtree(folder, ignore_errors=True)
    log = _log(f"rootfs-{name}")
    with step(f"making the Debian root file system of the {name} images"):
        packages = ",".join(recipes.table["rootfs"][name])
        run(
            ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(folder), _debian_mirror()],
            what=f"debootstrap of {name}",
            log=log,
        )
        # Its apt is never used, and its sources would carry this machine's mirror into an image.
        shutil.rmtree(folder / "etc/apt/sources.list.d", ignore_errors=True)
        (folder / "etc/apt/sources.list").write_text("")
        excludes = [f"--exclude=./{path}/*" for path in LEFT_OUT]
        run(
            [
                "tar",
                "-C",
                str(folder),
                "--one-file-system",
                "--exclude=./dev/*",
                *excludes,
                "-cf",
                str(target.with_suffix(".part")),
                ".",
            ],
            what=f"packing {name}",
            log=log,
        )
    target.with_suffix(".part").replace(target)
    shutil.rmtree(folder)
    return target


def built(name: str) -> str:
    """The newest of holdfast's own builds of a tool; empty where there is none."""
    folder = cache_dir() / "bin"
    found = (
        [p for p in folder.glob(f"{name}-*") if re.fullmatch(rf"{name}-[0-9a-f]{{12}}", p.name)]
        if folder.is_dir()
        else []
    )
    return str(max(found, key=lambda p: p.stat().st_mtime)) if found else ""


def tool(name: str) -> Path:
    """A Go program that holdfast calls on the host (kind): the user's own on PATH, else one that is built."""
    found = shutil.which(name)
    return Path(found) if found else binary(Recipes(), name)
