"""What watching costs: CPU time of the same run without and with logs, and how long logging keeps the event loop.

    python -m benchmarks.observe [--rounds N] [--only TEXT] [--quick] [--json FILE]

CPU time is that of the whole process, worker threads that write included. The ways take turns in each round; a ratio is
that of the fastest rounds, which is the steadier figure on a machine that others use too. Files go to a temporary
directory, the console's lines to the null device.

The stall is the longest delay of a task that wants to run every millisecond beside steps that wait, as calls of a model
do: with logs and without.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from benchmarks.ours import Answer, to_workflow
from benchmarks.reference import Graph
from benchmarks.report import environment, table, write_json
from benchmarks.workloads import chain, fan_out
from kairos_async import ConsoleSink, JSONLinesSink, RunLogger, StepContext, Workflow

STEPS: Final = 10_000
STALL: Final = 0.020
"""Seconds that logging may keep the loop."""
WAYS: Final = {"console and lines": 1.5, "lines": 2.0, "stream": 1.6}
"""The largest ratio that is good enough, by way of watching."""
COLUMNS: Final = ("workload", "watched by", "us a step", "without", "ratio", "at most", "")


def sinks(way: str, directory: Path, null: TextIO) -> list[Any]:
    """Return the sinks of a way."""
    lines, console = JSONLinesSink(directory / "{run_id}.jsonl"), ConsoleSink(null)
    known: dict[str, list[Any]] = {"lines": [lines], "console": [console], "console and lines": [lines, console]}
    return known.get(way, [])


def runner(way: str, workflow: Workflow, directory: Path, null: TextIO) -> Callable[[], Awaitable[object]]:
    """Return what runs the workflow once, watched in this way."""
    if way == "stream":

        async def consume() -> None:
            async for _ in workflow.stream():
                pass

        return consume
    if way != "nobody":
        workflow.add_hook(RunLogger(sinks=sinks(way, directory, null)))

    async def run() -> None:
        result = (await workflow.run()).raise_for_status()
        assert not result.warnings, result.warnings

    return run


def workloads(steps: int) -> dict[str, tuple[Graph, object]]:
    """Return the graphs, and the contract of their steps: without one, there are two events a step and not four."""
    return {
        "fan-out, contracts": (fan_out(steps), Answer),
        "fan-out": (fan_out(steps), None),
        "chain, contracts": (chain(steps), Answer),
        "chain": (chain(steps), None),
    }


async def measure(name: str, steps: int, rounds: int, directory: Path, null: TextIO) -> list[dict[str, Any]]:
    """Time a workload watched by nobody and in each way, in turns."""
    graph, contract = workloads(steps)[name]
    ways = ["nobody", "logger alone", "console", *WAYS]
    sides = {way: runner(way, to_workflow(graph, contract=contract), directory, null) for way in ways}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way in ways if number % 2 else reversed(ways):
            gc.collect()
            started = time.process_time()
            await sides[way]()
            if number:
                times[way].append(time.process_time() - started)
    least = {way: min(found) / steps * 1e6 for way, found in times.items()}
    return [
        {
            "workload": name,
            "way": way,
            "us_a_step": least[way],
            "without": least["nobody"],
            "ratio": least[way] / least["nobody"],
            "target": WAYS.get(way),
            "times_s": times[way],
        }
        for way in ways[1:]
    ]


async def longest_stall(way: str, steps: int, directory: Path, null: TextIO) -> float:
    """Seconds by which a task that wants to run every millisecond was late at most."""

    async def wait(ctx: StepContext) -> dict[str, object]:
        await asyncio.sleep(0.002)
        return {"name": "x", "score": 0.5, "n": 3}

    graph: Graph = [(f"s{i}", []) for i in range(steps)]
    run = runner(way, to_workflow(graph, wait, 50), directory, null)
    late = 0.0

    async def tick() -> None:
        nonlocal late
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            late = max(late, time.perf_counter() - due)

    gc.collect()
    gc.disable()  # its own pauses are not the logger's
    ticker = asyncio.create_task(tick())
    await run()
    ticker.cancel()
    gc.enable()
    return late


async def measure_stalls(steps: int, rounds: int, directory: Path, null: TextIO) -> list[dict[str, Any]]:
    """The least of the longest stalls, over the rounds: what others do on the machine only makes them longer."""
    found = []
    for way in ("nobody", "console and lines"):
        stalls = [await longest_stall(way, steps, directory, null) for _ in range(rounds)]
        found.append({"way": way, "stalls_s": stalls, "least_s": min(stalls)})
    return found


def row(result: dict[str, Any]) -> list[str]:
    """One line of the table."""
    target = result["target"]
    missed = "MISSED" if target is not None and result["ratio"] > target else ""
    figures = [f"{result['us_a_step']:.1f}", f"{result['without']:.1f}", f"{result['ratio']:.2f}"]
    return [result["workload"], result["way"], *figures, "" if target is None else f"{target:.1f}", missed]


async def measure_all(
    chosen: Sequence[str], steps: int, rounds: int, directory: Path, null: TextIO
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measure each workload whose name has one of the texts (all, if there are none), and the stalls."""
    costs = []
    for name in workloads(1):
        if chosen and not any(text in name for text in chosen):
            continue
        costs += await measure(name, steps, rounds, directory, null)
    return costs, await measure_stalls(steps // 2, min(rounds, 3), directory, null)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.observe", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, at least 1 (default: 5)")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="workloads with this in their name")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size and 3 rounds: a look, no figures")
    parser.add_argument("--json", metavar="FILE", help="write every time to FILE (-: standard output)")
    options = parser.parse_args(arguments)
    rounds = 3 if options.quick else max(1, options.rounds)
    steps = STEPS // 10 if options.quick else STEPS
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as null:
        costs, stalls = asyncio.run(measure_all(options.only, steps, rounds, Path(folder), null))
    facts = ", ".join(f"{key} {value}" for key, value in environment().items())
    print(table(f"CPU time of watched runs, least of {rounds} rounds ({facts})", COLUMNS, list(map(row, costs))))
    without, watched = (stall["least_s"] * 1e3 for stall in stalls)
    verdict = "" if watched - without < STALL * 1e3 else "  MISSED"
    print(
        f"\nLongest stall of the loop: {watched:.1f} ms with console and lines, {without:.1f} ms without; "
        f"logging may add {STALL * 1e3:.0f} ms.{verdict}"
    )
    write_json(options.json, "observe", {"costs": costs, "stalls": stalls})


if __name__ == "__main__":
    main()
