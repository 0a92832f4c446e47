"""kairos_async, asked for plain text as the others are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from benchmarks.llm_clients import AskAll, Times
from benchmarks.llm_clients.ours import asking

NOTE = "a foreach with OpenAI's adapter, scopes and a retry policy; answers are plain text"


@asynccontextmanager
async def opened(url: str, limit: int, times: Times) -> AsyncIterator[AskAll]:
    """Give what asks all prompts."""
    whole = asking(url, limit, times, None)

    async def ask_all(prompts: Sequence[str]) -> Sequence[str]:
        return [answer["text"] for answer in await whole(prompts)]

    yield ask_all
