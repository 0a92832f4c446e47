"""The longest time for which the event loop is kept from others while 10,000 steps run at once.

    python -m benchmarks.stall [--rounds N] [--steps N] [--json FILE] [--save]

A task beside the run does nothing but give way to the others, and looks at the thread's CPU clock each time it is
back, so that a busy machine lengthens no gap. The bodies wait 0.2 to 1.2 seconds, each for another time, as calls of
a model would; the hand-written side shows what remains of a stall without a library. A pass of the garbage collector
over all that is alive is in the figures of both sides; with it off, what is left is of the library's making. So the
library holds its target if it does with the collector off, and is no worse than by hand with it on.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from benchmarks.ours import to_workflow
from benchmarks.reference import Graph, run_graph
from benchmarks.report import Spread, add_outputs, keep, table
from benchmarks.workloads import independent

TARGET_MS: Final = 10.0


async def longest_gap(side: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds of CPU time between two turns of a task beside a run, at most."""
    over = asyncio.Event()
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        last = time.thread_time()
        while not over.is_set():
            # With nothing ready the loop would spin through this task alone; a short wait spares the machine.
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    gc.collect()
    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await side()
    over.set()
    await watcher
    return longest * 1e3


def _waits(steps: int) -> Callable[[Any], Awaitable[dict[str, object]]]:
    began = 0

    async def body(_: Any) -> dict[str, object]:
        nonlocal began
        began += 1
        await asyncio.sleep(0.2 + (began * 7919 % steps) / steps)
        return {"name": "x", "score": 0.5, "n": 3}

    return body


def measure(graph: Graph, rounds: int) -> dict[str, Any]:
    """Both sides in turn, with the collector and without."""
    body = _waits(len(graph))
    sides: dict[str, Callable[[], Awaitable[object]]] = {
        "kairos_async": to_workflow(graph, body, None).run,
        "kairos_async, at most 100 at once": to_workflow(graph[: len(graph) // 10], body, 100).run,
        "by hand": lambda: run_graph(graph, body, len(graph)),
    }
    gaps: dict[str, dict[str, list[float]]] = {name: {"on": [], "off": []} for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            for collector, switch in (("on", gc.enable), ("off", gc.disable)):
                switch()
                gaps[name][collector].append(asyncio.run(longest_gap(side)))
    gc.enable()
    return {name: {key: Spread.of(values)._asdict() for key, values in both.items()} for name, both in gaps.items()}


def _held(both: dict[str, Any], found: dict[str, Any]) -> bool:
    by_hand = found["by hand"]
    worse = both["on"]["median"] > max(TARGET_MS, by_hand["on"]["median"])
    return both is by_hand or (both["off"]["median"] <= TARGET_MS and not worse)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stall", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, at least 1 (default: 5)")
    parser.add_argument("--steps", type=int, default=10_000, help="default: 10,000")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    found = measure(independent(options.steps), max(1, options.rounds))
    rows = [
        [name, Spread(**both["on"]).show(1), Spread(**both["off"]).show(1), "" if _held(both, found) else "MISSED"]
        for name, both in found.items()
    ]
    columns = ["longest gap, CPU ms", "median (least - most)", "collector off", f"at most {TARGET_MS:.0f}"]
    print(table(f"The loop under {options.steps:,} concurrent steps", columns, rows))
    keep(options, "stall", found)


if __name__ == "__main__":
    main()
