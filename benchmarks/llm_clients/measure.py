"""Measure one client with one load in this process: `python -m benchmarks.llm_clients.measure NAME URL FILE --load N`.

Without a load it is memory that is measured. The client takes turns with the side
by hand, in one event loop, so that a machine that is busy for a while slows both, and ratios of different processes
compare. Needed are the standard library, httpx, and the library itself.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import itertools
import json
import statistics
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from benchmarks.llm_clients import CLIENTS, Client, Times, by_hand
from benchmarks.llm_server import ANSWER, Behaviour, begin, prompt
from benchmarks.peers.environments import versions
from benchmarks.report import Spread, environment

IN_FLIGHT: Final = 300
"""Calls under way at once while memory is measured."""
STAYING: Final = 8.0
"""Seconds that each of them takes, so that all are under way before the first one ends."""


@dataclass(frozen=True)
class Load:
    """So many prompts, at most `limit` at once, with faults, in `rounds` rounds or one."""

    name: str
    prompts: int
    limit: int
    rounds: int

    @property
    def behaviour(self) -> Behaviour:
        """What the server does."""
        return Behaviour(self.prompts)


def loads(*, quick: bool) -> list[Load]:
    """Return what is measured."""
    if quick:
        return [Load("200 prompts", 200, 50, 1)]
    return [Load("1,000 prompts", 1_000, 100, 3), Load("10,000 prompts", 10_000, 200, 1)]


_goes: Final = itertools.count(1)


class Went(dict[str, float]):
    """How one go went: throughput a second, wall time over ideal, CPU microseconds a call, percentiles in ms."""


async def go(client: Client, url: str, behaviour: Behaviour, limit: int, patience: float) -> Went:
    """Ask all prompts, for `patience` seconds at most. What came until then counts.

    Raises:
        RuntimeError: prompts were answered twice, or not at all, or too many asked at once, or an answer is wrong.
    """
    times = Times()
    behaviour = replace(behaviour, go=next(_goes))
    prompts = [prompt(number, behaviour.go) for number in range(behaviour.prompts)]
    begin(url, behaviour)
    answers: Sequence[Any] | None = None
    async with client.opened(url, limit, times) as ask_all:
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            async with asyncio.timeout(patience):
                answers = await ask_all(prompts)
        except TimeoutError:
            answers = None
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    seen = begin(url, Behaviour(0))
    whole = answers is not None
    right = sum((json.loads(a) if isinstance(a, str) else a) == ANSWER for a in answers or ())
    if (whole and not right == seen.answered == behaviour.prompts) or seen.twice or seen.most > limit:
        raise RuntimeError(f"{client.NOTE}: {right} right answers of {behaviour.prompts}; the server saw {seen}.")
    calls = sorted(times.seconds)
    return Went(
        whole=whole,
        throughput=len(calls) / wall,
        over_ideal=wall / behaviour.ideal(limit) if whole else 0.0,
        cpu_us=cpu / max(1, len(calls)) * 1e6,
        p50_ms=calls[len(calls) // 2] * 1e3 if calls else 0.0,
        p99_ms=calls[len(calls) * 99 // 100] * 1e3 if calls else 0.0,
        too_soon=seen.too_soon,
        connections=seen.connections,
    )


async def turns(client: Client, url: str, load: Load, patience: float) -> dict[str, Any]:
    """Time both sides in turn; after `patience` seconds there is no further round."""
    mine: list[Went] = []
    theirs: list[Went] = []
    started = time.perf_counter()
    while len(mine) < load.rounds and (not mine or time.perf_counter() - started < patience):
        pairs = [(cast(Client, by_hand), theirs), (client, mine)]
        for side, found in reversed(pairs) if len(mine) % 2 else pairs:
            found.append(await go(side, url, load.behaviour, load.limit, patience))
    shares = [a["throughput"] / b["throughput"] for a, b in zip(mine, theirs, strict=True)]
    return {
        "name": load.name,
        "prompts": load.prompts,
        "limit": load.limit,
        "ideal_s": load.behaviour.ideal(load.limit),
        "rounds": len(mine),
        "whole": all(went["whole"] for went in mine),
        "share": Spread.of(shares)._asdict(),
        "library": _medians(mine),
        "by_hand": _medians(theirs),
    }


def _medians(rounds: Sequence[Went]) -> dict[str, float]:
    return {name: statistics.median(went[name] for went in rounds) for name in rounds[0]}


async def memory(client: Client, url: str) -> dict[str, float]:
    """How many bytes Python has allocated at most while calls are under way, for each of them."""
    behaviour = Behaviour(IN_FLIGHT, median=STAYING, sigma=0.0, refused=0.0, failed=0.0)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await go(client, url, behaviour, IN_FLIGHT, 6 * STAYING)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"in_flight": IN_FLIGHT, "bytes_a_call": (most - before) / IN_FLIGHT}


async def measured(client: Client, url: str, load: Load | None, patience: float) -> dict[str, Any]:
    """Measure a load, or memory, after a few prompts that warm up."""
    for side in (client, cast(Client, by_hand)):
        await go(side, url, Behaviour(20), 10, patience)
    return await memory(client, url) if load is None else await turns(client, url, load, patience)


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llm_clients.measure")
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--load", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--patience", type=float, default=30.0)
    options = parser.parse_args()
    entry = CLIENTS[options.client]
    client = cast(Client, importlib.import_module(entry.module))
    load = None if options.load is None else loads(quick=options.quick)[options.load]
    found = {
        "versions": versions(entry.requirements),
        "note": client.NOTE,
        "environment": environment(),
        "found": asyncio.run(measured(client, options.url, load, options.patience)),
    }
    options.file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
