"""pydantic-ai: one agent, of which each prompt is a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from benchmarks.llm_clients import MODEL, RETRIES, AskAll, Times

NOTE = "one agent, a run for each prompt; a semaphore; OpenAI's SDK with its own retries"


@asynccontextmanager
async def opened(url: str, limit: int, times: Times) -> AsyncIterator[AskAll]:
    """Give what asks all prompts."""
    semaphore = asyncio.Semaphore(limit)
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=RETRIES) as client:
        agent = Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client)))

        async def ask(prompt: str) -> str:
            async with semaphore:
                with times.of(prompt):
                    run = await agent.run(prompt)
            return str(run.output)

        async def ask_all(prompts: Sequence[str]) -> Sequence[str]:
            return await asyncio.gather(*[asyncio.create_task(ask(prompt)) for prompt in prompts])

        yield ask_all
