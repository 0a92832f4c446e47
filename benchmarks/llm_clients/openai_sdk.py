"""OpenAI's own SDK: its client's retries, and a semaphore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from openai import AsyncOpenAI

from benchmarks.llm_clients import MODEL, RETRIES, AskAll, Times

NOTE = "one `AsyncOpenAI` with its own retries; a semaphore"


@asynccontextmanager
async def opened(url: str, limit: int, times: Times) -> AsyncIterator[AskAll]:
    """Give what asks all prompts."""
    semaphore = asyncio.Semaphore(limit)
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=RETRIES) as client:

        async def ask(prompt: str) -> str:
            async with semaphore:
                with times.of(prompt):
                    completion = await client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": prompt}]
                    )
            return completion.choices[0].message.content or ""

        async def ask_all(prompts: Sequence[str]) -> Sequence[str]:
            return await asyncio.gather(*[asyncio.create_task(ask(prompt)) for prompt in prompts])

        yield ask_all
