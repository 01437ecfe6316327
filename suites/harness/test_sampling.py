"""The sampler against servers that go away for known times: the truth lies within the bounds."""

import asyncio
import io
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.drivers.driver import capable
from holdfast.errors import NotExercised
from holdfast.probes import monitoring as probing
from holdfast.probes.monitoring import Sample
from holdfast.sampling import bands as banding
from holdfast.sampling import records, vantage, writers
from holdfast.sampling import watch as watching
from holdfast.sampling.bands import Band, stretches
from holdfast.sampling.intervals import Look, gaps, intervals, outages
from holdfast.sampling.judge import Limit, Window, judge
from holdfast.sampling.looks import Looker, Target
from holdfast.sampling.process import Record
from holdfast.sampling.seen import Seen
from holdfast.sampling.series import Recorded, Series, acknowledged, parse, with_absences
from holdfast.sampling.targets import VOLUME, AssignedTarget, Wanted
from holdfast.sampling.vantage import Fetched, WatchedTargets
from holdfast.sampling.watch import Sampler
from holdfast.tree.settings import Settings
from holdfast.tree.settings_file import Adaptation


class Serving:
    """An HTTP server in the test's own loop that answers, goes away, or hangs, at times that it notes down."""

    def __init__(self):
        self.port, self.server, self.open, self.hang, self.body, self.header = 0, None, set(), False, b"ok", b""

    async def start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]
        return time.time()

    async def stop(self):
        self.server.close()
        for writer in list(self.open):
            writer.transport.abort()
        return time.time()

    async def _serve(self, reader, writer):
        self.open.add(writer)
        try:
            while True:
                while (line := await reader.readline()) not in (b"\r\n", b""):
                    pass
                if not line:
                    return
                if self.hang:
                    await asyncio.sleep(60)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(self.body), self.header) + self.body
                )
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open.discard(writer)


def sampled(tmp_path, port, script, *, rate_hz=20.0, timeout_s=0.5, **more):
    """Runs the real sampler process while *script* (a coroutine of the server) goes on; looks by target name."""
    targets = [
        {
            "name": mode,
            "kind": "http",
            "host": "127.0.0.1",
            "port": port,
            "mode": mode,
            "rate_hz": rate_hz,
            "timeout_s": timeout_s,
            **more,
        }
        for mode in ("new", "reused")
    ]
    (tmp_path / "spec.json").write_text(json.dumps({"watch": "w", "nonce": "", "targets": targets}))
    return targets, tmp_path / "out.txt"


async def run_sampler(tmp_path, targets_out, script):
    _, out = targets_out
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast.sampling.process", "--spec", str(tmp_path / "spec.json"), "--out", str(out)
    )
    try:
        while not out.exists() or out.read_text().count("\n") < 20:
            await asyncio.sleep(0.05)
        truth = await script()
        await asyncio.sleep(0.6)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)
    names, looks, _ = parse(out.read_text())
    return {names[i]: sorted(found) for i, found in looks.items()}, truth


@pytest.mark.parametrize("seed", range(3))
def test_the_true_outage_lies_within_the_bounds(tmp_path, seed):
    length = random.Random(seed).uniform(0.3, 1.2)

    async def go():
        server = Serving()
        await server.start()

        async def script():
            await asyncio.sleep(0.3)
            gone = await server.stop()
            await asyncio.sleep(length)
            return gone, await server.start()

        return await run_sampler(tmp_path, sampled(tmp_path, server.port, script), script)

    looks, (gone, back) = asyncio.run(go())
    for mode in ("new", "reused"):
        (outage,) = outages(looks[mode], stable_s=0.3)
        assert outage.after <= gone + 0.01, mode
        assert back - 0.01 <= outage.before, mode
        assert outage.at_least_s <= back - gone <= outage.at_most_s, mode
    assert not outages(looks["control"])


def test_a_slow_answer_delays_no_other_look(tmp_path):
    async def go():
        server = Serving()
        await server.start()

        async def script():
            server.hang = True
            await asyncio.sleep(1.5)
            server.hang = False

        return await run_sampler(tmp_path, sampled(tmp_path, server.port, script, timeout_s=1.0), script)

    looks, _ = asyncio.run(go())
    for mode in ("new", "reused"):
        starts = [look.start for look in looks[mode]]
        steps = [b - a for a, b in zip(starts, starts[1:], strict=False)]
        assert sorted(steps)[len(steps) // 2] == pytest.approx(0.05, abs=0.02), mode  # the rate stays what it was
        assert any(look.result == "timeout" for look in looks[mode]), mode


@pytest.mark.parametrize(
    ("header", "wanted", "word"),
    [
        (b"X-Holdfast-Nonce: mine\r\n", "mine", "ok"),
        (b"X-Holdfast-Nonce: other\r\n", "mine", "nonce"),
        (b"", "mine", "nonce"),
    ],
)
def test_an_answer_without_the_nonce_is_somebody_elses(header, wanted, word):
    async def go():
        server = Serving()
        server.header = header
        await server.start()
        return await Looker(Target("t", "http", "127.0.0.1", server.port, nonce=wanted)).look()

    assert asyncio.run(go()) == word


@pytest.mark.parametrize(("expect", "word"), [(200, "ok"), (404, "http-200")])
def test_only_the_expected_status_is_ok(expect, word):
    async def go():
        server = Serving()
        await server.start()
        return await Looker(Target("t", "http", "127.0.0.1", server.port, expect=expect)).look()

    assert asyncio.run(go()) == word


def test_a_reused_connection_that_has_to_reconnect_is_a_failed_look():
    async def go():
        server = Serving()
        await server.start()
        looker = Looker(Target("t", "http", "127.0.0.1", server.port, mode="reused", timeout_s=0.2, rate_hz=5))
        await looker.prime()
        before = [await looker.look() for _ in range(3)]
        for writer in list(server.open):
            writer.transport.abort()
        await asyncio.sleep(0.05)
        return before, [await looker.look() for _ in range(3)]

    before, after = asyncio.run(go())
    assert before == ["ok", "ok", "ok"]
    assert after == ["closed", "ok", "ok"]  # exactly one look is lost with the connection, then it is counted anew


def test_what_is_not_there_is_refused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert asyncio.run(Looker(Target("t", "http", "127.0.0.1", port)).look()) == "refused"


def test_a_disk_that_stands_still_keeps_no_look_waiting():
    """What is written down waits in a thread of its own, and all of it arrives."""

    class Slow(io.StringIO):
        def write(self, text):
            time.sleep(0.3)
            return super().write(text)

        def close(self):
            self.kept = self.getvalue()
            super().close()

    file = Slow()
    record = Record(file)
    began = time.monotonic()
    for number in range(4):
        record.line(f"0 {number}")
    assert time.monotonic() - began < 0.25
    record.close()
    assert file.kept == "0 0\n0 1\n0 2\n0 3\n"


def test_the_sampler_ends_with_the_process_that_started_it(tmp_path):
    sampled(tmp_path, 1, None)
    script = (
        f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-m', 'holdfast.sampling.process', '--spec', '{tmp_path}/spec.json',"
        f" '--out', '{tmp_path}/out.txt']); print(p.pid, flush=True); time.sleep(1.5)"
    )
    child = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    for _ in range(100):
        if not alive(child):
            return
        time.sleep(0.1)
    pytest.fail("the sampler outlived the process that started it by 10s")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


# -- the arithmetic ----------------------------------------------------------------------------------------------------


def series(text, step=0.1, begin=100.0):
    return [
        Look(begin + i * step, begin + i * step + 0.02, "ok" if c == "." else {"x": "refused", "t": "timeout"}[c])
        for i, c in enumerate(text)
    ]


def test_intervals_are_ordered_and_split_where_the_error_changes():
    assert [(i.result, i.looks) for i in intervals(reversed(series("...xxtt..")))] == [
        ("ok", 3),
        ("refused", 2),
        ("timeout", 2),
        ("ok", 2),
    ]


def test_flapping_is_one_outage_and_a_stable_stretch_ends_it():
    short, long = (
        "." * 5 + "x.x.x" + "." * stable + "x" + "." * 5 for stable in (99, 120)
    )  # a look takes a tenth of a second
    assert [(o.failed, o.looks) for o in outages(series(short))] == [(4, 105)]
    assert [(o.failed, o.looks) for o in outages(series(long))] == [(3, 5), (1, 1)]


def test_an_outage_that_is_not_over_has_no_upper_bound():
    (outage,) = outages(series("...xxx"))
    assert outage.at_most_s is None
    assert outage.before is None


def test_a_good_look_alone_does_not_end_an_outage():
    assert outages(series("...xxx" + "." * 50))[0].at_most_s is None
    assert outages(series("...xxx" + "." * 110))[0].at_most_s == pytest.approx(0.42)


def test_the_stable_stretch_begins_where_the_last_look_failed():
    slow = [
        Look(100, 100.02, "ok"),
        Look(101, 103, "timeout"),
        Look(112, 114, "timeout"),
        *series("." * 130, begin=114.1),
    ]
    assert [o.failed for o in outages(slow)] == [2]


def test_an_outage_from_the_first_look_has_no_upper_bound():
    assert outages(series("xx..."))[0].at_most_s is None


@given(st.floats(0.0, 5.0), st.floats(0.05, 8.0), st.floats(0.0, 0.1), st.floats(0.001, 0.08))
def test_bounds_hold_for_any_outage(start, length, phase, took):
    """A server that is away from *start* for *length*: whatever the phase and the duration of looks, the truth lies within the bounds."""
    looks = []
    for i in range(160):
        begin = phase + i * 0.1
        end = begin + took
        looks.append(Look(begin, end, "refused" if begin < start + length and end > start else "ok"))
    found = outages(looks, stable_s=1.0)
    if found and found[0].at_most_s is not None:
        assert found[0].at_least_s <= length + 1e-6
        assert length <= found[0].at_most_s + 1e-6
        assert found[0].after <= start and found[0].before >= start + length


@given(st.permutations(series("...xx..x...")))
def test_the_order_of_records_does_not_matter(looks):
    assert outages(looks) == outages(series("...xx..x..."))


def test_a_stretch_without_looks_is_a_gap():
    looks = [look for look in series("." * 60) if not 102 < look.start < 104.5]
    ((a, b),) = gaps(looks, 100, 106, 1.5)
    assert b - a == pytest.approx(2.5, abs=0.2)
    assert gaps(looks[:5], 100, 106, 1.5)[-1][1] == 106  # an end that nobody looked at is one too


@given(st.integers(0, 400))
def test_a_record_that_was_cut_loses_its_last_line_only(cut):
    text = (
        "# " + json.dumps({"targets": [{"name": "a"}]}) + "\n" + "".join(f"0 {100 + i:.6f} 2.0 ok\n" for i in range(20))
    )
    whole = parse(text)[1][0]
    found = parse(text[: max(len(text) - cut, text.index("\n") + 1)])[1].get(0, [])
    assert found[: len(found) - 1] == whole[: max(0, len(found) - 1)]


def test_a_stall_is_read_in_seconds():
    _, _, stalls = parse("# " + json.dumps({"targets": [{"name": "a"}]}) + "\n- 100.000000 326.0 stall\n")
    ((begin, end),) = stalls
    assert end - begin == pytest.approx(0.326)


def test_targets_come_through_a_specification_unchanged(time_):
    targets = [
        Target("a", "http", "h", 1, mode="reused"),
        Target("b", "dns", "r", 53, ask="x", negative_control=True, rate_hz=2),
    ]
    said = json.loads(WatchedTargets("1-a", "n", Path("absent"), {"k3s1": targets}).specification("k3s1"))
    assert [Target(**t) for t in said["targets"]] == targets
    assert (said["watch"], said["nonce"]) == ("1-a", "n")


# -- what a watch makes of it ---------------------------------------------------------------------------------------------


class Says:
    """Takes the promises of a watch."""

    def __init__(self):
        self.said, self.more = [], []

    def assertion(self, what, probe, held, sighting, **more):
        self.said.append((held, sighting))
        self.more.append(more)

    def faults_between(self, begin, end):
        return []


class Steps(Says):
    """Takes the steps of a watch, too."""

    def __init__(self):
        super().__init__()
        self.steps, self.written = [], {}

    def steady(self, what, held, sighting):
        self.steps.append(("steady", held))

    def negative_control(self, probe, red, sighting):
        self.steps.append(("control", red))

    def write(self, event):
        self.written[event.event] = event


def judged(looks, *, limit="20s", kinds=("ingress",), control=True, stalls=(), share=None):
    """What a watch of 60 s says of one target with these looks."""
    experiment = Says()
    cluster = SimpleNamespace(experiment=experiment, power_windows=[])
    seen = Seen(cluster, [("ingress", AssignedTarget("outside", Target("t", "http", "h", 1)))], "w")
    seen.begin, seen.end = 100.0, 160.0
    seen.recorded.series[0].looks = looks
    seen.recorded.control["outside"], seen.recorded.stalls["outside"] = (600 if control else 0), list(stalls)
    seen.outage_at_most(limit, *kinds, failed_share=share)
    return experiment.said[0]


GOOD = "." * 600
LIMIT_0, NONE = Limit(0.0, 0), ()


@pytest.mark.parametrize(
    ("failed", "word", "own", "elsewhere", "lost", "held", "stalled"),
    [
        (13, "timeout", NONE, NONE, NONE, False, False),
        (13, "timeout", [(112.5, 115.0)], NONE, NONE, None, True),
        (13, "timeout", NONE, [(112.0, 114.4)], NONE, None, True),  # the node that it goes through stood still
        (13, "dns-timeout", NONE, [(112.0, 114.4)], NONE, None, True),
        (13, "timeout", NONE, [(112.0, 112.8)], NONE, False, False),  # for too short
        (13, "timeout", NONE, [(117.0, 119.4)], NONE, False, False),  # at another time
        (13, "refused", NONE, [(112.0, 114.4)], NONE, False, False),  # who stands still refuses nothing
        (13, "timeout", NONE, [(112.0, 114.4)], [(111.0, 140.0)], False, False),  # by the fault, not by itself
        (40, "timeout", NONE, [(112.0, 114.4)], NONE, False, False),  # it went on when the node did
        (0, "", [(112.0, 114.4)], NONE, NONE, None, True),  # nobody looked, for a known reason
        (0, "", [(112.0, 112.4)], NONE, NONE, True, False),
    ],
)
def test_what_stood_still_explains_what_timed_out_meanwhile(failed, word, own, elsewhere, lost, held, stalled):
    """Looks of a tenth of a second, failed from 113 s on."""
    bad = range(130, 130 + failed)
    looks = [Look(100 + i / 10, 100.05 + i / 10, word if i in bad else "ok") for i in range(600)]
    recorded = Recorded([("ingress", AssignedTarget("outside", Target("t", "http", "h", 1)))])
    windows = [SimpleNamespace(node="k3s2", off=a, on=b) for a, b in lost]
    experiment = Says()
    seen = Seen(SimpleNamespace(experiment=experiment, power_windows=windows), [], "w")
    seen.recorded, seen.begin, seen.end = recorded, 100.0, 160.0
    recorded.series[0].looks, recorded.control = looks, {"outside": 600, "k3s2": 600}
    recorded.stalls = {"outside": list(own), "k3s2": list(elsewhere)}
    seen.outage_at_most("0s", "ingress", failed_share=0)
    assert experiment.said[0][0] is held
    assert experiment.more[0]["stalled"] is stalled


def test_a_gap_that_no_stall_explains_is_not_one():
    looks = [look for look in series(GOOD) if not 110 < look.start < 115]
    of_target = Series("outside", "t", "http", "new", False, 10.0, looks)
    assert judge(of_target, LIMIT_0, Window(100.0, 160.0, [], 600, [])).stalled is False
    assert judge(of_target, LIMIT_0, Window(100.0, 160.0, [(110.1, 112.0), (111.0, 114.9)], 600, [])).stalled is True
    assert judge(of_target, LIMIT_0, Window(100.0, 160.0, [(110.1, 112.0)], 600, [])).stalled is False


@pytest.mark.parametrize(
    ("text", "limit", "held"),
    [
        (GOOD, "0s", True),
        ("." * 100 + "x" + "." * 499, "0s", False),
        ("." * 100 + "x" * 50 + "." * 450, "20s", True),
        ("." * 100 + "x" * 300 + "." * 200, "20s", False),
        ("." * 560 + "x" * 40, "20s", None),  # not seen to be over
        ("." * 100 + "x" * 50 + "." * 430 + "x" * 20, "20s", None),  # the second one isn't, though the first is longer
        ("." * 100, "20s", None),  # nobody looked at the rest
    ],
)
def test_what_a_watch_says(text, limit, held):
    assert judged(series(text), limit=limit)[0] is held


def test_a_kind_without_a_target_is_not_passed_over():
    held, said = judged(series(GOOD), kinds=("ingress", "pods"))
    assert held is None
    assert "pods" in said


def test_without_its_control_target_a_sampler_proves_nothing():
    assert judged(series(GOOD), control=False)[0] is None
    short_and_stalled = series("." * 100 + "x" * 30 + "." * 470)
    of_target = Series("outside", "t", "http", "new", False, 10.0, short_and_stalled)
    assert judge(of_target, LIMIT_0, Window(100.0, 160.0, [(109.0, 114.0)], 0, [])).stalled is False
    # What it did see broken is broken: the control target can only take a success away.
    assert judged(series("." * 100 + "x" * 300 + "." * 200), control=False)[0] is False


def test_a_stall_while_an_outage_was_seen_makes_it_unproven():
    assert judged(series("." * 100 + "x" * 30 + "." * 470), limit="0s", stalls=[(109.0, 114.0)])[0] is None
    assert judged(series("." * 100 + "x" * 30 + "." * 470), limit="0s", stalls=[(150.0, 150.5)])[0] is False
    # A short stall within a long outage takes nothing from it.
    assert judged(series("." * 100 + "x" * 300 + "." * 200), limit="20s", stalls=[(120.0, 120.3)])[0] is False


def writer(seconds_away):
    """A writer's looks of a minute, which stood still (and took no look) for so long."""
    looks = [Look(100 + i / 2, 100.01 + i / 2, "ok") for i in range(120)]
    return with_absences([look for look in looks if not 120 < look.start < 120 + seconds_away], 160.0)


def test_a_writer_that_stood_still_failed_and_is_in_doubt_only_where_that_decides():
    """Its own stall leaves nothing unseen: nothing was written meanwhile. So what fits with it counted as failed did hold."""
    stall = [(120.0, 123.0)]
    window = Window(100.0, 160.0, stall, 600, [])
    series_of = Series("writer-0", "volume", VOLUME, "new", False, 2.0, writer(3.0))
    assert judge(series_of, Limit(20.0), window).held is True
    assert judge(series_of, Limit(2.0), window).held is None
    assert judge(series_of, Limit(0.0), window).held is None
    assert judge(series_of, Limit(0.0), Window(100.0, 160.0, [], 600, [])).held is False
    assert judge(Series("outside", "t", "http", "new", False, 2.0, series_of.looks), Limit(20.0), window).held is None
    assert judge(series_of, Limit(20.0), Window(100.0, 160.0, [], 0, [])).held is None


def test_the_share_of_every_outage_counts():
    text = "." * 100 + "x" * 50 + "." * 150 + ("x." * 10) + "." * 280
    assert judged(series(text), share=0.9)[0] is False


def test_a_control_look_that_failed_is_a_hole():
    seen = Seen(
        SimpleNamespace(experiment=Says(), power_windows=[]),
        [("ingress", AssignedTarget("outside", Target("t", "http", "h", 1)))],
        "w",
    )
    lines = "".join(
        f"0 {100 + i / 10:.6f} 2.0 ok\n1 {100 + i / 10:.6f} 1.0 {'refused' if i == 300 else 'ok'}\n" for i in range(600)
    )
    seen.begin, seen.end = 100.0, 160.0
    text = "# " + json.dumps({"targets": [{"name": "t"}, {"name": "control"}]}) + "\n" + lines
    seen.take(Fetched("outside", 160.0, [text]))
    assert seen._window("outside").holes(seen.recorded.series[0])


@pytest.mark.parametrize(
    ("text", "unfinished"),
    [
        ("." * 300, False),
        ("." * 50 + "x" * 30 + "." * 150, False),
        ("." * 50 + "x" * 30 + "." * 50, True),
        ("." * 50 + "x" * 30 + "." * 150 + "x" + "." * 40, True),
        ("x" * 300, True),
    ],
)
def test_a_watch_goes_on_while_an_outage_is_not_over(text, unfinished):
    recorded = Recorded([("ingress", AssignedTarget("outside", Target("t", "http", "h", 1)))])
    recorded.series[0].looks = series(text)
    assert bool(recorded.unfinished()) is unfinished


def test_a_negative_control_that_is_green_is_said():
    broken = Target("broken", "http", "h", 1, negative_control=True)
    recorded = Recorded([("ingress", AssignedTarget("outside", broken))])
    recorded.series[0].looks = series("xx")
    assert not recorded.green_control()
    recorded.series[0].looks = series("xx.")
    assert recorded.green_control() == recorded.not_steady() == "the negative control 'broken' was green"


class SlowNode:
    """A node whose files take seconds to read; every writer there took a look twice a second, until it stopped."""

    def __init__(self, monkeypatch, takes_s, stopped=()):
        self.now, self.takes_s, self.stopped = 200.0, takes_s, stopped
        monkeypatch.setattr(vantage, "time", SimpleNamespace(time=lambda: self.now))

    def read_files(self, node, folder):
        name = folder.split("/")[-3]
        until = 197.0 if name in self.stopped else self.now
        self.now += self.takes_s
        lines = [f"0 {100 + n / 2:.6f} 1.0 ok" for n in range(int((until - 100) * 2))]
        text = "\n".join(["# " + json.dumps({"targets": [{"name": name}]}), *lines, ""])
        return {"100.000.txt": text.encode()}


@pytest.mark.parametrize("takes_s", [0.1, 0.5, 3.0])
def test_reading_slowly_makes_no_record_old(monkeypatch, tmp_path, takes_s):
    """What was read first is as fresh as what was read last; and who looks no more is seen, wherever in the order it comes."""

    def read(*stopped):
        assigned = [(VOLUME, AssignedTarget(n, Target(n, VOLUME, "", 0, rate_hz=2))) for n in writers.names()]
        targets = {at.vantage: [at.target] for _, at in assigned}
        shell = SlowNode(monkeypatch, takes_s, stopped)
        recorded = Recorded(assigned)
        for fetched in writers.WritersInside(shell, ["k3s1"], WatchedTargets("w", "n", tmp_path, targets)).collect():
            recorded.take(fetched, fetched.at - 1)
        return recorded

    assert read().not_steady() == ""
    assert all(look.ok for series in read().series for look in series.looks)
    for name in writers.names():
        assert read(name).not_steady().startswith(f"{name} from {name}: ")


class Looks:
    """A vantage that takes looks at once: what its targets are called is what comes of them."""

    def __init__(self, watched, log):
        self.watched, self.log = watched, log

    def start(self):
        self.log.append("start")

    def collect(self):
        now = time.time()
        for point, targets in self.watched.targets.items():
            names = [{"name": t.name} for t in targets] + [{"name": "control"}]
            words = ["refused" if t.negative_control else "ok" for t in targets] + ["ok"]
            lines = [f"{i} {now - n / 10:.6f} 1.0 {word}" for n in range(30) for i, word in enumerate(words)]
            yield Fetched(point, now, ["# " + json.dumps({"targets": names}) + "\n" + "\n".join(lines) + "\n"])

    def stop(self):
        self.log.append("stop")


def watched_cluster(driver, experiment):
    none = SimpleNamespace(get=lambda *_: None)
    found = SimpleNamespace(
        experiment=experiment, driver=driver, nonce="n", power_windows=[], objects=none, settings=Settings(), nodes=list
    )
    found.capable = lambda capability: capable(driver, capability)
    return found


def look_at(kind, vantage):
    good, broken = (
        Target("t", kind, "h", 1, timeout_s=0.1),
        Target("b", kind, "h", 1, negative_control=True, timeout_s=0.1),
    )
    return Wanted(kind, lambda cluster: [AssignedTarget(vantage, good), AssignedTarget(vantage, broken)])


def test_a_watch_from_outside_needs_nothing_of_the_driver(tmp_path, monkeypatch):
    """No shell, no agent: only the vantages that the targets ask for are started."""
    experiment, log = Steps(), []
    monkeypatch.setattr(watching, "Outside", lambda watched: Looks(watched, log))
    cluster = watched_cluster(SimpleNamespace(name="bare"), experiment)
    with Sampler(cluster, tmp_path).watch(look_at("http", "outside")) as seen:
        pass
    seen.outage_at_most("1s")
    assert log == ["start", "stop"]
    assert experiment.steps == [("steady", True), ("control", True)]
    with pytest.raises(NotExercised, match="the driver bare can't do that: it lacks Agents"):
        Sampler(cluster, tmp_path).watch(look_at("http", "k3s1")).__enter__()
    with pytest.raises(NotExercised, match="Agents"):
        Sampler(cluster, tmp_path).watch(look_at("volume", "writer-0")).__enter__()
    assert log == ["start", "stop"]


def test_every_vantage_is_stopped_though_one_of_them_fails(tmp_path, monkeypatch):
    experiment, log = Steps(), []

    class Fails(Looks):
        def stop(self):
            raise OSError("the engine is gone")

    monkeypatch.setattr(watching, "Outside", lambda watched: Fails(watched, log))
    monkeypatch.setattr(watching, "AgentsInside", lambda shell, nodes, watched: Looks(watched, log))
    driver = SimpleNamespace(name="x", agent_image=str, flavour="any", shell=str, read_files=dict, write_files=dict)
    with Sampler(watched_cluster(driver, experiment), tmp_path).watch(
        look_at("http", "outside"), look_at("dns", "k3s1")
    ):
        pass
    assert log == ["start", "start", "stop"]
    assert experiment.written["unproven"].reason == "the samplers' records couldn't be fetched: the engine is gone"


# -- records on volumes -----------------------------------------------------------------------------------------------------


WRITTEN = st.lists(st.integers(1, 10**6), unique=True, min_size=1, max_size=30).map(sorted)


@settings(deadline=None)
@given(WRITTEN, st.data())
def test_what_happened_to_a_record_is_found(numbers, data):
    kept = [(number, number * 7) for number in numbers]
    text = [records.line(record) for record in kept]
    assert records.fault_in(kept, b"".join(text)) == ""
    at = data.draw(st.integers(0, len(kept) - 1))
    assert f"number {kept[at][0]}" in records.fault_in(kept, b"".join(text[:at] + text[at + 1 :]))
    assert "twice" in records.fault_in(kept, b"".join([*text, text[at]]))
    garbled = bytearray(text[at])
    garbled[1] ^= 1
    assert "lost" in records.fault_in(kept, b"".join([*text[:at], bytes(garbled), *text[at + 1 :]]))
    if len(kept) > 1:
        assert "out of order" in records.fault_in(kept, b"".join(reversed(text)))


@given(WRITTEN, st.integers(0, 40))
def test_a_record_that_was_cut_is_no_fault_unless_it_was_acknowledged(numbers, cut):
    kept = [(number, number * 7) for number in numbers]
    data = b"".join(map(records.line, kept))[: -1 - cut or None]
    there = records.parse(data)
    assert (
        records.fault_in(there, data + records.line((10**7, 1))) == ""
    )  # the next writer's record stands whole after it
    assert (records.fault_in(kept, data) == "") == (there == kept)


def test_a_writer_goes_on_where_the_last_one_stopped_and_uses_no_number_twice(tmp_path):
    path = tmp_path / "records"
    first = [records.Writer(str(path)).append(), *[(writer := records.Writer(str(path))).append(), writer.append()]]
    assert [number for number, _ in first] == [1, 2, 3]
    path.chmod(0o400)
    path.rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        writer.append()
    (tmp_path / "away").rename(path)
    path.chmod(0o600)
    assert writer.append()[0] == 5
    assert records.fault_in(first, path.read_bytes()) == ""


def test_a_look_at_a_volume_says_which_record_was_acknowledged(tmp_path):
    async def looks(path):
        looker = Looker(Target("v", "volume", "", 0, path=str(path)))
        return await asyncio.gather(looker.look(), looker.look())

    said = asyncio.run(looks(tmp_path / "records"))
    text = "# {}\n" + "".join(f"0 100.0 1.0 {one}\n" for one in said) + "0 100.0 1.0 eio\n0 100.0 1.0 ok 3 17000"
    assert [number for number, _ in acknowledged(text)] == [1, 2]
    assert acknowledged(text) == records.parse((tmp_path / "records").read_bytes())
    assert asyncio.run(looks(tmp_path / "absent" / "records")) == ["enoent", "enoent"]


@pytest.mark.parametrize(
    ("text", "absent"),
    [(GOOD, 0), ("." * 300 + " " * 10 + "." * 290, 0), ("." * 300 + " " * 100 + "." * 200, 9), ("." * 300, 30)],
)
def test_a_writer_that_does_not_run_has_an_outage(text, absent):
    looks = [look for look, sign in zip(series(text.replace(" ", ".")), text, strict=True) if sign == "."]
    filled = with_absences(looks, 160.0)
    gone = [look for look in filled if look.result == "absent"]
    assert abs(len(gone) - absent) <= 1
    assert len(outages(filled)) == (1 if absent else 0)


@pytest.mark.parametrize(
    ("spoil", "held"), [(lambda data: data, True), (lambda data: data[:-30], False), (lambda data: None, None)]
)
def test_what_a_watch_says_of_records(monkeypatch, spoil, held):
    experiment, said = Says(), [(number, number) for number in range(1, 6)]
    experiment.negative_control = lambda probe, red, sighting: (
        None if red else pytest.fail("the negative control was green")
    )
    data = spoil(b"".join(map(records.line, said)))
    shell = SimpleNamespace(
        run=lambda command: SimpleNamespace(rc=1 if data is None else 0, stdout_bytes=data, stderr="gone")
    )
    seen = Seen(
        SimpleNamespace(experiment=experiment, power_windows=[], objects=None, host=lambda node: shell),
        [("volume", AssignedTarget("writer-0", Target("v", "volume", "", 0)))],
        "w",
    )
    seen.recorded.acknowledged["writer-0"] = said
    monkeypatch.setattr(writers, "homes", lambda objects: {"writer-0": ("k3s1", "uid")})
    monkeypatch.setattr(writers, "file_on_node", lambda objects, writer, uid: "/data")
    seen.no_acknowledged_write_lost()
    assert experiment.said[0][0] is held


def test_bands_are_stretches_of_one_word_and_break_where_nobody_looked():
    samples = (
        [(at, "healthy") for at in range(0, 90, 15)] + [(90.0, "faulted"), (105.0, "faulted")] + [(300.0, "healthy")]
    )
    assert stretches(reversed(samples)) == ((0, 75, "healthy"), (90.0, 105.0, "faulted"), (300.0, 300.0, "healthy"))


def test_the_worst_volume_is_what_a_band_shows(monkeypatch):
    volumes = [
        Sample({"volume": "a"}, ((10.0, 1), (25.0, 1), (40.0, 1))),
        Sample({"volume": "b"}, ((10.0, 1), (25.0, 3), (40.0, 0))),
    ]
    alarms = [
        Sample({"alertname": "LonghornVolumeFaulted"}, ((25.0, 1), (40.0, 1))),
        Sample({"alertname": "FluxSuspended", "name": "vpn"}, ((25.0, 1),)),
    ]
    cluster = SimpleNamespace(
        settings=SimpleNamespace(
            adaptations=[
                Adaptation(
                    kind="Kustomization",
                    namespace="flux-system",
                    name="vpn",
                    reason="no tailnet",
                    set={"/spec/suspend": True},
                )
            ]
        )
    )
    monkeypatch.setattr(banding, "query", lambda cluster, text: alarms if text.startswith("ALERTS") else volumes)
    robust, alert = banding.bands(cluster, 0.0, 50.0)
    assert [word for _, _, word in robust.stretches] == ["healthy", "faulted", "unknown"]
    assert alert == Band("alert LonghornVolumeFaulted", ((25.0, 40.0, "firing"),))


def test_a_gap_in_what_was_scraped_is_found_in_what_stayed(monkeypatch):
    def series(name, *times):
        return Sample({"instance": name}, tuple((float(t), 1.0) for t in times))

    steady, gap = series("a", *range(90, 175, 15)), series("b", 95, 110, 150, 165)
    gone, new = series("c", 90, 105), series("d", 140, 155, 170)

    def found(now, ranged):
        monkeypatch.setattr(probing, "query", lambda cluster, text: ranged if "[" in text else now)
        return probing.longest_gap_s(None, "up", 100.0, 170.0)

    assert found([steady, new], [steady, gone, new])[0] == 15
    assert found([steady, gap], [steady, gap]) == (40, "{'instance': 'b'}")
    assert found([new], [new])[0] == 70  # it started anew meanwhile: what it knew is lost


def test_the_sampler_outside_has_a_scheduling_group_of_its_own():
    """A nice value counts within the group of a session only."""
    groups = Path("/proc/self/autogroup")
    if os.geteuid() or not groups.exists():
        pytest.skip("only root may ask for it, where the kernel groups by session")
    script = "from holdfast.sampling.process import first_in_line; first_in_line(); print(open('/proc/self/autogroup').read())"
    said = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert said.endswith("nice -10")
    # What runs in the session of init has no group of its own, and the kernel says nothing of it then.
    assert said.split()[0] not in groups.read_text().split()
