"""What watching costs: CPU time of the same run watched and unwatched, and how long logging keeps the event loop.

    python -m benchmarks.observe [--rounds N] [--quick] [--json FILE] [--save]

CPU time is that of the whole process, worker threads that write included. The ways take turns in one process, and a
ratio is that of times taken one after the other. Steps have contracts, so a logger shows three events of each and a
stream four, with outputs. Files go to a temporary directory, the console's lines to the null device. What lines and
console take is also put beside the run with a logger that has no sink: that is what the sinks add.

The stall is the longest delay of a task that wants to run every millisecond beside steps that wait, as calls of a model
do: with logs and without.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import gc
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

from benchmarks.ours import foreach_workflow, to_workflow
from benchmarks.report import Spread, add_outputs, environment, keep, table
from benchmarks.workloads import chain, fan_out, layers
from kairos_async import ConsoleSink, JSONLinesSink, RunLogger, StepContext, Workflow

STEPS: Final = 10_000
STALL: Final = 0.020
"""Seconds that logging may keep the loop."""
UNWATCHED: Final = "nobody"
LOGGER: Final = "logger alone"
BOTH: Final = "lines and console"
WAYS: Final = (LOGGER, "JSON lines", BOTH, "stream")
"""Of watching a run."""
SINKS: Final = f"{BOTH} over {LOGGER}"
"""What the sinks add to a run that is logged anyway: times of the same run with a logger that has none."""
TARGETS: Final[dict[str, float | None]] = {LOGGER: None, "JSON lines": 2.0, BOTH: None, SINKS: 1.5, "stream": 1.6}
"""By ratio, the most that is good enough: of a way of watching, to the same run unwatched. None: for comparison."""

Run: TypeAlias = Callable[[], Awaitable[object]]


def watched(way: str, workflow: Workflow, inputs: dict[str, object], directory: Path, null: TextIO) -> Run:
    """Return what runs the workflow once, watched in this way."""
    if way == "stream":

        async def consume() -> None:
            async for _ in workflow.stream(inputs):
                pass

        return consume
    lines = [JSONLinesSink(directory / "{run_id}.jsonl")] if way in ("JSON lines", BOTH) else []
    console = [ConsoleSink(null)] if way == BOTH else []
    if way != UNWATCHED:
        workflow = copy.copy(workflow)
        workflow.add_hook(RunLogger(sinks=[*lines, *console]))

    async def run() -> None:
        result = (await workflow.run(inputs)).raise_for_status()
        assert not result.warnings, result.warnings

    return run


def workloads(steps: int) -> dict[str, tuple[Callable[[], Workflow], dict[str, object]]]:
    """Return what makes each workflow, and its inputs."""
    return {
        f"chain {steps:,}": (lambda: to_workflow(chain(steps)), {}),
        f"fan-out {steps:,}": (lambda: to_workflow(fan_out(steps)), {}),
        f"layers {steps // 20:,} x 20": (lambda: to_workflow(layers(steps // 20, 20)), {}),
        f"foreach {steps:,} at 100": (lambda: foreach_workflow(100), {"items": list(range(steps))}),
    }


async def measure(sides: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each side, in turns; the first round warms up and does not count."""
    took: dict[str, list[float]] = {way: [] for way in sides}
    for number in range(rounds + 1):
        for way, run in sides.items():
            gc.collect()
            started = time.process_time()
            await run()
            if number:
                took[way].append(time.process_time() - started)
    return took


def ratios(took: dict[str, list[float]]) -> dict[str, Any]:
    """Return the spread of each ratio of `TARGETS`."""
    sides = {**{way: (way, UNWATCHED) for way in WAYS}, SINKS: (BOTH, LOGGER)}
    return {
        name: Spread.of([a / b for a, b in zip(took[sides[name][0]], took[sides[name][1]], strict=True)])._asdict()
        for name in TARGETS
    }


async def longest_stall(way: str, steps: int, directory: Path, null: TextIO) -> float:
    """Seconds by which a task that wants to run every millisecond was late at most."""

    async def wait(ctx: StepContext) -> dict[str, object]:
        await asyncio.sleep(0.002)
        return {"name": "x", "score": 0.5, "n": 3}

    run = watched(way, to_workflow(fan_out(steps), wait, 50), {}, directory, null)
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


async def measure_all(steps: int, rounds: int, directory: Path, null: TextIO) -> dict[str, Any]:
    """Measure each workload in each way, and the stalls."""
    costs = {}
    for name, (build, inputs) in workloads(steps).items():
        # Of one workflow: others beside it would only be more for the collector to look at.
        workflow = build()
        sides = {way: watched(way, workflow, inputs, directory, null) for way in (UNWATCHED, *WAYS)}
        costs[name] = ratios(await measure(sides, rounds))
    stalls: dict[str, Any] = {}
    for way in (UNWATCHED, BOTH):
        found = [1e3 * await longest_stall(way, steps // 2, directory, null) for _ in range(min(rounds, 5))]
        stalls[way] = Spread.of(found)._asdict()
    return {"costs": costs, "stalls_ms": stalls}


def row(name: str, found: dict[str, Any]) -> list[str]:
    """One line of the table."""
    missed = [way for way, target in TARGETS.items() if target is not None and found[way]["median"] > target]
    return [name, *(Spread(**found[way]).show() for way in TARGETS), ", ".join(f"{way} MISSED" for way in missed)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.observe", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count, at least 1 (default: 9)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size and 3 rounds: a look, no figures")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    rounds = 3 if options.quick else max(1, options.rounds)
    steps = STEPS // 10 if options.quick else STEPS
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as null:
        found = asyncio.run(measure_all(steps, rounds, Path(folder), null))
    facts = ", ".join(f"{key} {value}" for key, value in environment().items())
    limits = [way if target is None else f"{way}, at most {target}" for way, target in TARGETS.items()]
    rows = [row(name, costs) for name, costs in found["costs"].items()]
    print(table(f"CPU time over the same run unwatched ({facts})", ["workload", *limits, ""], rows))
    without, with_logs = (found["stalls_ms"][way]["least"] for way in (UNWATCHED, BOTH))
    verdict = "" if with_logs - without < STALL * 1e3 else "  MISSED"
    print(
        f"\nLongest stall of the loop: {with_logs:.1f} ms with lines and console, {without:.1f} ms without; "
        f"logging may add {STALL * 1e3:.0f} ms.{verdict}"
    )
    keep(options, "observe", found)


if __name__ == "__main__":
    main()
