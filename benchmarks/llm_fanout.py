"""Many prompts to one model: kairos_async beside httpx by hand, OpenAI's SDK and other libraries, against one server.

    python -m benchmarks.llm_fanout [--only CLIENT] [--quick] [--patience S] [--json FILE] [--save]

The server (`benchmarks/llm_server.py`) is a process of its own on loopback, each client another one, in an environment
of its own that the first time makes. A go that is not through after `--patience` seconds is cut off, and what was
answered until then counts. All of it takes some ten minutes, and three more to make the environments; `--quick` one.

Beside that, unless `--only` is given: the real model of the extra `local`, asked as often at once as its server answers
in parallel; and a published agent's plan of calls, in virtual time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks import llm_local, llm_server, llm_tables
from benchmarks.dags import Dag, dags_directory, load, makespan
from benchmarks.llm_clients import CLIENTS
from benchmarks.llm_clients.measure import loads
from benchmarks.peers.environments import CACHE, ROOT, python_for
from benchmarks.report import add_outputs, keep, table

GIVEN_UP: Final = 5
"""A process that is not through after so many times the patience is ended."""

SEARCHES: Final = frozenset({350_000, 420_000, 480_000, 530_000, 580_000, 650_000, 740_000, 1_130_000})
"""What the searches of the movie plan take, in microseconds."""


def measure(name: str, url: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """Measure a client, each load in a process of its own, so that what one was cut off in does not disturb the next.

    None if that failed.
    """
    entry = CLIENTS[name]
    file = CACHE / f"fan-out-{name}.json"
    flags = [f"--patience={options.patience}", *(["--quick"] if options.quick else [])]
    numbers = [*([] if options.quick else [None]), *range(len(loads(quick=options.quick)))]
    whole: dict[str, Any] = {"memory": None, "loads": []}
    try:
        python = python_for(name, entry.requirements)
        for number in numbers:
            what = "memory" if number is None else loads(quick=options.quick)[number].name
            print(f"{entry.title}: {what}", flush=True)
            load = [] if number is None else [f"--load={number}"]
            command = [python, "-m", "benchmarks.llm_clients.measure", name, url, file, *flags, *load]
            result = _measured([*map(str, command)], file, whole, GIVEN_UP * options.patience)
            if number is None:
                whole["memory"] = result
            else:
                whole["loads"].append(result)
    except subprocess.CalledProcessError as failure:
        print(f"  failed: {failure}", file=sys.stderr, flush=True)
        return None
    return whole


def _measured(command: list[str], file: Path, whole: dict[str, Any], patience: float) -> Any:
    """What a process found; None if it did not end: some libraries take minutes to let go of what is cut off."""
    try:
        subprocess.run(command, cwd=ROOT, check=True, timeout=patience)
    except subprocess.TimeoutExpired:
        print(f"  given up after {patience:.0f} s", flush=True)
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    result = found.pop("found")
    whole |= found
    return result


def movie() -> Iterator[dict[str, Any]]:
    """The plan of a movie recommendation as LLMCompiler's authors measured its calls, in virtual time."""
    directory = dags_directory()
    if directory is None:
        return
    reported = {"react": 20.47, "plan": 5.64, "stream": 5.47}
    for name, limit, how in (
        ("react", None, "each call after the one before, as ReAct does"),
        ("plan", 1, "planned first, one call at a time"),
        ("plan", None, "planned first, calls in parallel"),
        ("stream", None, "each call as soon as its part of the plan is there"),
    ):
        took = []
        for dag in rotations(load(directory / "llm" / f"llmcompiler-movie-{name}.json")):
            took.append(makespan(dag.workflow(limit), "asyncio"))
            assert took[-1] == (dag.work if limit == 1 else dag.critical_path)
        yield {"how": how, "seconds": statistics.mean(took) / 1e6, "reported": None if limit else reported[name]}


def rotations(dag: Dag) -> Iterator[Dag]:
    """The same plan with its eight searches taking turns at being the slow one: which it is, no planner knows."""
    searches = [place for place, runtime in enumerate(dag.runtimes) if runtime in SEARCHES]
    for shift in range(len(searches)):
        runtimes = list(dag.runtimes)
        for place, other in zip(searches, searches[shift:] + searches[:shift], strict=True):
            runtimes[place] = dag.runtimes[other]
        yield replace(dag, runtimes=tuple(runtimes))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. The exit code is 1 if a client could not be measured; the others are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.llm_fanout", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", action="append", choices=CLIENTS, help="default: all")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds for one go (default: 30)")
    parser.add_argument("--quick", action="store_true", help="200 prompts, one round: does it work?")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    if options.save and options.quick:
        parser.error("--save is for whole figures; leave --quick out")
    CACHE.mkdir(parents=True, exist_ok=True)
    with llm_server.running() as url:
        tried = {name: measure(name, url, options) for name in options.only or CLIENTS}
    clients = {name: found for name, found in tried.items() if found}
    results: dict[str, Any] = {"clients": clients}
    if not options.only:
        results |= {"local": llm_local.measured(quick=options.quick), "movie": list(movie())}
    for title, columns, rows in llm_tables.tables(results):
        print(f"\n{table(title, columns, rows)}")
    keep(options, "llm_fanout", results)
    return 0 if len(clients) == len(tried) else 1


if __name__ == "__main__":
    raise SystemExit(main())
