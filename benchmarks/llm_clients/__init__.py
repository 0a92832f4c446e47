"""What asks the server of the fan-out: kairos_async, httpx by hand, and other libraries.

Each is a module that looks like `Client`, and is measured in a process and an environment of its own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

MODEL: Final = "gpt-4o-mini"
RETRIES: Final = 5
"""How often each client may ask again."""

AskAll: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[Any]]]
"""Ask all prompts; gives the answers in the same order, as texts or as the data that they are."""


class Entry(NamedTuple):
    """A client: its name, its module, and what has to be installed for it."""

    title: str
    module: str
    requirements: tuple[str, ...]


_HTTPX: Final = "httpx==0.28.1"
"""In every environment, for the side by hand."""

CLIENTS: Final = {
    "kairos-async": Entry("kairos_async, contract", "benchmarks.llm_clients.ours", ()),
    "kairos-async-text": Entry("kairos_async, text", "benchmarks.llm_clients.ours_text", ()),
    "httpx": Entry("httpx, one client", "benchmarks.llm_clients.one_client", ()),
    "openai-sdk": Entry("OpenAI's SDK", "benchmarks.llm_clients.openai_sdk", ("openai==3.57.0", _HTTPX)),
    "pydantic-ai": Entry(
        "pydantic-ai", "benchmarks.llm_clients.pydantic_ai", ("pydantic-ai-slim[openai]==2.68.0", _HTTPX)
    ),
    "langgraph-openai": Entry(
        "LangGraph", "benchmarks.llm_clients.langgraph", ("langgraph==1.2.24", "langchain-openai==1.7.4", _HTTPX)
    ),
    "llama-index-openai": Entry(
        "LlamaIndex Workflows",
        "benchmarks.llm_clients.llama_index",
        ("llama-index-workflows==2.26.1", "llama-index-llms-openai==0.8.3", _HTTPX),
    ),
}
"""The versions that are measured. The first requirement is the library; our own is that of this checkout."""


class Times:
    """How long calls took, from a prompt's first request to its answer, in seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun: dict[str, float] = {}

    @contextmanager
    def of(self, prompt: str) -> Iterator[None]:
        """While the prompt is asked, perhaps not for the first time; it counts once that succeeds."""
        self._begun.setdefault(prompt, time.perf_counter())
        yield
        self.seconds.append(time.perf_counter() - self._begun.pop(prompt))


class Client(Protocol):
    """A module that asks with a library."""

    NOTE: str

    def opened(self, url: str, limit: int, times: Times) -> AbstractAsyncContextManager[AskAll]:
        """Give what asks all prompts, at most `limit` at once. Neither opening nor closing is timed."""
