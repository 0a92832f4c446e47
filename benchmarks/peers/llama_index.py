"""LlamaIndex Workflows: a class of steps, which find each other by the types of the events that they take and send.

So every edge into a step of its own needs an event type of its own. Where steps share their needs, those send one type
of event, and one further step collects them and sends what starts the followers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from benchmarks.reference import Graph
from benchmarks.workloads import Make, Side, async_body

NOTE = "an event type for each edge; a collecting step behind each layer; no limit across steps: a semaphore"
BODY: Make = async_body


class Item(Event):
    """One item of a foreach."""

    item: int


class Done(Event):
    """What became of it."""

    output: Any


def _event(name: str) -> type[Any]:
    return type(name, (Event,), {"__annotations__": {"output": Any}, "output": None, "__module__": __name__})


def _step(function: Any, name: str, returns: Any, **takes: Any) -> Any:
    """Return the function as a method of the class to be, which is told by its qualified name."""
    function.__name__, function.__qualname__ = name, f"Flow.{name}"
    function.__annotations__ = {**takes, "return": returns}
    return step(num_workers=1)(function)


def _worker(
    name: str, takes: type[Any], sends: type[Any], body: Callable[[Any], Any], semaphore: asyncio.Semaphore
) -> Any:
    async def work(self: Any, ev: Any) -> Any:
        async with semaphore:
            output = await body(ev)
        return StopEvent(result=output) if sends is StopEvent else sends(output=output)

    return _step(work, name, ev=takes, returns=sends)


def _collector(name: str, takes: type[Any], count: int, sends: type[Any]) -> Any:
    async def collect(self: Any, ctx: Any, ev: Any) -> Any:
        found = ctx.collect_events(ev, [takes] * count)
        if found is None:
            return None
        return StopEvent(result=len(found)) if sends is StopEvent else sends(output=None)

    return _step(collect, name, ctx=Context, ev=takes, returns=sends | None)


def _runner(flow: Any) -> Side:
    async def run() -> object:
        return await flow.run()

    return run


def graph(graph: Graph, body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs a graph. Steps with the same needs start together, once those are collected."""
    semaphore = asyncio.Semaphore(limit)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, needs in graph:
        groups.setdefault(tuple(needs), []).append(name)
    starts = {needs: _event(f"Start{number}") if needs else StartEvent for number, needs in enumerate(groups)}
    ends: dict[str, type[Any]] = {}
    steps: dict[str, Any] = {}
    for number, needs in enumerate(groups):
        if len(needs) == 1:
            ends[needs[0]] = starts[needs]
        elif needs:
            sent = _event(f"Done{number}")
            ends.update(dict.fromkeys(needs, sent))
            steps[f"collect{number}"] = _collector(f"collect{number}", sent, len(needs), starts[needs])
    last = [name for name, _ in graph if name not in ends]
    finished = StopEvent if len(last) == 1 else _event("Last")
    if len(last) > 1:
        steps["collect"] = _collector("collect", finished, len(last), StopEvent)
    for needs, names in groups.items():
        for name in names:
            steps[name] = _worker(name, starts[needs], ends.get(name, finished), body, semaphore)
    return _runner(type("Flow", (Workflow,), {**steps, "__module__": __name__})(timeout=None))


def foreach(items: Sequence[int], body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs the body for each item."""

    class Flow(Workflow):
        @step
        async def spread(self, ev: StartEvent) -> list[Item]:
            return [Item(item=item) for item in items]

        @step(num_workers=limit)
        async def each(self, ev: Item) -> Done:
            return Done(output=await body(ev))

        @step
        async def gather(self, evs: list[Done]) -> StopEvent:
            return StopEvent(result=len(evs))

    return _runner(Flow(timeout=None))
