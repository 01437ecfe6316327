"""Benchmarks: figures and ratios of things measured side by side in one run. Nothing here passes or fails."""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from holdfast.drivers import kwok
from holdfast.journal import Journal, read_file
from holdfast.lane.lane import Lane
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from holdfast.provision import builds, engine, images
from holdfast.provision.recipes import Recipes
from holdfast.rehearsal.after import look_after
from holdfast.rehearsal.stage import staged
from holdfast.rehearsal.watcher import Watcher
from holdfast.run import opened
from holdfast.sampling.intervals import outages
from holdfast.verdicts import verdicts
from suites.harness import apart, pairs
from suites.harness.test_sampling import Serving, run_sampler, sampled


def spread(values):
    return f"median {statistics.median(values):.3f}, range {min(values):.3f}–{max(values):.3f}, n={len(values)}"


async def _edges(folder, rate_hz, rounds):
    """How wide each edge of an outage's bound is (seconds), and how far the bounds are from the truth."""
    server = Serving()
    await server.start()

    async def script():
        truths = []
        for i in range(rounds):
            await asyncio.sleep(0.6 + 0.013 * i)
            gone = await server.stop()
            await asyncio.sleep(0.5 + 0.017 * i)
            truths.append((gone, await server.start()))
        return truths

    return await run_sampler(folder, sampled(folder, server.port, script, rate_hz=rate_hz, timeout_s=0.4), script)


def sampler_bounds(rounds=8, rate_hz=10.0):
    with tempfile.TemporaryDirectory() as name:
        looks, truths = asyncio.run(_edges(Path(name), rate_hz, rounds))
    for mode in ("new", "reused"):
        found = outages(looks[mode], stable_s=0.3)
        begins = [o.core[0] - o.after for o in found]
        ends = [o.before - o.core[1] for o in found if o.before]
        inside = sum(o.after <= gone and back <= o.before for o, (gone, back) in zip(found, truths, strict=False))
        print(f"  {mode:7} begin of the bound: {spread(begins)} s")
        print(f"  {'':7} end of the bound:   {spread(ends)} s; the truth lay within it {inside} of {len(truths)} times")


def looks_each_second():
    """What one sampler process sustains: looks a second against the rate that was asked for."""

    async def go(folder, rate_hz):
        server = Serving()
        await server.start()

        async def script():
            await asyncio.sleep(4)

        return await run_sampler(folder, sampled(folder, server.port, script, rate_hz=rate_hz), script)

    for rate_hz in (10.0, 50.0, 200.0):
        with tempfile.TemporaryDirectory() as name:
            looks, _ = asyncio.run(go(Path(name), rate_hz))
        ratios = []
        for mode in ("new", "reused"):
            starts = sorted(look.start for look in looks[mode])
            ratios.append((len(starts) - 1) / (starts[-1] - starts[0]) / rate_hz)
        print(
            f"  asked for {rate_hz:5.0f} looks a second a target: got {ratios[0]:.2f} × (new), {ratios[1]:.2f} × (reused)"
        )


def journal_lines(count=2000):
    """A synced line against a plain one, and reading back."""
    with tempfile.TemporaryDirectory() as name:
        journal, plain = Journal(Path(name) / "j.jsonl"), (Path(name) / "p.jsonl").open("w")
        times = {}
        for label, write in (
            ("journal", lambda i: journal.write("assertion", test="t", held=True, number=i)),
            ("plain file", lambda i: plain.write(f"{i}\n")),
        ):
            began = time.perf_counter()
            for i in range(count):
                write(i)
            times[label] = (time.perf_counter() - began) / count * 1e6
        journal.seal()
        began = time.perf_counter()
        verdicts(read_file(Path(name) / "j.jsonl"))
        reading = (time.perf_counter() - began) / count * 1e6
    print(
        f"  a line written and synced: {times['journal']:.0f} µs; read, checked and judged: {reading:.0f} µs ({reading / times['journal']:.2f} ×)"
    )


def tree_of(folder, kustomizations, files_each):
    """A tree of Deployments, ConfigMaps and Services, each Kustomization with a kustomization.yaml of its own."""
    flux = (pairs.valid("image") / "cluster/flux.yaml").read_text()
    (folder / "cluster").mkdir(parents=True)
    (folder / "cluster/flux.yaml").write_text(flux)
    parts = []
    for k in range(kustomizations):
        parts.append(yaml.safe_load(flux.split("---")[1]) | {"metadata": {"name": f"k{k}", "namespace": "flux-system"}})
        parts[-1]["spec"] = parts[-1]["spec"] | {"path": f"./parts/k{k}"}
        here = folder / f"parts/k{k}"
        here.mkdir(parents=True)
        source = (pairs.valid("service-port") / "cluster/app.yaml").read_text().split("---\n")
        (here / "ns.yaml").write_text(source[0].replace("name: web", f"name: n{k}"))
        for f in range(files_each - 2):
            text = (
                source[1 + f % 2]
                .replace("namespace: web", f"namespace: n{k}")
                .replace("name: web", f"name: a{f // 2}")
                .replace("app: web", f"app: a{f // 2}")
            )
            (here / f"{f}.yaml").write_text(text)
        (here / "kustomization.yaml").write_text(
            yaml.dump({"resources": ["ns.yaml", *(f"{f}.yaml" for f in range(files_each - 2))]})
        )
    (folder / "cluster/parts.yaml").write_text(yaml.dump_all(parts))
    return folder


def timed(command, env):
    began = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return time.perf_counter() - began, done


def check_against_kustomize(rounds=5):
    """`holdfast check` of 300 files in 10 Kustomizations against building the same by kustomize, one after the other (goals: ≤ 1.0 × cold, ≤ 0.3 × warm)."""
    kustomize = str(builds.binary(Recipes(), "kustomize"))
    ratios = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        tree = tree_of(Path(name) / "tree", 10, 30)
        for number in range(rounds):
            env = {**os.environ, "XDG_CACHE_HOME": str(apart.cache(Path(name) / f"cache{number}"))}
            alone = sum(timed([kustomize, "build", str(tree / f"parts/k{k}")], env)[0] for k in range(10))
            for which in ("cold", "warm"):
                took, done = timed([str(Path(sys.executable).parent / "holdfast"), "check", str(tree)], env)
                assert done.returncode == 0, done.stdout + done.stderr
                ratios[which].append(took / alone)
    for which, values in ratios.items():
        print(f"  {which}: {spread(values)} × kustomize alone (last: {alone:.2f} s)")


def check_grows():
    """Time and memory by the number of objects (goal: linear, 10000 in ≤ 10 s and ≤ 500 MB)."""
    first = None
    for count in (1000, 3000, 10000):
        with tempfile.TemporaryDirectory() as name:
            tree = tree_of(Path(name) / "tree", count // 100, 101)
            env = {**os.environ, "XDG_CACHE_HOME": str(apart.cache(Path(name) / "cache"))}
            program = (
                "import resource, sys\nfrom holdfast.__main__ import main\nsys.argv = ['holdfast', 'check', sys.argv[1]]\ntry:\n    main()\nfinally:\n"
                "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
            )
            took, done = timed([sys.executable, "-c", program, str(tree)], env)
            assert done.returncode == 0, done.stderr[-500:]
            first = first or took / count
            print(
                f"  {count:6} objects: {took:.2f} s, {took / count / first:.2f} × as long an object as the first, {done.stderr.split()[-1]} MB"
            )


STORE = """
set -e
mkdir -p /data/m /data/fs /data/plain; truncate -s 2G /data/volume.img
nbdkit --port 10809 file /data/volume.img
(nbdfuse /data/m/volume nbd://127.0.0.1:10809 &) ; for i in $(seq 50); do [ -e /data/m/volume ] && break; sleep 0.1; done
loop=$(losetup -f); [ -e $loop ] || mknod $loop b 7 ${loop#/dev/loop}
losetup $loop /data/m/volume; mkfs.ext4 -q -F $loop; mount $loop /data/fs
for i in 1 2 3 4 5; do for where in fs plain; do
  rate=$(dd if=/dev/zero of=/data/$where/f bs=1M count=200 conv=fsync 2>&1 | sed -n 's/.*, \\([0-9.]* [kMG]B\\)\\/s/\\1/p'); echo "$where $rate"; rm /data/$where/f
done; done
umount /data/fs; losetup -d $loop
"""


def store():
    """Flushed writes of 200 MB to a volume of the Longhorn stand-in (blocks served, shown, ext4) beside a plain file of the same disk."""
    engine.ensure()
    image = images.image(engine.client(timeout_s=1800), Recipes(), "longhorn")
    rates = {"fs": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        out = subprocess.run(
            [
                "docker",
                "run",
                "--rm",
                "--privileged",
                "--network",
                "none",
                "-v",
                f"{folder}:/data",
                "--entrypoint",
                "sh",
                image,
                "-c",
                STORE,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    for line in out.stdout.splitlines():
        where, rate, unit = line.split()
        rates[where].append(float(rate) * {"kB": 0.001, "MB": 1, "GB": 1000}[unit])
    assert rates["fs"], out.stderr
    print(
        f"  a volume: {spread(rates['fs'])} MB/s; {spread([a / b for a, b in zip(rates['fs'], rates['plain'], strict=True)])} × a plain file"
    )


def hundred_of(folder, kustomizations=100, objects_each=10):
    """A tree of Kustomizations that wait for their objects, in five waves: in each a namespace, a Deployment, its Service, and ConfigMaps."""
    (folder / "cluster").mkdir(parents=True)
    flux = (pairs.valid("image") / "cluster/flux.yaml").read_text()
    (folder / "cluster/flux.yaml").write_text(flux)
    parts, wave = [], kustomizations // 5
    for k in range(kustomizations):
        body = yaml.safe_load(flux.split("---")[1]) | {"metadata": {"name": f"k{k}", "namespace": "flux-system"}}
        needs = [{"name": f"k{k - wave}"}] if k >= wave else []
        body["spec"] = body["spec"] | {"path": f"./parts/k{k}", "wait": True, "timeout": "2m", "dependsOn": needs}
        parts.append(body)
        labels = {"app": "web"}
        container = {
            "name": "web",
            "image": "registry.example/web:1",
            "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}},
        }
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        meta = {"name": "web", "namespace": f"n{k}"}
        made = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n{k}"}},
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": meta,
                "spec": {"selector": {"matchLabels": labels}, "template": pod},
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta,
                "spec": {"selector": labels, "ports": [{"port": 80}]},
            },
        ]
        maps = [{"name": f"c{number}", "namespace": f"n{k}"} for number in range(objects_each - len(made))]
        made += [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": m, "data": {"a": "b"}} for m in maps]
        here = folder / f"parts/k{k}"
        here.mkdir(parents=True)
        (here / "all.yaml").write_text(yaml.safe_dump_all(made))
    (folder / "cluster/parts.yaml").write_text(yaml.safe_dump_all(parts))
    return folder


def memory_mb(pids):
    """The most memory that processes had, in MB, added up."""
    found = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/status").read_text()
        found += int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM")))
    return found // 1024


def rehearsed(tree):
    """(seconds until the lane was up, until all was converged, of the whole, MB of its processes and of this one) of one rehearsal."""
    began = time.perf_counter()
    subject = Subject(tree)
    assert subject.tree
    with staged(subject, kwok.profiles()[-1]) as stage:
        stage.driver.ensure_host()
        up = time.perf_counter()
        stage.driver.up()
        up = time.perf_counter() - up
        stage.driver.down()
        began += up
        stage.start()
        started = time.perf_counter()
        course = Watcher(stage, limit_s=600, say=lambda _: None).run()
        assert course.converged, course.unsettled
        converged = time.perf_counter() - started
        look_after(stage)
        memory = memory_mb([*(p.pid for p in stage.driver.processes.started.values()), os.getpid()])
        down = time.perf_counter()
    return up, converged, time.perf_counter() - began, time.perf_counter() - down, memory


def rehearsals(rounds=3):
    """The lane's own start, a start of the reference tree, and of 100 Kustomizations with 1,000 objects, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        large = hundred_of(Path(name) / "tree")
        for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "a tree"]):
            subprocess.run(
                ["git", "-C", str(large), "-c", "user.name=a", "-c", "user.email=a@localhost", *words], check=True
            )
        whole = {}
        for label, tree, count in (
            ("the reference tree", ROOT / "fixtures/gitops", rounds),
            ("100 Kustomizations, 1,000 objects", large, 1),
        ):
            found = [rehearsed(tree) for _ in range(count)]
            up, converged, all_of_it, down, memory = zip(*found, strict=True)
            whole[label] = statistics.median(all_of_it)
            print(f"  the lane up: {spread(up)} s; down: {spread(down)} s")
            print(f"  {label}: converged {spread(converged)} s, the whole {spread(all_of_it)} s, {max(memory)} MB")
        first, second = whole.values()
        print(f"  fourteen times the objects take {second / first:.1f} × as long")


def lanes(rounds=2):
    """From nothing to the reference tree applied and every workload ready, on processes and on containers, in turn."""
    took = {name: [] for name in ("kwok", "kind/fast")}
    for _ in range(rounds):
        for name, seconds in took.items():
            tempfile.tempdir = None  # the run before had a folder of its own for such files, which is gone
            lane = Lane(name, Subject(ROOT / "fixtures" / "gitops"))
            assert lane.tree
            with tempfile.TemporaryDirectory() as folder:
                lane.driver.ensure_host()
                began = time.perf_counter()
                with opened(lane, Path(folder) / "run", lambda _: "a benchmark", keep=False) as run:
                    run.cluster()
                    seconds.append(time.perf_counter() - began)
    for name, seconds in took.items():
        print(f"  {name}: {spread(seconds)} s")
    print(f"  {spread([b / a for a, b in zip(*took.values(), strict=True)])} × as long on containers")


def main():
    for title, run in (
        ("Width of an outage's bound at 10 looks a second (goal: each edge ≤ 0.15 s)", sampler_bounds),
        ("Storage stand-in: flushed writes (goal: 50 MB/s)", store),
        ("Rate of one sampler process", looks_each_second),
        ("Journal", journal_lines),
        (
            "holdfast check against kustomize: 300 files, 10 Kustomizations (goals: 1.0 × cold, 0.3 × warm)",
            check_against_kustomize,
        ),
        ("holdfast check by the number of objects (goals: linear, 10 s, 500 MB)", check_grows),
        (
            "Rehearsals (goals: lane up 6 s, reference tree 30 s and 60 s in whole, 1,000 objects 120 s and 2 GB)",
            rehearsals,
        ),
        ("A converged tree on processes against containers (goal: 5 × shorter)", lanes),
    ):
        if sys.argv[1:] and not any(word in title for word in sys.argv[1:]):
            continue
        print(title)
        run()


if __name__ == "__main__":
    sys.exit(main())
