"""Timing a library beside the hand-written side, in one process and in alternating rounds."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.report import Spread
from benchmarks.workloads import Library, Side, Workload

FEWEST_ROUNDS = 3


async def timed(side: Side, clock: Callable[[], float]) -> float:
    """Seconds that one go takes. The garbage of the one before is not this one's."""
    gc.collect()
    started = clock()
    await side()
    return clock() - started


async def check(workload: Workload, library: Library) -> None:
    """Run a workload once, and see that the library ran each body, and never too many at once.

    Raises:
        RuntimeError: it did not, so its times would be about something else.
    """
    lock = threading.Lock()
    began = active = most = 0

    @contextlib.contextmanager
    def counting() -> Iterator[None]:
        nonlocal began, active, most
        with lock:
            began, active = began + 1, active + 1
            most = max(most, active)
        yield
        with lock:
            active -= 1

    def make(seconds: float) -> Callable[[Any], Any]:
        body = library.BODY(seconds)

        async def waits(argument: Any) -> Any:
            with counting():
                return await body(argument)

        def blocks(argument: Any) -> Any:
            with counting():
                return body(argument)

        return waits if inspect.iscoroutinefunction(body) else blocks

    await workload.made_with(library, make)()
    if began != workload.steps or most > workload.limit * workload.runs:
        raise RuntimeError(f"{workload.name}: {began} of {workload.steps} bodies ran, {most} at once.")


async def measure(workload: Workload, library: Library, rounds: int, patience: float = 60.0) -> dict[str, Any]:
    """Time both sides of a workload in alternating order; what ran before warms up and does not count.

    After `patience` seconds there are no further rounds, if there were at least three.
    """
    await check(workload, library)
    clock = time.process_time if workload.ideal is None else time.perf_counter
    side, by_hand = workload.made_with(library), workload.by_hand()
    await by_hand()
    ours: list[float] = []
    theirs: list[float] = []
    loops: list[float] = []
    started = time.perf_counter()
    while len(ours) < rounds and (len(ours) < FEWEST_ROUNDS or time.perf_counter() - started < patience):
        pairs = [(side, ours), (by_hand, theirs)]
        for each, times in pairs if len(ours) % 2 else reversed(pairs):
            times.append(await timed(each, clock))
        if workload.ideal is not None:
            loops.append(await timed(workload.by_the_loop(), clock))
    bases = theirs if workload.ideal is None else [workload.ideal] * len(ours)
    return {
        "name": workload.name,
        "steps": workload.steps,
        "clock": "cpu" if workload.ideal is None else "wall",
        "rounds": len(ours),
        "us_a_step": Spread.of(ours).median / workload.steps * 1e6,
        "by_hand_us_a_step": Spread.of(theirs).median / workload.steps * 1e6,
        "ratio": _ratios(ours, bases),
        "ratio_of_leasts": min(ours) / min(bases),
        "loop": _ratios(loops, bases) if loops else None,
        "over_loop": _ratios(ours, loops) if loops else None,
        "over_by_hand": _ratios(ours, theirs),
    }


def _ratios(times: list[float], bases: list[float]) -> dict[str, Any]:
    """The spread of the rounds' ratios."""
    return Spread.of([took / base for took, base in zip(times, bases, strict=True)])._asdict()


def measure_alone(workload: Workload, library: Library, rounds: int, patience: float = 60.0) -> dict[str, Any]:
    """Measure a workload on an event loop of its own."""
    with asyncio.Runner(loop_factory=workload.new_loop) as runner:
        return runner.run(measure(workload, library, rounds, patience))
