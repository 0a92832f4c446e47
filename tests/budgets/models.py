"""Models for tests: adapters whose answers take virtual time, metered as all are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from kairos_async import JSONValue, ModelUnavailableError, TokenUsage
from kairos_async.adapters import ModelResponse, ModelStream
from kairos_async.adapters._call import ModelCall, metered
from kairos_async.adapters._structured import parsed_json
from kairos_async.adapters.model import Prompt, as_request

USAGE = TokenUsage(input_tokens=10, output_tokens=5)


class FakeModel:
    """An adapter that answers with the next of its answers, or raises it, after so many seconds."""

    def __init__(
        self,
        *answers: str | Exception,
        takes: float = 1.0,
        provider: str = "openai",
        model: str = "gpt-4o",
        usage: TokenUsage | None = USAGE,
        max_tokens: int | None = 100,
    ) -> None:
        self.answers = list(answers) or ["answer"]
        self.takes = takes
        self.provider = provider
        self.model = model
        self.usage = usage
        self.max_tokens = max_tokens
        self.sent = 0
        self.ended = 0
        self.prompts: list[str] = []

    async def call(
        self,
        prompt: Prompt,
        /,
        *,
        contract: object = None,
        max_tokens: int | None = None,
        options: Mapping[str, JSONValue] | None = None,
    ) -> ModelResponse:
        """Answer."""
        request = as_request(prompt, contract=contract, max_tokens=max_tokens, options=options)
        call = ModelCall(self.provider, self.model, request, max_tokens=request.max_tokens or self.max_tokens)
        async with metered(call):
            answer = self.answers[min(self.sent, len(self.answers) - 1)]
            self.sent += 1
            self.prompts.append(request.messages[-1].parts[0])
            await anyio.sleep(self.takes)
            self.ended += 1
            if isinstance(answer, Exception):
                raise answer
            call.usage = self.usage
        return ModelResponse(
            text=answer,
            model=self.model,
            provider=self.provider,
            usage=self.usage or TokenUsage(),
            latency_ms=self.takes * 1000,
            parsed=parsed_json(answer),
        )

    @asynccontextmanager
    async def stream(self, prompt: Prompt, /, **more: Any) -> AsyncIterator[ModelStream]:
        """The words of the answer, one by one."""
        yield FakeStream(await self.call(prompt, **more))


class FakeStream:
    """The words of an answer."""

    def __init__(self, response: ModelResponse) -> None:
        self.response = response
        self.text = ""
        self._words = iter(response.text.split())

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        word = next(self._words, None)
        if word is None:
            raise StopAsyncIteration
        self.text += word
        return word


def unavailable(**facts: Any) -> ModelUnavailableError:
    """Return what a provider in trouble means."""
    return ModelUnavailableError("openai", "gpt-4o", "in trouble", **facts)
