"""The one place where a call to a model is metered: counted before it is sent, settled once it ended, in any way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kairos_async._types import TokenUsage
from kairos_async.adapters.model import ModelRequest


@dataclass(slots=True)
class ModelCall:
    """One request to a model, from before it is sent until it is settled.

    Attributes:
        provider, model: what is asked.
        request: what it is asked.
        max_tokens: the greatest length of the answer that will be sent, None if the provider decides.
        usage: what it consumed, as soon as that is known; None when the call ends means that nobody knows.
        limits: the rate-limit headers of the answer, lower case, successful or not.
    """

    provider: str
    model: str
    request: ModelRequest
    max_tokens: int | None = None
    usage: TokenUsage | None = None
    limits: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def metered(call: ModelCall) -> AsyncIterator[ModelCall]:
    """Hold a call: `async with metered(call): send it, set call.usage`.

    Before: what limits calls may wait here, or raise to refuse this one; nothing was sent then. After: what the call
    consumed is settled, with `call.usage` if it is known, whether it succeeded, failed or was cancelled. Every adapter
    goes through here once for each request that it sends, and nothing else counts calls.
    """
    yield call
