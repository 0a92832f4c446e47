"""What it costs to begin: the import, and a workflow of 1,000 steps.

    python -m benchmarks.startup [--rounds N] [--json FILE] [--save]

CPU times. An import is timed in a new interpreter each time, and what an empty interpreter takes is not in it.
"""

from __future__ import annotations

import argparse
import gc
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.ours import to_workflow
from benchmarks.report import Spread, add_outputs, keep, table
from benchmarks.workloads import chain, fan_out, layers

GRAPHS = {
    "Workflow(...), a chain of 1,000 steps": chain(1_000),
    "Workflow(...), a fan-out of 1,000": fan_out(999),
    "Workflow(...), 100 layers of 10 (9,900 edges)": layers(100, 10),
}


def interpreter(code: str) -> float:
    """CPU seconds of a new interpreter that runs some code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    gc.collect()
    started = time.process_time()
    call()
    return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count, at least 1 (default: 9)")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    rounds = range(max(1, options.rounds))
    interpreter("import kairos_async")  # The first one compiles modules.
    found: dict[str, Any] = {
        f"import {name}": Spread.of([interpreter(f"import {name}") - interpreter("pass") for _ in rounds])._asdict()
        for name in ("kairos_async", "pydantic")
    }
    for name, graph in GRAPHS.items():
        found[name] = Spread.of([seconds(lambda graph=graph: to_workflow(graph)) for _ in rounds])._asdict()  # type: ignore[misc]
    rows = [[name, Spread(*[value * 1e3 for value in spread.values()]).show(1)] for name, spread in found.items()]
    print(table("Start-up, medians", ["", "CPU ms (least - most)"], rows))
    keep(options, "startup", found)


if __name__ == "__main__":
    main()
