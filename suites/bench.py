"""Benchmarks: figures and ratios of things measured side by side in one run. Nothing here passes or fails."""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from holdfast.journal import Journal, read_file
from holdfast.sampling.intervals import outages
from holdfast.verdicts import verdicts
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
        print(f"  asked for {rate_hz:5.0f} looks a second a target: got {ratios[0]:.2f} × (new), {ratios[1]:.2f} × (reused)")


def journal_lines(count=2000):
    """A synced line against a plain one, and reading back."""
    with tempfile.TemporaryDirectory() as name:
        journal, plain = Journal(Path(name) / "j.jsonl"), (Path(name) / "p.jsonl").open("w")
        times = {}
        for label, write in (("journal", lambda i: journal.write("promise", test="t", held=True, number=i)), ("plain file", lambda i: plain.write(f"{i}\n"))):
            began = time.perf_counter()
            for i in range(count):
                write(i)
            times[label] = (time.perf_counter() - began) / count * 1e6
        journal.seal()
        began = time.perf_counter()
        verdicts(read_file(Path(name) / "j.jsonl"))
        reading = (time.perf_counter() - began) / count * 1e6
    print(f"  a line written and synced: {times['journal']:.0f} µs; read, checked and judged: {reading:.0f} µs ({reading / times['journal']:.2f} ×)")


def main():
    for title, run in (("Width of an outage's bound at 10 looks a second (goal: each edge ≤ 0.15 s)", sampler_bounds),
                       ("Rate of one sampler process", looks_each_second), ("Journal", journal_lines)):
        print(title)
        run()


if __name__ == "__main__":
    sys.exit(main())
