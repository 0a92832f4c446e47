"""httpx as most write it: one client, whose pool has a connection for each slot of the semaphore."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from benchmarks.llm_clients import AskAll, Times
from benchmarks.llm_clients.by_hand import asking

NOTE = "one `httpx.AsyncClient` with as many connections as the semaphore has slots, retries by hand"


@asynccontextmanager
async def opened(url: str, limit: int, times: Times) -> AsyncIterator[AskAll]:
    """Give what asks all prompts."""
    limits = httpx.Limits(max_connections=limit, max_keepalive_connections=limit)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:
        yield asking(url, limit, times, [client] * limit)
