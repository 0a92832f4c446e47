"""The same workflows on asyncio, on asyncio with uvloop, and on trio: CPU time a step.

    python -m benchmarks.loops [--rounds N] [--json FILE] [--save]

Bodies give the loop a turn by anyio's checkpoint, which is what all three have. uvloop is left out where it cannot be
installed, and the table says so.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import anyio
import anyio.lowlevel

from benchmarks.ours import foreach_workflow, to_workflow
from benchmarks.report import Spread, add_outputs, keep, table
from benchmarks.workloads import chain, fan_out, layers

LOOPS: Final[dict[str, dict[str, Any]]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


async def answer(_: object) -> dict[str, object]:
    """The body of the other benchmarks, on any loop."""
    await anyio.lowlevel.checkpoint()
    return {"name": "x", "score": 0.5, "n": 3}


def runs() -> dict[str, tuple[int, Callable[[], Awaitable[Any]]]]:
    """Return the number of steps and what runs them, by name."""
    each = foreach_workflow(100, answer)
    items = {"items": list(range(1_000))}
    graphs = {"chain 1,000": chain(1_000), "fan-out 1,000": fan_out(1_000), "layers 20 x 10": layers(20, 10)}
    return {
        **{name: (len(graph), to_workflow(graph, answer).run) for name, graph in graphs.items()},
        "foreach 1,000 at 100": (1_000, lambda: each.run(items)),
    }


def seconds(run: Callable[[], Awaitable[Any]], loop: dict[str, Any]) -> float:
    """CPU seconds of a run, without those of starting the loop."""

    async def main() -> float:
        gc.collect()
        started = time.process_time()
        result = await run()
        took = time.process_time() - started
        result.raise_for_status()
        return took

    return anyio.run(main, **loop)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loops", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count, at least 1 (default: 9)")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    loops = {name: loop for name, loop in LOOPS.items() if importlib.util.find_spec(name)}
    found: dict[str, Any] = {}
    for name, (steps, run) in runs().items():
        took: dict[str, list[float]] = {loop: [] for loop in loops}
        for number in range(max(1, options.rounds) + 1):
            for loop, how in loops.items():
                one = seconds(run, how)
                if number:
                    took[loop].append(one / steps * 1e6)
        found[name] = {loop: Spread.of(values)._asdict() for loop, values in took.items()}
    rows = [[name, *(Spread(**spread).show(1) for spread in spreads.values())] for name, spreads in found.items()]
    print(table("CPU us a step by event loop, medians", ["workload", *loops], rows))
    if missing := LOOPS.keys() - loops.keys():
        print(f"\nNot installed: {', '.join(sorted(missing))}.")
    keep(options, "loops", found)


if __name__ == "__main__":
    main()
