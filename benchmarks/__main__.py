"""`python -m benchmarks`: speed beside hand-written asyncio, then makespans; `python -m benchmarks NAME`: one alone.

NAME is one of run, count, scale, makespan, contracts, redaction. `--help` after it says what it takes.
Options without a name are for `run`.
"""

from __future__ import annotations

import runpy
import sys

NAMES = ("run", "count", "scale", "makespan", "contracts", "redaction")


def start(name: str, options: list[str]) -> None:
    """Run a benchmark as `python -m benchmarks.NAME` would."""
    sys.argv = [name, *options]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")


def main(arguments: list[str]) -> None:
    """Run what the arguments name."""
    if arguments and not arguments[0].startswith("-"):
        if arguments[0] not in NAMES:
            sys.exit(f"There is no benchmark {arguments[0]!r}; there are {', '.join(NAMES)}.")
        start(arguments[0], arguments[1:])
        return
    start("run", arguments)
    if not arguments:
        print()
        start("makespan", [])


if __name__ == "__main__":
    main(sys.argv[1:])
