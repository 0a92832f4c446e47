"""CPU time of each workload beside the same graph written by hand, in one process and in alternating rounds.

    python -m benchmarks.run [--rounds N] [--only TEXT] [--quick] [--json FILE] [--save]

The ratio of a round is that of two times taken one after the other, so a machine that is busy for a while slows both.
The ratio of leasts is that of the fastest round of each side: on a machine that others use too, the steadier figure.

Where steps wait, the ratio is wall time over the ideal, the waiting divided by the slots. No program on an event loop
can reach that: the loop wakes up for timers in whole milliseconds, and late. So what the loop alone takes is shown too,
with a task for each slot that does nothing but wait, the time over that in the same round, and the time over the
hand-written side's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from benchmarks import ours
from benchmarks.report import Spread, add_outputs, environment, keep, table
from benchmarks.timing import measure_alone
from benchmarks.workloads import workloads

COLUMNS = ("workload", "us a step", "by hand", "ratio (least - most)", "of leasts", "at most", "")


def row(result: dict[str, Any]) -> list[str]:
    """One line of the table."""
    digits = 2 if result["clock"] == "cpu" else 3
    ratio = Spread(**result["ratio"])
    return [
        result["name"],
        f"{result['us_a_step']:.1f}",
        f"{result['by_hand_us_a_step']:.1f}",
        ratio.show(digits),
        f"{result['ratio_of_leasts']:.{digits}f}",
        f"{result['target']:.2f}",
        "" if ratio.median <= result["target"] else "MISSED",
    ]


def measure_all(chosen: Sequence[str], rounds: int, *, quick: bool) -> list[dict[str, Any]]:
    """Measure each workload whose name has one of the texts (all, if there are none)."""
    return [
        {**measure_alone(workload, ours, rounds), "target": workload.target}
        for workload in workloads(10 if quick else 1)
        if not chosen or any(text in workload.name for text in chosen)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count, at least 1 (default: 9)")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="workloads with this in their name")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size and 3 rounds: a look, no figures")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    rounds = 3 if options.quick else max(1, options.rounds)
    results = measure_all(options.only, rounds, quick=options.quick)
    facts = ", ".join(f"{key} {value}" for key, value in environment().items())
    print(
        table(
            f"CPU time beside hand-written asyncio, medians of {rounds} rounds ({facts})",
            COLUMNS,
            list(map(row, results)),
        )
    )
    for result in results:
        if result["loop"] is not None:
            alone, over, hand = (Spread(**result[key]).show(3) for key in ("loop", "over_loop", "over_by_hand"))
            print(
                f"\n{result['name']}: wall time over the ideal; of the event loop alone {alone}; over that: {over}; "
                f"over the hand-written side: {hand}."
            )
    keep(options, "run", results)


if __name__ == "__main__":
    main()
