"""The same work by hand: httpx, a semaphore, and a loop that asks again after what the server wants."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from benchmarks.llm_clients import MODEL, RETRIES, AskAll, Times

NOTE = "httpx and a semaphore, retries by hand; a client with one connection for each slot"


@asynccontextmanager
async def opened(url: str, limit: int, times: Times) -> AsyncIterator[AskAll]:
    """Give what asks all prompts, with a client for each slot."""
    context = ssl.create_default_context()
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    async with AsyncExitStack() as stack:
        clients = [httpx.AsyncClient(limits=limits, timeout=60, verify=context, trust_env=False) for _ in range(limit)]
        for client in clients:
            await stack.enter_async_context(client)
        yield asking(url, limit, times, clients)


def asking(url: str, limit: int, times: Times, clients: list[httpx.AsyncClient]) -> AskAll:
    """What asks all prompts; a call takes a client from the list, and puts it back."""
    semaphore = asyncio.Semaphore(limit)

    async def send(prompt: str) -> httpx.Response:
        client = clients.pop()
        try:
            return await client.post(
                f"{url}/v1/chat/completions",
                json={"model": MODEL, "messages": [{"role": "user", "content": prompt}]},
                headers={"authorization": "Bearer none"},
            )
        finally:
            clients.append(client)

    async def ask(prompt: str) -> str:
        for attempt in range(RETRIES + 1):
            async with semaphore:
                try:
                    with times.of(prompt):
                        response = await send(prompt)
                        response.raise_for_status()
                        return str(response.json()["choices"][0]["message"]["content"])
                except httpx.HTTPStatusError as failed:
                    if attempt == RETRIES:
                        raise
                    pause = failed.response.headers.get("retry-after")
            await asyncio.sleep(float(pause) if pause else 0.5 * 2**attempt * random.uniform(1, 1.25))
        raise AssertionError

    async def ask_all(prompts: Sequence[str]) -> Sequence[str]:
        return await asyncio.gather(*[asyncio.create_task(ask(prompt)) for prompt in prompts])

    return ask_all
