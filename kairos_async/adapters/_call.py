"""The one place where a call to a model is metered: counted before it is sent, settled once it ended, in any way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from kairos_async._types import JSONValue, TokenUsage
from kairos_async.adapters._limits import limited
from kairos_async.adapters.model import ModelRequest
from kairos_async.context import StepContext, current_step, keep_secret, on_thread_of_run, report
from kairos_async.events import EventLevel, LLMCall
from kairos_async.exceptions import ModelError


@dataclass(slots=True)
class ModelCall:
    """One request to a model, from before it is sent until it is settled.

    Attributes:
        provider, model: what is asked.
        request: what it is asked.
        max_tokens: the greatest length of the answer that will be sent, None if the provider decides.
        usage: what it consumed, as soon as that is known; None when the call ends means that nobody knows.
        limits: the rate-limit headers of the answer, lower case, successful or not.
        outcome: how it ended: "ok", "cancelled", "failed", "abandoned" (a stream that nobody read on), or the name
            of the `ModelError`.
        error: the `ModelError` that it ended with.
        latency_ms: how long it took, once it ended.
        step: the attempt in which it was made; None outside of a run.
    """

    provider: str
    model: str
    request: ModelRequest
    max_tokens: int | None = None
    usage: TokenUsage | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    outcome: str = "cancelled"
    error: ModelError | None = None
    latency_ms: float = 0.0
    step: StepContext | None = field(default_factory=current_step)

    def keep_secret(self, value: str) -> None:
        """Have the run redact a value, such as the key, wherever it turns up, in an answer that echoes it too."""
        if self.step is not None:
            keep_secret(self.step, value)


@asynccontextmanager
async def metered(call: ModelCall) -> AsyncIterator[ModelCall]:
    """Hold a call: `async with metered(call): send it, set call.usage`.

    Before: what limits calls may wait here, or raise to refuse this one; nothing was sent then. After: what the call
    consumed is settled, with `call.usage` if it is known, whether it succeeded, failed or was cancelled. Every adapter
    goes through here once for each request that it sends, and nothing else counts calls.
    """
    async with limited(call):
        started = anyio.current_time()
        try:
            yield call
            if call.outcome == "cancelled":
                call.outcome = "ok"
        except ModelError as error:
            call.error, call.outcome = error, type(error).__name__
            call.usage = call.usage or error.usage
            raise
        except Exception:
            call.outcome = "failed"
            raise
        finally:
            call.latency_ms = (anyio.current_time() - started) * 1000
            _report(call)


def _report(call: ModelCall) -> None:
    step = current_step()  # None by now if the call outlived its attempt
    if step is None or not on_thread_of_run(step):
        return
    usage = call.usage or TokenUsage()
    counted: dict[str, JSONValue] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    data: dict[str, JSONValue] = {
        "provider": call.provider,
        "model": call.model,
        "attempt": step.attempt,
        "outcome": call.outcome,
        "latency_ms": call.latency_ms,
        "usage": counted,
    }
    if step.index is not None:
        data["item"] = step.index
    report(step, LLMCall, EventLevel.INFO if call.error is None else EventLevel.WARN, data)
