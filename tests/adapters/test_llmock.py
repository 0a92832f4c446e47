"""The adapters against llmock, a mock of the providers that others wrote: its faults, and its verdict on the client."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from llmock.pytest_plugin import LLMock
from llmock.scenarios import Behavior, Fail, Match, Reply, StreamFault
from pydantic import BaseModel, Field

from kairos_async import (
    FailurePolicy,
    ModelAuthError,
    ModelError,
    ModelFilterError,
    ModelLengthError,
    ModelRateLimitError,
    ModelRefusalError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
    Step,
    Workflow,
    WorkflowStatus,
)
from kairos_async.adapters import ModelAdapter, ModelResponse, StopReason
from kairos_async.adapters._http import Timeouts
from kairos_async.adapters.prompt import ask
from tests.adapters.providers import GEMINI, Provider

pytestmark = [pytest.mark.real_time, pytest.mark.anyio]

PATIENT = FailurePolicy(max_retries=3, retry_delay=0.3, retry_backoff=3.0)
"""The mock has to see an attempt end before the next begins, or its verdict takes them for two calls."""


class Invoice(BaseModel):
    """What structured answers are."""

    name: str
    count: int = Field(ge=1)


async def read(adapter: ModelAdapter, prompt: str, **more: Any) -> tuple[list[str], ModelResponse]:
    """Return the pieces of a streamed answer, and the whole."""
    async with adapter.stream(prompt, **more) as stream:
        pieces = [piece async for piece in stream]
        return pieces, stream.response


async def test_text_usage_and_streaming(llmock: LLMock, provider: Provider) -> None:
    """A call and a stream give the same text, model, reason to stop and usage."""
    adapter = provider.at(llmock.base_url(provider.name))
    whole = await adapter.call("How are you?")
    pieces, streamed = await read(adapter, "How are you?")
    assert len(pieces) > 1
    assert "".join(pieces) == streamed.text == whole.text != ""
    assert streamed.usage == whole.usage
    assert whole.usage.known
    assert (whole.model, whole.provider, whole.stop) == ("some-model", provider.name, StopReason.END)
    llmock.assert_resilient(strict=True)


async def test_structured_output(llmock: LLMock, provider: Provider) -> None:
    """The answer is parsed and checked by the contract."""
    llmock.reply('{"name": "bolts", "count": 3}')
    answer = await provider.at(llmock.base_url(provider.name)).call("What is on it?", contract=Invoice)
    assert answer.parsed == {"name": "bolts", "count": 3}
    llmock.assert_resilient(strict=True)


TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: dict[str, Any] = {
    "anthropic": {"tools": [{"name": "weather", "description": "of a city", "input_schema": TOOL}]},
    "openai": {"tools": [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]},
    "gemini": {"tools": [{"functionDeclarations": [{"name": "weather", "parameters": TOOL}]}]},
}


async def test_tool_calls(llmock: LLMock, provider: Provider) -> None:
    """A call of a tool is no text; its arguments are parsed, also from the pieces of a stream."""
    llmock.call_tool("weather", {"city": "Paris"}, times=2)
    adapter = provider.at(llmock.base_url(provider.name))
    whole = await adapter.call("What is the weather?", options=TOOLS[provider.name])
    pieces, streamed = await read(adapter, "What is the weather?", options=TOOLS[provider.name])
    assert pieces == []
    for answer in (whole, streamed):
        assert (answer.stop, answer.text) == (StopReason.TOOL_CALLS, "")
        assert [(call.name, call.arguments) for call in answer.tool_calls] == [("weather", {"city": "Paris"})]
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize(("reason", "expected"), [("length", ModelLengthError), ("content_filter", ModelError)])
async def test_stops_that_are_no_answers(
    llmock: LLMock, provider: Provider, reason: str, expected: type[ModelError]
) -> None:
    """They are errors of their own, with the usage that was paid for, and none of the text."""
    llmock.add(Reply(text="half of an ans", finish_reason=reason, times=2))
    adapter = provider.at(llmock.base_url(provider.name))
    with pytest.raises(expected) as whole:
        await adapter.call("Go on")
    with pytest.raises(expected) as streamed:
        await read(adapter, "Go on")
    if reason == "content_filter":
        assert type(whole.value) is (ModelRefusalError if provider.name == "anthropic" else ModelFilterError)
    for error in (whole.value, streamed.value):
        assert error.usage is not None
        assert error.usage.known
        assert "half" not in str(error)
    assert type(whole.value) is type(streamed.value)


STATUSES: dict[int, type[ModelError]] = {
    400: ModelRequestError,
    401: ModelAuthError,
    403: ModelAuthError,
    404: ModelRequestError,
    408: ModelTimeoutError,
    413: ModelRequestError,
    422: ModelRequestError,
    429: ModelRateLimitError,
    500: ModelUnavailableError,
    502: ModelUnavailableError,
    503: ModelUnavailableError,
    504: ModelTimeoutError,
    529: ModelUnavailableError,
}


async def test_every_status_is_its_error(llmock: LLMock, provider: Provider) -> None:
    """The class says what is wrong, `retryable` whether to try again, `retry_after` when."""
    adapter = provider.at(llmock.base_url(provider.name))
    for status, expected in STATUSES.items():
        llmock.fail(status, retry_after=7 if status == 429 else None, times=2)
        with pytest.raises(ModelError) as whole:
            await adapter.call(f"Say {status}")
        with pytest.raises(ModelError) as streamed:
            await read(adapter, f"Say {status}")
        for error in (whole.value, streamed.value):
            assert type(error) is expected, status
            assert error.status == status
            assert error.retryable is (status in (408, 429) or status >= 500)
            if status == 429:
                assert error.retry_after == 7
            assert error.__cause__ is None
            assert error.__context__ is None


async def test_too_long_a_prompt(llmock: LLMock, provider: Provider) -> None:
    """It is refused without a retry."""
    llmock.context_overflow()
    with pytest.raises(ModelRequestError) as raised:
        await provider.at(llmock.base_url(provider.name)).call("x")
    assert raised.value.retryable is False


def faults(provider: str) -> dict[str, Behavior]:
    """Return one transient fault for each model of that name."""

    def only(model: str) -> Match:
        return Match(provider=provider, model=model)

    def stream(kind: Any, **more: Any) -> StreamFault:
        return StreamFault(kind, after_chunks=2, match=only(kind), **more)

    return {
        "limited": Fail(429, retry_after=0.3, match=only("limited")),
        "broken": Fail(500, match=only("broken"), times=2),
        "overloaded": Fail(529, match=only("overloaded"), retry_after=0.1),
        "down": Fail(503, match=only("down"), retry_after=0.1),
        "disconnect": stream("disconnect"),
        "truncate": stream("truncate"),
        "malformed": stream("malformed"),
        "stall": stream("stall", stall_seconds=1.0),
    }


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it waits for seconds, and others run calls on trio
async def test_a_workflow_survives_every_transient_fault(llmock: LLMock, provider: Provider) -> None:
    """Retries wait as they are asked to, no cut stream is taken for an answer: the strict verdict is clean."""
    wanted = faults(provider.name)
    llmock.add(*wanted.values())
    llmock.pace(50)  # slow enough for the mock to see that its malformed chunk was the last one that was read
    base_url, timeouts = llmock.base_url(provider.name), Timeouts(read=0.4)
    steps = [
        Step(
            model,
            ask(
                f"Tell me of {model}.",
                provider.at(base_url, model, timeouts=timeouts),
                stream=True,
            ),
            failure_policy=PATIENT,
        )
        for model in wanted
    ]
    result = await Workflow("faults", steps).run({})
    assert result.status is WorkflowStatus.COMPLETE, result.to_dict()
    attempts = {name: len(step.attempts) for name, step in result.step_results.items()}
    assert attempts == dict.fromkeys(wanted, 2) | {"broken": 3}
    assert result.llm_calls == sum(attempts.values())
    llmock.assert_resilient(strict=True)


async def test_what_cannot_get_better_is_not_retried(llmock: LLMock, provider: Provider) -> None:
    """One request for each step; the step fails with the error as data."""
    statuses = (400, 401, 403, 404, 422)
    llmock.add(*(Fail(s, match=Match(provider=provider.name, model=f"m{s}"), times=None) for s in statuses))
    steps = [
        Step(f"m{s}", ask("Hello.", provider.at(llmock.base_url(provider.name), f"m{s}")), failure_policy=PATIENT)
        for s in statuses
    ]
    for step in steps:
        result = await Workflow("refused", [step]).run({})
        assert result.status is WorkflowStatus.FAILED
        assert len(result.step_results[step.name].attempts) == 1
    assert len(llmock.requests) == len(statuses)
    llmock.assert_resilient(strict=True)


async def test_a_slow_answer_is_a_timeout(llmock: LLMock, provider: Provider) -> None:
    """The read timeout bounds the wait for the first byte, the total one everything."""
    llmock.delay(1.0, times=2)
    base_url = llmock.base_url(provider.name)
    for timeouts in (Timeouts(read=0.1), Timeouts(total=0.1)):
        with pytest.raises(ModelTimeoutError) as raised:
            await provider.at(base_url, timeouts=timeouts).call("Hello?")
        assert raised.value.retryable


async def call_often(adapter: ModelAdapter) -> None:
    """Make more calls than a quota of one a minute allows."""
    for word in ("One", "Two", "Three"):
        await adapter.call(word)


async def test_quotas_and_their_headers(llmock: LLMock, provider: Provider) -> None:
    """A refused request says how long to wait, and the answers' rate-limit headers are kept for who meters."""
    llmock.limits(rpm=1)
    adapter = provider.at(llmock.base_url(provider.name))
    with pytest.raises(ModelRateLimitError) as raised:
        await call_often(adapter)
    assert raised.value.retry_after is not None
    assert raised.value.retry_after > 1


async def test_many_calls_at_once(llmock: LLMock, provider: Provider) -> None:
    """Twenty items of a foreach make twenty requests."""
    adapter = provider.at(llmock.base_url(provider.name))
    step = Step("say", ask("Say {item}.", adapter), foreach="words")
    with anyio.fail_after(10):
        result = await Workflow("many", [step]).run({"words": [f"word{n}" for n in range(20)]})
    output = result.output
    assert isinstance(output, list)
    assert all(isinstance(answer, dict) and answer["text"] for answer in output)
    assert result.llm_calls == len(output) == len(llmock.requests) == 20
    llmock.assert_resilient(strict=True)


async def test_the_api_version_of_gemini_is_a_setting(llmock: LLMock) -> None:
    """The server has v1beta alone."""
    base_url = llmock.base_url("gemini")
    assert (await GEMINI.at(base_url).call("Hi")).text
    with pytest.raises(ModelRequestError, match="no such API"):
        await GEMINI.at(base_url, api_version="v1").call("Hi")
