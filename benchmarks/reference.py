"""What kairos_async is measured against: the same graphs, written by hand with asyncio tasks and a semaphore.

This is what an experienced engineer writes without a library: one task per step, which awaits the tasks of its needs
and then runs the body under a semaphore; results in a dict. It checks, retries and scopes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

Graph: TypeAlias = Sequence[tuple[str, Sequence[str]]]
"""Steps in an order in which each follows its needs: name, and names of the steps that it needs."""

Body: TypeAlias = Callable[[Any], Awaitable[Any]]


async def run_graph(graph: Graph, body: Body, limit: int) -> dict[str, Any]:
    """Run the body once for each step, at most `limit` at once; return the results by name."""
    semaphore = asyncio.Semaphore(limit)
    tasks: dict[str, asyncio.Task[None]] = {}
    results: dict[str, Any] = {}

    async def step(name: str, needs: Sequence[str]) -> None:
        for need in needs:
            await tasks[need]
        async with semaphore:
            results[name] = await body(None)

    for name, needs in graph:
        tasks[name] = asyncio.create_task(step(name, needs))
    for task in tasks.values():
        await task
    return results


async def run_foreach(items: Sequence[Any], body: Body, limit: int) -> list[Any]:
    """Run the body once for each item, at most `limit` at once; return the results in the items' order."""
    semaphore = asyncio.Semaphore(limit)

    async def one(item: Any) -> Any:
        async with semaphore:
            return await body(item)

    return await asyncio.gather(*[asyncio.create_task(one(item)) for item in items])
