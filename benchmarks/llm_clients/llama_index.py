"""LlamaIndex Workflows: an event for each prompt, a step with a worker for each slot, LlamaIndex's client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from workflows import Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from benchmarks.llm_clients import MODEL, RETRIES, AskAll, Times

NOTE = "an event for each prompt, a step with `num_workers`, LlamaIndex's `OpenAI` with its own retries"


class Prompt(Event):
    """One prompt."""

    number: int
    text: str


class Answer(Event):
    """What the model said to it."""

    number: int
    text: str


@asynccontextmanager
async def opened(url: str, limit: int, times: Times) -> AsyncIterator[AskAll]:
    """Give what asks all prompts."""
    model = OpenAI(model=MODEL, api_base=f"{url}/v1", api_key="none", max_retries=RETRIES)

    class Flow(Workflow):
        @step
        async def spread(self, ev: StartEvent) -> list[Prompt]:
            return [Prompt(number=number, text=text) for number, text in enumerate(ev.prompts)]

        @step(num_workers=limit)
        async def ask(self, ev: Prompt) -> Answer:
            with times.of(ev.text):
                response = await model.achat([ChatMessage(role="user", content=ev.text)])
            return Answer(number=ev.number, text=response.message.content or "")

        @step
        async def gather(self, evs: list[Answer]) -> StopEvent:
            return StopEvent(result=[ev.text for ev in sorted(evs, key=lambda ev: ev.number)])

    flow: Any = Flow(timeout=None)

    async def ask_all(prompts: Sequence[str]) -> Sequence[str]:
        answers: Sequence[str] = await flow.run(prompts=list(prompts))
        return answers

    yield ask_all
