"""How cost grows with size: what `benchmarks.scale` measures, each in a process of its own.

A process of its own, because a peak of memory is never forgotten, and because the garbage collector looks at
everything that is alive: a large graph kept beside a small one would make the small one slow.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from benchmarks.ours import Answer, answer, foreach_workflow, to_workflow
from benchmarks.reference import Graph, run_graph
from benchmarks.report import Spread
from benchmarks.workloads import chain, fan_out, independent, layers
from kairos_async import Step, Workflow, WorkflowResult

CONCURRENCY: Final = 100
CONTRACT: Final = Step("answer", answer, output_contract=Answer).output_contract
"""Compiled once, so that building a graph is about the graph."""
FIRST: Final = to_workflow(chain(1))
SHAPES: Final[dict[str, Callable[[int], Graph]]] = {
    "chain": chain,
    "layers of 10": lambda size: layers(max(1, size // 10), 10),
    "fan-out at 100": lambda size: fan_out(size - 1),
}


def time_growth(shape: str, sizes: Sequence[int], rounds: int, *, collect: bool) -> dict[int, dict[str, Any]]:
    """CPU microseconds a step to build and to run graphs of each size, and to run them by hand; sizes in turn.

    Small graphs are handled as often as it takes to come near to the steps of the largest. `collect` says whether
    Python's cyclic garbage collector is on; it looks at all that is alive again and again, whoever made it. What
    describes the graphs is the benchmark's own, 1,000,000 strings for layers of 10, and is put out of its sight. They
    are hashed beforehand, which a string does once: of a small graph, it would fall on one of 20 goes.
    """
    times: dict[int, dict[str, list[float]]] = {size: {"build": [], "run": [], "by hand": []} for size in sizes}
    (gc.enable if collect else gc.disable)()
    for _ in range(rounds):
        for size in sizes:
            goes = min(20, max(sizes) // size)
            graph = SHAPES[shape](size)
            for name, needs in graph:
                hash((name, *needs))
            gc.freeze()
            samples = [_time_once(graph) for _ in range(goes)]
            gc.unfreeze()
            for kind, seconds in zip(times[size], zip(*samples, strict=True), strict=True):
                times[size][kind].append(sum(seconds) / goes / size * 1e6)
    return {
        size: {kind: Spread.of(values)._asdict() for kind, values in kinds.items()} for size, kinds in times.items()
    }


def run(workflow: Workflow, inputs: Mapping[str, object] | None = None) -> WorkflowResult:
    """The result of a run."""
    return timed_run(workflow, inputs)[1]


def timed_run(workflow: Workflow, inputs: Mapping[str, object] | None = None) -> tuple[float, WorkflowResult]:
    """CPU seconds of a run, without those of starting a loop, and its result.

    That is no result of a task: asyncio.run() asks for the repr of it, which is work too.
    """
    results: list[WorkflowResult] = []

    async def main() -> float:
        await FIRST.run()  # The first run on a loop pays for what anyio sets up there.
        started = time.process_time()
        results.append(await workflow.run(inputs))
        return time.process_time() - started

    took = asyncio.run(main())
    return took, results[0].raise_for_status()


def _time_once(graph: Graph) -> tuple[float, float, float]:
    async def by_hand() -> float:
        started = time.process_time()
        await run_graph(graph, answer, CONCURRENCY)
        return time.process_time() - started

    gc.collect()
    started = time.process_time()
    workflow = to_workflow(graph, limit=CONCURRENCY, contract=CONTRACT)
    built = time.process_time() - started
    gc.collect()  # as before the hand-written side: each has only its own objects to account for
    ran, result = timed_run(workflow)
    del result
    gc.collect()
    return built, ran, asyncio.run(by_hand())


async def nothing(_: object) -> int:
    """A body whose result takes no memory of its own."""
    await asyncio.sleep(0)
    return 1


def step_memory(size: int) -> dict[str, float]:
    """Bytes a step of a chain: of the built graph, and of what a run keeps of a finished step beyond its output."""
    contract = Step("int", nothing, output_contract=int).output_contract
    graph = chain(size)
    run(to_workflow(chain(100), nothing, CONCURRENCY, contract=contract))
    gc.collect()
    tracemalloc.start()
    workflow = to_workflow(graph, nothing, CONCURRENCY, contract=contract)
    run(workflow)
    gc.collect()
    built, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    result = run(workflow)
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return {"built": built / size, "kept": (kept - built) / size, "more": float(peak - kept)}


def flight_memory(size: int) -> dict[str, float]:
    """Bytes a step while `size` of them wait at once, with kairos_async and by hand, beyond the built graph."""
    graph, gate = independent(size), _Gate(size)
    workflow = to_workflow(graph, gate.wait, None, contract=int)
    return {
        "ours": asyncio.run(gate.most(workflow.run)) / size,
        "by hand": asyncio.run(gate.most(lambda: run_graph(graph, gate.wait, size))) / size,
    }


class _Gate:
    """What `size` bodies wait at until all have come."""

    def __init__(self, size: int) -> None:
        self._size = size

    async def wait(self, _: object) -> int:
        """Wait, as a body."""
        self._came += 1
        if self._came == self._size:
            self._all_came.set()
        await self._open.wait()
        return 1

    async def most(self, side: Callable[[], Coroutine[Any, Any, object]]) -> int:
        """Return the bytes that there are more while all wait."""
        self._came, self._all_came, self._open = 0, asyncio.Event(), asyncio.Event()
        tracemalloc.start()
        task = asyncio.create_task(side())
        await self._all_came.wait()
        gc.collect()
        most, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self._open.set()
        await task
        return most


def foreach_memory(count: int) -> dict[str, float]:
    """Bytes that a foreach over `count` items takes beyond its list of items, as Python's allocator counts them.

    `kept` is all that the result holds, and `peak` the most that there was before; outputs are one small integer, so
    the list of outputs takes 8 bytes an item, and so does the store's copy of the list of items.
    """
    workflow = foreach_workflow(CONCURRENCY, nothing, contract=int)
    run(workflow, {"items": [0] * 1_000})
    items = [0] * count
    gc.collect()
    tracemalloc.start()
    result = run(workflow, {"items": items})
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return {"items": float(count), "kept": float(kept), "peak": float(peak)}


def foreach_resident(count: int) -> dict[str, float]:
    """Seconds and megabytes (1e6 bytes) of resident memory that a foreach over `count` items takes, everything on."""
    workflow = foreach_workflow(CONCURRENCY, answer)
    run(workflow, {"items": [0] * 1_000})
    items = [0] * count
    gc.collect()
    before = _peak_resident()
    cpu, wall = time.process_time(), time.perf_counter()
    result = run(workflow, {"items": items})
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    grown = _peak_resident() - before
    outputs = result.output
    assert isinstance(outputs, list)
    values = sys.getsizeof(outputs) + sum(sys.getsizeof(output) for output in outputs)
    return {"items": float(count), "cpu_s": cpu, "wall_s": wall, "grown_mb": grown / 1e6, "outputs_mb": values / 1e6}


def _peak_resident() -> int:
    """The most memory that this process ever had, in bytes. Linux counts in kilobytes, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
