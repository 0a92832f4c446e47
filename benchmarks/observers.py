"""What it costs to watch a run: as JSON lines in a file, or as a stream of events, beside the same run unwatched.

    python -m benchmarks.observers [--rounds N] [--json FILE] [--save]

CPU times in one process, the three in turn; the ratio of a round is that of times taken one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TextIO, TypeAlias

from benchmarks.ours import foreach_workflow, to_workflow
from benchmarks.redaction import line_sink
from benchmarks.report import Spread, add_outputs, keep, table
from benchmarks.workloads import chain, fan_out, layers
from kairos_async import Workflow
from kairos_async.events import Hook

TARGETS: Final = {"JSON lines": 2.0, "stream": 1.6}


Build: TypeAlias = Callable[[Sequence[Hook]], Workflow]
BUILDS: Final[dict[str, tuple[Build, dict[str, object]]]] = {
    "chain 1,000": (lambda hooks: to_workflow(chain(1_000), hooks=hooks), {}),
    "fan-out 1,000": (lambda hooks: to_workflow(fan_out(1_000), hooks=hooks), {}),
    "layers 20 x 10": (lambda hooks: to_workflow(layers(20, 10), hooks=hooks), {}),
    "foreach 1,000 at 100": (lambda hooks: foreach_workflow(100, hooks=hooks), {"items": list(range(1_000))}),
}


def ways(build: Build, inputs: dict[str, object], file: TextIO) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return the ways to run a workflow."""
    plain, logging = build([]), build([line_sink(file)])

    async def streamed() -> None:
        async for _ in plain.stream(inputs):
            pass

    return {"unwatched": lambda: plain.run(inputs), "JSON lines": lambda: logging.run(inputs), "stream": streamed}


async def measure(build: Build, inputs: dict[str, object], rounds: int) -> dict[str, Any]:
    """Time all ways in turn; the first round warms up and does not count."""
    with tempfile.TemporaryFile("w", encoding="utf-8") as file:
        took: dict[str, list[float]] = {}
        sides = ways(build, inputs, file)
        for number in range(rounds + 1):
            for name, run in sides.items():
                gc.collect()
                started = time.process_time()
                await run()
                if number:
                    took.setdefault(name, []).append(time.process_time() - started)
    bare = took["unwatched"]
    return {name: Spread.of([a / b for a, b in zip(took[name], bare, strict=True)])._asdict() for name in TARGETS}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.observers", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count, at least 1 (default: 9)")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    rounds = max(1, options.rounds)
    found = {name: asyncio.run(measure(*each, rounds)) for name, each in BUILDS.items()}
    rows = [
        [name, *(Spread(**ratios[way]).show() for way in TARGETS),
         ", ".join(f"{way} MISSED" for way, target in TARGETS.items() if ratios[way]["median"] > target)]
        for name, ratios in found.items()
    ]  # fmt: skip
    columns = ["workload", *(f"{way}, at most {target}" for way, target in TARGETS.items()), ""]
    print(table("CPU time of a watched run over the same unwatched", columns, rows))
    keep(options, "observers", found)


if __name__ == "__main__":
    main()
