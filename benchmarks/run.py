"""CPU time of each workload beside the same graph written by hand, in one process and in alternating rounds.

    python -m benchmarks.run [--rounds N] [--only TEXT] [--quick] [--json FILE]

The ratio of a round is that of two times taken one after the other, so a machine that is busy for a while slows both.
The ratio of leasts is that of the fastest round of each side: on a machine that others use too, the steadier figure.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Callable, Sequence

from benchmarks.report import Spread, environment, table, write_json
from benchmarks.workloads import Side, Workload, workloads

COLUMNS = ("workload", "us a step", "by hand", "ratio (least - most)", "of leasts", "at most", "")


async def timed(side: Side, clock: Callable[[], float]) -> float:
    """Seconds that one go takes. The garbage of the one before is not this one's."""
    gc.collect()
    started = clock()
    await side()
    return clock() - started


async def measure(workload: Workload, rounds: int) -> dict[str, object]:
    """Time both sides of a workload, in alternating order; the first round warms up and does not count."""
    clock = time.process_time if workload.ideal is None else time.perf_counter
    ours: list[float] = []
    by_hand: list[float] = []
    for number in range(rounds + 1):
        sides = [(workload.ours, ours), (workload.by_hand, by_hand)]
        for side, times in sides if number % 2 else reversed(sides):
            times.append(await timed(side, clock))
    del ours[0], by_hand[0]
    bases = by_hand if workload.ideal is None else [workload.ideal] * rounds
    ratio = Spread.of([a / b for a, b in zip(ours, bases, strict=True)])
    return {
        "name": workload.name,
        "steps": workload.steps,
        "clock": "cpu" if workload.ideal is None else "wall",
        "ours_s": ours,
        "by_hand_s": by_hand,
        "ideal_s": workload.ideal,
        "us_a_step": Spread.of(ours).median / workload.steps * 1e6,
        "by_hand_us_a_step": Spread.of(by_hand).median / workload.steps * 1e6,
        "ratio": ratio._asdict(),
        "ratio_of_leasts": min(ours) / min(bases),
        "target": workload.target,
        "met": ratio.median <= workload.target,
    }


def row(result: dict[str, object]) -> list[str]:
    """One line of the table."""
    ratio = result["ratio"]
    assert isinstance(ratio, dict)
    digits = 2 if result["clock"] == "cpu" else 3
    return [
        str(result["name"]),
        f"{result['us_a_step']:.1f}",
        f"{result['by_hand_us_a_step']:.1f}",
        Spread(**ratio).show(digits),
        f"{result['ratio_of_leasts']:.{digits}f}",
        f"{result['target']:.2f}",
        "" if result["met"] else "MISSED",
    ]


async def measure_all(chosen: Sequence[str], rounds: int, *, quick: bool) -> list[dict[str, object]]:
    """Measure each workload whose name has one of the texts (all, if there are none)."""
    results = []
    for workload in workloads(10 if quick else 1):
        if not chosen or any(text in workload.name for text in chosen):
            results.append(await measure(workload, rounds))
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count, at least 1 (default: 9)")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="workloads with this in their name")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size and 3 rounds: a look, no figures")
    parser.add_argument("--json", metavar="FILE", help="write every time to FILE (-: standard output)")
    options = parser.parse_args(arguments)
    rounds = 3 if options.quick else max(1, options.rounds)
    results = asyncio.run(measure_all(options.only, rounds, quick=options.quick))
    facts = ", ".join(f"{key} {value}" for key, value in environment().items())
    print(
        table(
            f"CPU time beside hand-written asyncio, medians of {rounds} rounds ({facts})",
            COLUMNS,
            list(map(row, results)),
        )
    )
    print("\nThe last workload is wall time: its ratio is to the ideal, not to the hand-written side.")
    write_json(options.json, "run", results)


if __name__ == "__main__":
    main()
