"""The pieces by themselves: waits that servers ask for, server-sent events, schemas in providers' subsets."""

from __future__ import annotations

import itertools
import json
from typing import Any, cast

import httpx
import httpx2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from kairos_async import (
    ModelQuotaError,
    ModelRateLimitError,
    ModelTimeoutError,
    ModelTruncatedError,
    ModelUnavailableError,
)
from kairos_async.adapters import Message, ModelRequest, StopReason, partial_json
from kairos_async.adapters._errors import Origin, of_status, retry_after
from kairos_async.adapters._http import Reply
from kairos_async.adapters._sse import Events
from kairos_async.adapters._structured import Shape, for_anthropic, for_openai
from kairos_async.contracts.contract import JSONSchema
from tests.adapters.providers import OPENAI, Provider
from tests.clocks import run_virtual

ORIGIN = Origin("some", "model")

RETRY_INFO = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30.5s"},
        ],
    }
}
DATE = "Wed, 25 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"retry-after": "7"}, None, 7.0),
        ({"retry-after": "1.5"}, None, 1.5),
        ({"retry-after": "0"}, None, 0.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, None, 0.25),
        ({"retry-after": "Wed, 25 Nov 2026 10:00:20 GMT", "date": DATE}, None, 20.0),
        ({"retry-after": "Wed, 25 Nov 2026 09:00:00 GMT", "date": DATE}, None, 0.0),
        ({"retry-after": "Wednesday, 25-Nov-26 10:00:20 GMT", "date": DATE}, None, 20.0),
        ({}, RETRY_INFO, 30.5),
        ({"retry-after": "7"}, RETRY_INFO, 30.5),
        ({}, [RETRY_INFO], 30.5),
        ({}, None, None),
        ({"retry-after": "soon"}, None, None),
        ({"retry-after": "-1"}, None, None),
        ({"retry-after": "nan"}, None, None),
        ({"retry-after": "inf"}, None, None),
        ({"retry-after": "9" * 1000}, None, None),
        ({"retry-after-ms": "x", "retry-after": "3"}, None, 3.0),
    ],
)
def test_every_form_of_retry_after(headers: dict[str, str], body: object, expected: float | None) -> None:
    """Milliseconds, seconds, dates by the server's own clock, and what Gemini puts into the body."""
    assert retry_after(headers, b"" if body is None else json.dumps(body).encode()) == expected


@settings(max_examples=40)
@example(b'"RetryInfo"', "")
@example(b'[1, "RetryInfo"]', "")
@given(st.binary(max_size=60).map(lambda rest: b'{"error": "RetryInfo' + rest), st.text(max_size=30))
def test_any_error_is_understood(body: bytes, header: str) -> None:
    """Whatever a server answers, it becomes an error, and nothing else is raised."""
    error = of_status(ORIGIN, 429, {"retry-after": header}, body)
    assert type(error) is ModelRateLimitError


def test_what_a_retry_can_help() -> None:
    """Not an empty account, not a pause of minutes, and not what the server says is hopeless."""
    empty = json.dumps({"error": {"code": "insufficient_quota"}}).encode()
    assert type(of_status(ORIGIN, 429, {}, empty)) is ModelQuotaError
    assert of_status(ORIGIN, 429, {}, empty).retryable is False
    assert of_status(ORIGIN, 429, {"retry-after": "120"}, b"").retryable is True
    long = of_status(ORIGIN, 429, {"retry-after": "3600"}, b"")
    assert (long.retryable, long.retry_after) == (False, 3600)
    assert of_status(ORIGIN, 500, {"x-should-retry": "false"}, b"").retryable is False
    assert type(of_status(ORIGIN, 599, {}, b"")) is ModelUnavailableError


async def events_in(pieces: list[bytes], longest: int = 1000) -> list[tuple[str, bytes]]:
    """Return the events in a body that comes in these pieces."""

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            for piece in pieces:
                yield piece

    response = httpx.Response(200, stream=Body())
    reply = Reply(ORIGIN, response, limit=10_000, deadline=1e9, seconds=1e9)
    events, found = Events(reply, longest), []
    while (event := await events.next()) is not None:
        found.append((event.name, event.data))
    return found


BODY = (
    b"\xef\xbb\xbfdata: a\n\n"
    b": a comment\r\n\r\n"
    b'event: named\r\ndata: {"x": 1}\r\ndata:two\r\n\r\n'
    b"event: nothing\n\nid: 3\nretry: 5\ndata\ndata: \xe2\x82\xac\r\r"
    b'{"error": "bare"}\n'
    b"data: cut off\n"
)
FOUND = [("", b"a"), ("named", b'{"x": 1}\ntwo'), ("", b"\n\xe2\x82\xac"), ("bare", b'{"error": "bare"}')]


@settings(max_examples=40)
@given(st.lists(st.integers(0, len(BODY)), max_size=8))
def test_events_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    """Lines end in any of the three ways, names and data may come in any order, and pieces end anywhere."""
    places = sorted({0, len(BODY), *cuts})
    pieces = [BODY[a:b] for a, b in itertools.pairwise(places)]
    found = run_virtual(events_in, pieces)
    assert found == FOUND


class Inner(BaseModel):
    """A part of another model."""

    a: int
    b: str | None = None


class Outer(BaseModel):
    """With fields that may be left out."""

    inner: Inner
    many: list[Inner] = []
    note: str = "none"
    maybe: int | None = None


def test_what_may_be_absent_may_be_null_on_the_wire() -> None:
    """OpenAI wants every property; a null for one that may be left out is left out again, others stay."""
    shape = for_openai(cast(JSONSchema, Outer.model_json_schema()))
    assert shape.sent["required"] == ["inner", "many", "note", "maybe"]
    inner: Any = {"a": 1, "b": None}
    answer: Any = {"inner": inner, "many": None, "note": None, "maybe": None}
    assert shape.restore(answer, json.dumps(answer)) == {"inner": inner, "maybe": None}
    answer["many"] = [inner]
    assert Outer.model_validate(shape.restore(answer, json.dumps(answer))).many == [Inner(a=1)]


def test_what_is_no_object_is_wrapped() -> None:
    """Providers want an object at the root; a list comes back as a list, and the model's definitions still hold."""
    schema: JSONSchema = {
        "type": "array",
        "items": {"$ref": "#/$defs/I"},
        "$defs": {"I": {"type": "integer", "minimum": 3}},
    }
    for make in (for_openai, for_anthropic):
        shape: Shape = make(schema)
        assert shape.sent["type"] == "object"
        assert shape.restore({"value": [3, 4]}, "") == [3, 4]
        assert "$defs" in shape.sent


def test_hints_for_what_anthropic_drops() -> None:
    """Rules that it cannot enforce become words; the contract checks them here."""
    sent = cast(Any, for_anthropic({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}}).sent)
    assert sent["properties"]["n"] == {"type": "integer", "description": "{minimum: 3}"}
    assert sent["additionalProperties"] is False


def test_partial_json() -> None:
    """The beginning of an answer is data already."""
    assert partial_json('{"title": "On mo') == {"title": "On mo"}
    assert partial_json('{"a": [1, 2') == {"a": [1, 2]}
    assert partial_json("nothing").__class__.__name__ == "_Missing"


@pytest.mark.usefixtures("keys")
async def test_usage_and_text_in_our_words(provider: Provider) -> None:
    """Thinking is no text, cached and reasoning tokens are counted in, the model is the one that answered."""
    answer = await provider.answering(lambda _: httpx.Response(200, json=provider.answer("Yes."))).call("Is it?")
    assert answer.text == "Yes."
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (13, 5, 18)
    assert answer.usage.cached_input_tokens == (None if provider.name == "gemini" else 3)
    assert answer.model.endswith("that-answered")
    assert answer.stop is StopReason.END


@pytest.mark.usefixtures("keys")
async def test_servers_that_say_less() -> None:
    """No usage, no model, no reason to stop, no [DONE]: what is there is used, and a cut stream is still seen."""
    plain = {"choices": [{"message": {"content": "Hi"}}]}
    answer = await OPENAI.answering(lambda _: httpx.Response(200, json=plain)).call("Hello")
    assert (answer.text, answer.usage.total_tokens, answer.model) == ("Hi", None, "some-model")
    events = OPENAI.events("H", "i")
    async with OPENAI.answering(lambda _: httpx.Response(200, content=b"".join(events[:-1]))).stream("Hello") as stream:
        assert [piece async for piece in stream] == ["H", "i"]
    async with OPENAI.answering(lambda _: httpx.Response(200, content=b"".join(events[:-3]))).stream("Hello") as stream:
        with pytest.raises(ModelTruncatedError):
            [piece async for piece in stream]


@pytest.mark.usefixtures("keys")
async def test_json_mode_and_prompts_instead_of_schemas() -> None:
    """For servers that take no schema, it is in the prompt; fences around answers are taken off."""
    seen: list[dict[str, Any]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        return httpx.Response(200, json=OPENAI.answer('```json\n{"a": 1}\n```'))

    for structured in ("json", "prompt"):
        answer = await OPENAI.answering(handler, structured=structured).call("Which?", contract=Inner)
        assert answer.parsed == {"a": 1, "b": None}
    assert [body.get("response_format") for body in seen] == [{"type": "json_object"}, None]
    assert all("JSON Schema" in body["messages"][0]["content"][1]["text"] for body in seen)


@pytest.mark.usefixtures("keys")
async def test_a_stream_that_nobody_reads_on(provider: Provider) -> None:
    """Leaving it early closes it; it has no response then."""
    adapter = provider.answering(lambda _: httpx.Response(200, content=b"".join(provider.events("a", "b"))))
    async with adapter.stream(ModelRequest((Message("user", ("Hi",)),))) as stream:
        assert await anext(aiter(stream)) == "a"
        assert stream.text == "a"
    with pytest.raises(Exception, match="read to its end"):
        _ = stream.response


@pytest.mark.usefixtures("keys")
async def test_a_client_of_another_library(provider: Provider) -> None:
    """One of httpx2 does the same, and its errors are understood by the names of their classes."""
    answers: list[Any] = [
        httpx2.Response(200, json=provider.answer("Yes.")),
        httpx2.Response(200, content=b"".join(provider.events("Y", "es."))),
        httpx2.ConnectTimeout("late"),
    ]

    def handler(_: httpx2.Request) -> httpx2.Response:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, httpx2.Response)
        return answer

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(handler))
    adapter = provider.adapter("m", client=client)
    assert (await adapter.call("Is it?")).text == "Yes."
    async with adapter.stream("Is it?") as stream:
        assert [piece async for piece in stream] == ["Y", "es."]
    with pytest.raises(ModelTimeoutError, match="no connection in time"):
        await adapter.call("Is it?")
    assert not client.is_closed
    await client.aclose()
