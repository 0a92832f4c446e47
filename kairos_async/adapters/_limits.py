"""What a call to a model passes before it is sent: the budgets of its run, then the governor of its event loop.

The budget comes first, because it refuses at once, while the governor may keep a call waiting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Final, Protocol

import anyio.to_thread

from kairos_async._types import TokenUsage
from kairos_async.account import limited_resources
from kairos_async.adapters import prices
from kairos_async.adapters.governor import current_governor
from kairos_async.adapters.model import Message, ModelRequest
from kairos_async.context import current_spender, current_urgency
from kairos_async.contracts.contract import JSONSchema
from kairos_async.estimate import text_tokens
from kairos_async.exceptions import ConfigError, ModelError, ModelStopError
from kairos_async.reservation import Reservation, reserve_call

TOKENS_A_MESSAGE: Final = 8

_LIKELY_ANSWER: Final = 1024
"""Tokens that a governor expects of an answer without a greatest length, until it has seen some."""


class Limited(Protocol):
    """What is looked at of a call; see `ModelCall`."""

    provider: str
    model: str
    request: ModelRequest
    max_tokens: int | None
    usage: TokenUsage | None
    limits: Mapping[str, str]
    error: ModelError | None
    outcome: str


def prompt_tokens(request: ModelRequest) -> int:
    """How many tokens the prompt has at most; see `text_tokens`."""
    return messages_tokens(request.messages) + schema_tokens(request.schema)


def messages_tokens(messages: Collection[Message]) -> int:
    """How many tokens the messages have at most."""
    parts = [part for message in messages for part in message.parts]
    return sum(map(text_tokens, parts)) + TOKENS_A_MESSAGE * len(messages)


def schema_tokens(schema: JSONSchema | None) -> int:
    """What asking for answers of this schema adds."""
    return 0 if schema is None else text_tokens(str(schema))


@asynccontextmanager
async def limited(call: Limited) -> AsyncIterator[None]:
    """Hold what the call may use, in the budgets and with the governor; settle both once it ended, in any way.

    Raises:
        BudgetExceeded: a budget does not allow for the call.
        ConfigError: a budget limits what is not known of the call.
        ModelUnavailableError, ModelRateLimitError: the governor sends nothing to this model now.
    """
    if not prices.ready():
        await anyio.to_thread.run_sync(prices.prepare)
    spender = current_spender()
    if spender is None:
        async with _governed(call):
            yield
        return
    sent = False
    async with reserve_call(spender, *_most(call, limited_resources(spender))) as reservation:
        try:
            async with _governed(call):
                sent = True
                yield
        finally:
            _settle(call, reservation) if sent else reservation.release()


@asynccontextmanager
async def _governed(call: Limited) -> AsyncIterator[None]:
    governor = current_governor()
    if governor is None:
        yield
        return
    tokens = prompt_tokens(call.request) + (call.max_tokens or _LIKELY_ANSWER)
    async with governor.admit(call.provider, call.model, tokens, current_urgency()) as admission:
        try:
            yield
        finally:
            admission.headers = call.limits
            if call.usage is not None:
                admission.used = call.usage.total_tokens


def _most(call: Limited, resources: frozenset[str]) -> tuple[int | None, Decimal | None]:
    """The tokens and the dollars that the call may use at most, as far as a budget limits them."""
    measured = resources & {"tokens", "cost_usd"}
    if not measured:
        return None, None
    if call.max_tokens is None:
        raise ConfigError(
            f"A budget limits {max(measured)}, and the answers of model {call.model!r} of {call.provider} have no "
            "greatest length: give its adapter max_tokens."
        )
    read = prompt_tokens(call.request)
    dollars = None
    if "cost_usd" in resources:
        dollars = prices.cost_of(call.provider, call.model, read, call.max_tokens)
        if dollars is None:
            raise ConfigError(prices.why_unknown(call.provider, call.model))
    return read + call.max_tokens, dollars


def _settle(call: Limited, reservation: Reservation) -> None:
    usage = call.usage
    if usage is not None and (call.outcome == "ok" or isinstance(call.error, ModelStopError)):
        cost = prices.cost(call.provider, call.model, usage)
        if cost is None and usage.estimated_cost_usd is not None:
            cost = Decimal(str(usage.estimated_cost_usd))
        reservation.settle(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cost_usd=cost)
    elif usage is None and call.error is not None and call.error.status not in (None, 200):
        reservation.settle(input_tokens=0, output_tokens=0, cost_usd=0)  # an error is not charged
    else:  # cut off: what was written until then may be told, not what was written after
        reservation.settle(input_tokens=None if usage is None else usage.input_tokens)
