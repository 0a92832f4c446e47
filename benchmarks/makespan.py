"""How good the schedules are: real graphs in virtual time, beside list schedules and proven bounds computed elsewhere.

    python -m benchmarks.makespan [--only TEXT] [--backend asyncio|trio] [--json FILE] [--save]

The graphs are read from `../shared/dags` beside the checkout, or from the directory that `KAIROS_DAGS` names. They are
not part of this project; without them there is nothing to measure, and the benchmark says so.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.dags import BACKENDS, MICROSECONDS, Dag, dags_directory, load, makespan
from benchmarks.report import add_outputs, keep, table

LEVELS: Final[tuple[int | None, ...]] = (1, 2, 4, 8, 16, 32, None)
HINT_TOLERANCE: Final = 1.01
COLUMNS = ("graph", "steps", "limit", "critical path s", "plain s", "fifo s", "hinted s", "hlf s", "plain/bound", "")


class Makespan(NamedTuple):
    """What one graph took at one limit on one backend, in seconds, beside what it may take; `broken`: what is wrong.

    `lower` and `upper` bound every schedule that leaves no slot idle; `fifo` and `hlf` are list schedules, first come
    first served and longest remaining path first.
    """

    graph: str
    steps: int
    limit: int | None
    backend: str
    plain: float
    hinted: float
    lower: float
    upper: float
    fifo: float
    hlf: float
    fifo_is_exact: bool
    critical_path: float
    broken: tuple[str, ...]

    @property
    def row(self) -> list[str]:
        """One line of the table."""
        return [
            self.graph,
            f"{self.steps:,}",
            "none" if self.limit is None else str(self.limit),
            *(f"{value:,.3f}" for value in (self.critical_path, self.plain, self.fifo, self.hinted, self.hlf)),
            f"{self.plain / self.lower:.3f}",
            ", ".join(self.broken),
        ]


def judge(dag: Dag, limit: int | None, plain: int, hinted: int, expected: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with two makespans (in microseconds), in a few words each; nothing for a good engine."""
    lower = round(expected["lb_strong"] * MICROSECONDS)
    upper = dag.graham_bound(limit) + 0.5
    exact = {1: dag.work, None: dag.critical_path}.get(limit)
    problems = {
        "not fifo": not expected["fifo_tie_sensitive"] and plain != round(expected["fifo"] * MICROSECONDS),
        "hints worse than hlf": hinted > expected["hlf"] * MICROSECONDS * HINT_TOLERANCE,
    }
    for name, took in (("plain", plain), ("hinted", hinted)):
        problems[f"{name} below the bound"] = took < lower
        problems[f"{name} above Graham's bound"] = took > upper
        problems[f"{name} not exact"] = exact is not None and took != exact
    return tuple(problem for problem, there in problems.items() if there)


def measure(dag: Dag, expected: Mapping[str, Any], backend: str) -> Iterator[Makespan]:
    """Run a graph at every limit, without and with hints."""
    for limit in LEVELS:
        known = expected["by_concurrency"]["unbounded" if limit is None else str(limit)]
        plain = makespan(dag.workflow(limit), backend)
        hinted = makespan(dag.workflow(limit, hints=True), backend)
        yield Makespan(
            graph=dag.name,
            steps=len(dag),
            limit=limit,
            backend=backend,
            plain=plain / MICROSECONDS,
            hinted=hinted / MICROSECONDS,
            lower=known["lb_strong"],
            upper=dag.graham_bound(limit) / MICROSECONDS,
            fifo=known["fifo"],
            hlf=known["hlf"],
            fifo_is_exact=not known["fifo_tie_sensitive"],
            critical_path=dag.critical_path / MICROSECONDS,
            broken=judge(dag, limit, plain, hinted, known),
        )


def real_graphs(directory: Path) -> Iterator[tuple[Dag, Mapping[str, Any]]]:
    """Yield each graph of the directory with what is known of it, small ones first."""
    known = json.loads((directory / "expected.json").read_text(encoding="utf-8"))["instances"]
    for expected in sorted(known.values(), key=lambda entry: int(entry["nodes"])):
        yield load(directory / expected["file"]), expected


def summary(results: Sequence[Makespan]) -> str:
    """The result in a few lines."""
    scarce = [result for result in results if result.limit not in (1, None)]
    broken = sum(bool(result.broken) for result in results)
    exact = sum(result.fifo_is_exact for result in results)
    lines = [f"{len(results)} schedules, {exact} of them comparable to fifo exactly; deviations: {broken}"]
    if scarce:
        over = [result.plain / result.lower for result in scarce]
        gain = [1 - result.hinted / result.plain for result in scarce]
        lines.append(
            f"limits 2 to 32, over the lower bound: median {statistics.median(over):.3f}, most {max(over):.3f}"
        )
        lines.append(
            f"shorter with hints: median {statistics.median(gain):.1%}, from {min(gain):.1%} to {max(gain):.1%}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is 1 if a schedule is not what it must be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.makespan", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="graphs with this in their name")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="default: both")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    if options.save and options.only:
        parser.error("--save is for all graphs; leave --only out")
    directory = dags_directory()
    if directory is None:
        print("makespan: not run, because the graphs are not there (../shared/dags, or the directory in KAIROS_DAGS).")
        return 0
    results: list[Makespan] = []
    for dag, expected in real_graphs(directory):
        if not options.only or any(text in dag.name for text in options.only):
            for backend in options.backend or BACKENDS:
                results.extend(measure(dag, expected, backend))
    if not results:
        print("makespan: no graph has such a name.")
        return 0
    shown = [result.row for result in results if result.backend == results[0].backend or result.broken]
    print(table("Makespans in virtual time, without and with hints of how long steps take", COLUMNS, shown))
    print(f"\n{summary(results)}")
    keep(options, "makespan", [result._asdict() for result in results])
    return 1 if any(result.broken for result in results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
