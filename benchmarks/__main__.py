"""`python -m benchmarks`: speed beside hand-written asyncio, then makespans; `python -m benchmarks NAME`: one alone.

NAME is one of those below, or `all`; `--help` after it says what it takes. Options without a name are for `run`.
`all` takes options that each of them takes: `--save` keeps the figures and writes docs/benchmarks.md from them.
"""

from __future__ import annotations

import runpy
import sys

from benchmarks import page

NAMES = {
    "run": "the workloads beside the same written by hand",
    "scale": "growth of time and memory up to 100,000 steps and a million items",
    "startup": "the import, and building a workflow",
    "stall": "the loop's longest gap under 10,000 concurrent steps",
    "loops": "asyncio, uvloop and trio",
    "observe": "a run watched by a logger or a stream, and how long logging keeps the loop",
    "makespan": "schedules of real graphs, in virtual time",
    "contracts": "validation beside Pydantic itself",
    "redaction": "redaction in a run with a JSON-lines sink",
    "count": "instructions a step, under valgrind",
    "llm_fanout": "many prompts to one model, beside httpx by hand and other libraries (a quarter of an hour)",
    "rate_limits": "the governor against a server that counts (four minutes)",
}

ALONE = {"llm_fanout", "rate_limits"}
"""Not part of `all`: they make environments of their own, or wait for minutes."""


def start(name: str, options: list[str]) -> int | str | None:
    """Run a benchmark as `python -m benchmarks.NAME` would, and return what it exits with."""
    sys.argv = [name, *options]
    try:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    except SystemExit as end:
        return end.code
    return None


def main(arguments: list[str]) -> None:
    """Run what the arguments name."""
    if not arguments or arguments[0].startswith("-"):
        names = ["run"] if arguments else ["run", "makespan"]
    else:
        name, *arguments = arguments
        if name != "all" and name not in NAMES:
            known = "\n".join(f"  {each:11} {about}" for each, about in NAMES.items())
            sys.exit(f"There is no benchmark {name!r}; there are\n{known}\n  {'all':11} all that take no long time")
        names = [each for each in NAMES if each not in ALONE] if name == "all" else [name]
    codes = []
    for name in names:
        codes.append(start(name, arguments))
        print()
    if "--save" in arguments:
        page.write()
    if failed := [code for code in codes if code]:
        sys.exit(failed[0])


if __name__ == "__main__":
    main(sys.argv[1:])
