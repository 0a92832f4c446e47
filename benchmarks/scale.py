"""How time and memory grow: graphs of 10 to 100,000 steps, steps in flight, and a foreach over a million items.

    python -m benchmarks.scale [--rounds N] [--only TEXT] [--quick] [--json FILE] [--save]

Linear growth means that the time per step is the same at every size.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from benchmarks import growth
from benchmarks.report import Spread, add_outputs, keep, table, write_json

P = ParamSpec("P")
T = TypeVar("T")

SIZES: Final = (10, 100, 1_000, 10_000, 100_000)
BASE: Final = 1_000
"""Growth is from here to the largest size; below it, what a run costs once shows."""
LARGEST_RATIO: Final = 1.2


def alone(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function returns in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def graphs(sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    """Time per step, by shape, with and without the garbage collector, and size."""
    found: dict[str, Any] = {}
    rows = []
    base = max(size for size in sizes if size <= BASE)
    for shape in growth.SHAPES:
        for collect in (True, False):
            name = f"{shape}{'' if collect else ', collector off'}"
            times = found[name] = alone(growth.time_growth, shape, sizes, rounds, collect=collect)
            for kind in ("build", "run", "by hand"):
                ratio = times[sizes[-1]][kind]["median"] / times[base][kind]["median"]
                cells = [Spread(**times[size][kind]).show(1) for size in sizes]
                missed = kind != "by hand" and ratio > LARGEST_RATIO
                rows.append([f"{kind} {name}", *cells, f"{ratio:.2f}", "MISSED" if missed else ""])
    columns = ["CPU us a step", *(f"{size:,} steps" for size in sizes), f"growth, at most {LARGEST_RATIO}", ""]
    print(table(f"Growth of graphs, {growth.CONCURRENCY} steps at once, medians of {rounds} rounds", columns, rows))
    return found


def steps(sizes: Sequence[int], _: int) -> dict[str, Any]:
    """Bytes per step."""
    found = {size: alone(growth.step_memory, size) for size in sizes if size >= BASE}
    rows = [
        [f"{size:,}", f"{memory['built']:,.0f}", f"{memory['kept']:,.0f}", f"{memory['more'] / 1e3:,.0f}"]
        for size, memory in found.items()
    ]
    columns = ["steps of a chain", "bytes a step, built", "bytes a step, finished", "more while it ran, kB"]
    print(table("Memory of a graph and its run", columns, rows))
    return {str(size): memory for size, memory in found.items()}


def flight(sizes: Sequence[int], _: int) -> dict[str, Any]:
    """Bytes per step while all of them wait."""
    found = {size: alone(growth.flight_memory, size) for size in (1_000, 10_000)}
    rows = [[f"{size:,}", f"{memory['ours']:,.0f}", f"{memory['by hand']:,.0f}"] for size, memory in found.items()]
    print(table("Memory of steps in flight", ["steps at once", "bytes a step", "by hand"], rows))
    return {str(size): memory for size, memory in found.items()}


def foreach(sizes: Sequence[int], _: int) -> dict[str, Any]:
    """Memory of a foreach, kept and in flight."""
    found = {size: alone(growth.foreach_memory, size) for size in (*sizes[2:], 10 * sizes[-1])}
    rows = [
        [f"{size:,}", f"{memory['kept'] / size:.1f}", f"{(memory['peak'] - memory['kept']) / 1e3:,.0f}"]
        for size, memory in found.items()
    ]
    columns = ["items", "bytes an item, kept", "more while it ran, kB"]
    print(table(f"Memory of a foreach at concurrency {growth.CONCURRENCY}", columns, rows))
    return {str(size): memory for size, memory in found.items()}


def million(sizes: Sequence[int], _: int) -> dict[str, Any]:
    """Ten times as many items as the largest graph has steps, everything on, with the memory that the system sees."""
    found = alone(growth.foreach_resident, sizes[-1] * 10)
    cells = [f"{found['items']:,.0f}", *(f"{found[key]:,.1f}" for key in ("cpu_s", "wall_s", "grown_mb", "outputs_mb"))]
    columns = ["items", "CPU s", "wall s", "resident memory grown, MB", "of it outputs, MB"]
    print(table("A foreach over many items, everything on", columns, [cells]))
    return found


PARTS: Final = {"graphs": graphs, "steps": steps, "flight": flight, "foreach": foreach, "million": million}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the timings, at least 1 (default: 3)")
    parser.add_argument("--only", choices=PARTS, action="append", help="default: all parts")
    parser.add_argument("--quick", action="store_true", help="all but the largest size")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    sizes = list(SIZES[:-1] if options.quick else SIZES)
    results = {}
    for name, part in PARTS.items():
        if not options.only or name in options.only:
            results[name] = part(sizes, max(1, options.rounds))
            print()
            # Each part takes minutes: what is measured is kept, whatever becomes of the next.
            keep(argparse.Namespace(json=None, save=options.save), "scale", results)
    write_json(options.json, "scale", results)


if __name__ == "__main__":
    main()
