"""A model whose answers are kept; see `cache.py`."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from kairos_async._types import MISSING, JSONValue, TokenUsage
from kairos_async.adapters._stores import ResponseCache
from kairos_async.adapters._wrapping import Wrapping
from kairos_async.adapters.model import (
    ModelAdapter,
    ModelRequest,
    ModelResponse,
    ModelStream,
    StopReason,
    checked,
)
from kairos_async.context import current_step, holds_secret
from kairos_async.exceptions import ConfigError

_FREE: Final = TokenUsage(input_tokens=0, output_tokens=0, estimated_cost_usd=0.0)
_REMEMBERED: Final = 10_000
"""Steps and items under way of which it is known what they were given."""


class CachedModel(Wrapping):
    """See `cached`."""

    def __init__(self, model: ModelAdapter, cache: ResponseCache) -> None:
        super().__init__("cached", (model,))
        if not hasattr(cache, "get"):
            raise ConfigError(
                f"cached() keeps answers in a MemoryCache() or SQLiteCache('answers.sqlite'); it got {cache!r}."
            )
        self._inner: Final = model
        self.cache: Final = cache
        self._given: OrderedDict[tuple[str, str, int | None], tuple[int, list[str]]] = OrderedDict()
        self.provider = model.provider

    def __repr__(self) -> str:
        return f"<cached {self._inner!r}>"

    async def _ask(self, request: ModelRequest) -> ModelResponse:
        # A kept answer has used nothing, and says so in `metadata["cached"]`.
        key = await self._key(request)
        kept = await self._kept(key)
        if kept is not None:
            return await checked(kept, request)
        response = await self._inner.call(request)
        await self._keep(key, response)
        return response

    @asynccontextmanager
    async def _begin(self, request: ModelRequest) -> AsyncIterator[ModelStream]:
        # A kept answer comes in one piece.
        key = await self._key(request)
        kept = await self._kept(key)
        if kept is not None:
            yield _Kept(await checked(kept, request))
            return
        async with self._inner.stream(request) as stream:
            kept_too = _Keeping(stream, self, key)
            yield kept_too

    async def _key(self, request: ModelRequest) -> str:
        """The hash of all that is sent. What the attempt before was given for it is dropped: it was refused."""
        sent = [
            *(self._inner.provider, self._inner.model, str(getattr(self._inner, "base_url", ""))),
            [[message.role, *message.parts] for message in request.messages],
            *(request.schema, request.max_tokens or getattr(self._inner, "max_tokens", None)),
            dict(request.options),
        ]
        text = json.dumps(sent, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        key = hmac.new(self.cache.secret, text.encode(), hashlib.sha256).hexdigest()
        step = current_step()
        if step is not None:
            place = (step.run_id, step.step_id, step.index)
            attempt, given = self._given.pop(place, (step.attempt, []))
            if attempt != step.attempt:
                for refused in given:
                    await self.cache.drop(refused)
                given = []
            given.append(key)
            self._given[place] = (step.attempt, given)
            if len(self._given) > _REMEMBERED:
                self._given.popitem(last=False)
        return key

    async def _kept(self, key: str) -> ModelResponse | None:
        text = await self.cache.get(key)
        try:
            kept: dict[str, Any] = json.loads(text or "null") or {}
            return ModelResponse(
                text=kept["text"],
                model=kept["model"],
                provider=kept["provider"],
                usage=_FREE,
                latency_ms=0.0,
                parsed=kept.get("parsed", MISSING),
                metadata={**kept["metadata"], "cached": True},
            )
        except (ValueError, KeyError, TypeError, AttributeError):  # nothing is kept, or nothing of ours
            return None

    async def _keep(self, key: str, response: ModelResponse) -> None:
        if response.stop is not StopReason.END or response.tool_calls:
            return
        answer: dict[str, JSONValue] = {
            "text": response.text,
            "model": response.model,
            "provider": response.provider,
            "metadata": dict(response.metadata),
        }
        if response.parsed is not MISSING:
            answer["parsed"] = response.parsed
        if not holds_secret(answer):
            await self.cache.put(key, json.dumps(answer))


class _Kept:
    """An answer that is there already, as a stream."""

    def __init__(self, response: ModelResponse) -> None:
        self.response: Final = response
        self.text = ""

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if self.text == self.response.text:
            raise StopAsyncIteration
        self.text = self.response.text
        return self.text


class _Keeping:
    """A stream that is kept once it has come to its end."""

    def __init__(self, stream: ModelStream, owner: CachedModel, key: str) -> None:
        self._stream = stream
        self._pieces = aiter(stream)
        self._owner = owner
        self._key = key

    @property
    def text(self) -> str:
        return self._stream.text

    @property
    def response(self) -> ModelResponse:
        return self._stream.response

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            await self._owner._keep(self._key, self._stream.response)
            raise


def cached(model: ModelAdapter, cache: ResponseCache) -> CachedModel:
    """An adapter that asks the model once for the same question, and gives the kept answer after that.

    The same question: provider, model, base URL, messages, schema, greatest length and options are the same. A kept
    answer costs nothing and counts as no call. Values that a template fences are in marks that differ from run to run,
    so that such prompts are never the same.

    Raises:
        ConfigError: `model` is no adapter, or `cache` no cache.
    """
    return CachedModel(model, cache)
