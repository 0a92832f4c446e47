"""Instructions a step, which a busy machine does not change: `python -m benchmarks.count [--only TEXT] [--save]`.

The workloads run under valgrind's callgrind, ours and written by hand, and what is printed stands beside the committed
figures of `benchmarks/results/count.json`. A figure is the difference of two sizes of a graph (or two numbers of runs)
by the number of steps between them, so what a run costs once is not in it. Each side ran before it is counted, hash
randomisation is off, and so is the garbage collector, because the moment at which it runs would be in the figure.

The loop's clock goes by how often it is asked, because the engine asks a step that waited long more questions than one
that did not, and everything is slow under valgrind.

How: the process under valgrind does its imports with the counters off, has `callgrind_control` turn them on, and calls
`os.getppid()`, on which callgrind dumps and zeroes them, before and after each thing to count.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.reference import Graph, run_foreach, run_graph
from benchmarks.report import environment, table, write_json
from benchmarks.workloads import NEVER_FULL, answer, chain, fan_out, foreach_workflow, layers, to_workflow

COMMITTED: Final = Path(__file__).parent / "results" / "count.json"
MARK: Final = "getppid"
"""A C function that nothing calls but `mark`."""
MISSING: Final = """bench-count needs valgrind, and {0} was not found.
Install it from your system's packages (Debian, Ubuntu: apt-get install valgrind; Fedora: dnf install valgrind).
It runs on Linux; `make bench` measures CPU time everywhere."""


class Counted(NamedTuple):
    """A workload by size: how many steps that is, and its two sides, made when they are about to run."""

    name: str
    sizes: tuple[int, int]
    steps: Callable[[int], int]
    ours: Callable[[int], Callable[[], Awaitable[Any]]]
    by_hand: Callable[[int], Callable[[], Awaitable[Any]]]


def _graph(name: str, shape: Callable[[int], Graph], sizes: tuple[int, int]) -> Counted:
    return Counted(
        name,
        sizes,
        lambda size: len(shape(size)),
        lambda size: to_workflow("counted", shape(size)).run,
        lambda size: lambda: run_graph(shape(size), answer, NEVER_FULL),
    )


def _together(side: Callable[[], Awaitable[Any]], runs: int) -> Callable[[], Awaitable[Any]]:
    async def gather() -> None:
        await asyncio.gather(*[side() for _ in range(runs)])

    return gather


def counted() -> list[Counted]:
    """Return the core workloads, small: an instruction count needs no long runs."""
    small = chain(3)
    items = {size: list(range(size)) for size in (150, 250)}
    each = foreach_workflow(100)
    return [
        _graph("chain", chain, (50, 150)),
        _graph("fan-out", fan_out, (50, 150)),
        _graph("layers of 10", lambda depth: layers(depth, 10), (5, 15)),
        Counted(
            "foreach at 100",
            (150, 250),
            lambda size: size,
            lambda size: lambda: each.run({"items": items[size]}),
            lambda size: lambda: run_foreach(items[size], answer, 100),
        ),
        Counted(
            "runs of 3 steps",
            (20, 50),
            lambda runs: 3 * runs,
            lambda runs: _together(to_workflow("small", small).run, runs),
            lambda runs: _together(lambda: run_graph(small, answer, NEVER_FULL), runs),
        ),
    ]


def chosen(texts: Sequence[str]) -> list[Counted]:
    """Return the workloads whose name has one of the texts; all, if there are none."""
    return [workload for workload in counted() if not texts or any(text in workload.name for text in texts)]


def sides(texts: Sequence[str]) -> Iterator[Callable[[], Awaitable[Any]]]:
    """Yield what is counted, in the order in which `count` reads the counts: small and large, ours and by hand."""
    for workload in chosen(texts):
        for make in (workload.ours, workload.by_hand):
            for size in workload.sizes:
                yield make(size)


class CountingClockLoop(asyncio.SelectorEventLoop):
    """A loop on which time goes on by 20 us with each look at the clock, which is near to the pace without valgrind."""

    _looks = 0

    def time(self) -> float:
        self._looks += 1
        return self._looks * 20e-6


def mark() -> None:
    """Dump and zero the counters."""
    os.getppid()


def start_counting() -> None:
    """Turn the counters of this process on, for which valgrind has a command."""
    subprocess.run(["callgrind_control", "-i", "on", str(os.getpid())], check=True, capture_output=True)


async def be_counted(texts: Sequence[str]) -> None:
    """Run everything that is to be counted, between marks. This is the process under valgrind."""
    gc.disable()
    for number, side in enumerate(sides(texts)):
        if not number:
            start_counting()
        for _ in range(2):
            await side()
        gc.collect()
        mark()
        await side()
        mark()


def count(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Count in a process under valgrind, and return the instructions a step of each workload.

    Raises:
        CalledProcessError: the process under valgrind failed; its standard error says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = ["valgrind", "--tool=callgrind", "--quiet", "--instr-atstart=no", f"--dump-before={MARK}"]
        child = [sys.executable, "-m", "benchmarks.count", "--child", *(f"--only={text}" for text in texts)]
        subprocess.run(
            [*command, f"--callgrind-out-file={out}", *child], check=True, env={**os.environ, "PYTHONHASHSEED": "0"}
        )
        # Part 1 ends at the first mark; parts 2, 4, 6 ... lie between a mark before a side and the one behind it.
        parts = [_instructions(part) for part in sorted(Path(folder).glob("out.*"), key=_number)][1::2]
    figures = iter(zip(parts[::2], parts[1::2], strict=True))
    found = []
    for workload in chosen(texts):
        more = workload.steps(workload.sizes[1]) - workload.steps(workload.sizes[0])
        ours, by_hand = ((large - small) / more for small, large in (next(figures), next(figures)))
        found.append({"name": workload.name, "ours": round(ours), "by_hand": round(by_hand)})
    return found


def _number(part: Path) -> int:
    return int(part.suffix[1:])


def _instructions(part: Path) -> int:
    found = re.search(r"^totals: (\d+)$", part.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, f"{part.name} is no dump of callgrind"
    return int(found[1])


def report(found: Sequence[dict[str, Any]], committed: Mapping[str, dict[str, Any]]) -> str:
    """Return the table: what was counted beside the committed figures."""
    rows = []
    for figures in found:
        before = committed.get(figures["name"])
        known = ["", ""] if before is None else [f"{before['ours']:,}", f"{figures['ours'] / before['ours'] - 1:+.1%}"]
        ratio = f"{figures['ours'] / figures['by_hand']:.2f}"
        rows.append([figures["name"], f"{figures['ours']:,}", f"{figures['by_hand']:,}", ratio, *known])
    return table("Instructions a step", ["workload", "ours", "by hand", "ratio", "committed", "change"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Count and print; with `--save`, write the figures that later counts are put beside."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.count", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="workloads with this in their name")
    parser.add_argument("--save", action="store_true", help=f"write the figures to {COMMITTED.name}, to be committed")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        with asyncio.Runner(loop_factory=CountingClockLoop) as runner:
            return runner.run(be_counted(options.only))
    for tool in ("valgrind", "callgrind_control"):
        if shutil.which(tool) is None:
            sys.exit(MISSING.format(tool))
    known = json.loads(COMMITTED.read_text(encoding="utf-8")) if COMMITTED.exists() else {}
    kept = {figures["name"]: figures for figures in known.get("results", [])}
    found = count(options.only)
    print(report(found, kept))
    here, there = environment(), known.get("environment", {})
    changed = [f"{key} {there[key]} (here {value})" for key, value in here.items() if there.get(key, value) != value]
    if changed:
        print(f"\nThe committed figures were counted with {'; '.join(changed)}.")
    if options.save:
        kept.update((figures["name"], figures) for figures in found)
        write_json(str(COMMITTED), "count", list(kept.values()))


if __name__ == "__main__":
    main()
