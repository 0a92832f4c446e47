"""What it costs to begin: the import, and a workflow of 1,000 steps.

    python -m benchmarks.startup [--rounds N] [--json FILE] [--save]

CPU times. An import is timed in a new interpreter each time, and what an empty interpreter takes is not in it. Modules
are compiled before, as an installer does it, whatever the environment says. structlog imports rich where it is
installed, as by the extra `cli`; a core installation has none, and is timed as well.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
import tempfile
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


WITHOUT_RICH = "import sys; sys.modules['rich'] = None; "
IMPORTS = {
    "import kairos_async": f"{WITHOUT_RICH}import kairos_async",
    "import kairos_async, rich installed": "import kairos_async",
    "import of its dependencies alone": f"{WITHOUT_RICH}import anyio, pydantic.main, structlog, tenacity",
}


def interpreter(code: str, compiled: str) -> float:
    """CPU seconds of a new interpreter that runs some code; compiled modules are in the directory `compiled`."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
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
    found: dict[str, Any] = {}
    took: dict[str, list[float]] = {name: [] for name in IMPORTS}
    with tempfile.TemporaryDirectory() as compiled:
        for code in IMPORTS.values():
            interpreter(code, compiled)  # compiles
        for _ in rounds:
            empty = interpreter("pass", compiled)
            for name, code in IMPORTS.items():
                took[name].append(interpreter(code, compiled) - empty)
    for name, seconds_taken in took.items():
        found[name] = Spread.of(seconds_taken)._asdict()
    for name, graph in GRAPHS.items():
        found[name] = Spread.of([seconds(lambda graph=graph: to_workflow(graph)) for _ in rounds])._asdict()  # type: ignore[misc]
    rows = [[name, Spread(*[value * 1e3 for value in spread.values()]).show(1)] for name, spread in found.items()]
    print(table("Start-up, medians", ["", "CPU ms (least - most)"], rows))
    keep(options, "startup", found)


if __name__ == "__main__":
    main()
