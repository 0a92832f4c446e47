"""kairos_async: a foreach over the prompts, with everything on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel

from benchmarks.llm_clients import MODEL, RETRIES, AskAll, Times
from kairos_async import FailurePolicy, Step, Workflow
from kairos_async.adapters.model import ModelResponse
from kairos_async.adapters.openai_adapter import OpenAIAdapter
from kairos_async.adapters.prompt import ask

NOTE = "a foreach with OpenAI's adapter, a Pydantic contract of 3 fields as structured output, scopes, a retry policy"


class Verdict(BaseModel):
    """What the model must answer."""

    label: str
    score: float
    words: int


class Timed(OpenAIAdapter):
    """Notes when it is asked, and when an answer is there."""

    times: Times

    async def call(self, prompt: Any, /, **more: Any) -> ModelResponse:
        """See `ModelAdapter.call`."""
        with self.times.of(prompt.messages[0].parts[0]):
            return await super().call(prompt, **more)


def asking(url: str, limit: int, times: Times, contract: object) -> AskAll:
    """What asks all prompts, for answers that keep a contract."""
    model = Timed(MODEL, base_url=f"{url}/v1", allow_localhost=True)
    model.times = times
    step = Step(
        "classify",
        ask("{item}", model),
        foreach="prompts",
        max_concurrency=limit,
        read_keys=["prompts"],
        write_keys=(),
        output_contract=contract,
        failure_policy=FailurePolicy(max_retries=RETRIES, retry_delay=0.5),
    )
    workflow = Workflow("fan-out", [step])

    async def ask_all(prompts: Sequence[str]) -> Any:
        return (await workflow.run({"prompts": list(prompts)})).raise_for_status().output

    return ask_all


@asynccontextmanager
async def opened(url: str, limit: int, times: Times) -> AsyncIterator[AskAll]:
    """Give what asks all prompts."""
    yield asking(url, limit, times, Verdict)
