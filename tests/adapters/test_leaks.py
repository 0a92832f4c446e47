"""No key, no part of a prompt, nothing of a provider's answer in any error, event, export or repr, however it fails."""

from __future__ import annotations

import json
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from kairos_async import Event, FailureAction, FailurePolicy, ModelError, Step, Workflow, WorkflowStatus
from kairos_async.adapters._adapter import HTTPAdapter
from kairos_async.adapters.prompt import ask
from tests.adapters.providers import GEMINI, KEY, PROVIDERS, Provider, sse

PROMPT = "canary-prompt-51c0e7"
BODY = "canary-body-77d2ab"
QUOTING = f"Incorrect key {KEY} for {PROMPT}: {BODY}"

Answering = Callable[[Provider, httpx.Request], httpx.Response]


class Pieces(httpx.AsyncByteStream):
    """A body that comes in pieces, and may break."""

    def __init__(self, pieces: list[bytes], error: Exception | None = None) -> None:
        self._pieces = pieces
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._error is not None:
            raise self._error


def streaming(request: httpx.Request) -> bool:
    """Whether a request asks for a stream."""
    return "streamGenerateContent" in str(request.url) or json.loads(request.content).get("stream", False)


def status(code: int) -> Answering:
    """Answer with an error that quotes everything."""

    def answer(provider: Provider, _: httpx.Request) -> httpx.Response:
        headers = {"location": f"https://example.com/{KEY}"}
        return httpx.Response(code, json=provider.error(code, QUOTING), headers=headers)

    return answer


def raising(error: Callable[[str], Exception]) -> Answering:
    """Fail to send, with an exception of the HTTP client that quotes the headers."""

    def answer(_: Provider, __: httpx.Request) -> httpx.Response:
        raise error(QUOTING)

    return answer


def raw(content: bytes, code: int = 200) -> Answering:
    """Answer with these bytes."""

    def answer(_: Provider, __: httpx.Request) -> httpx.Response:
        return httpx.Response(code, content=content)

    return answer


def stopping(stop: str) -> Answering:
    """Answer with something that is no answer."""

    def answer(provider: Provider, request: httpx.Request) -> httpx.Response:
        known = stop if (stop, provider.name) in STOPPING else "length"
        if streaming(request):
            return httpx.Response(200, content=b"".join(provider.events(QUOTING, stop=known)))
        return httpx.Response(200, json=provider.answer(QUOTING, stop=known))

    return answer


STOPPING = {("length", p.name) for p in PROVIDERS} | {
    ("refusal", "anthropic"),
    ("filter", "openai"),
    ("filter", "gemini"),
}


def broken_off(provider: Provider, request: httpx.Request) -> httpx.Response:
    """Send the beginning of an answer, then lose the connection."""
    if streaming(request):
        pieces = provider.events(QUOTING, stop=None)
    else:
        pieces = [json.dumps(provider.answer(QUOTING)).encode()[:60]]
    return httpx.Response(200, stream=Pieces(pieces, httpx.RemoteProtocolError(QUOTING)))


def cut(provider: Provider, request: httpx.Request) -> httpx.Response:
    """End a stream, or the JSON of an answer, in the middle, without an error."""
    if streaming(request):
        return httpx.Response(200, content=b"".join(provider.events(QUOTING, stop=None)))
    return httpx.Response(200, content=json.dumps(provider.answer(QUOTING)).encode()[:-20])


def error_inside(provider: Provider, request: httpx.Request) -> httpx.Response:
    """Report an error in the middle of a stream."""
    body = provider.error(500, QUOTING)
    if not streaming(request):
        return httpx.Response(500, json=body)
    last = json.dumps(body).encode() + b"\n" if provider is GEMINI else sse(body, body.get("type", ""))
    return httpx.Response(200, content=b"".join([*provider.events(QUOTING, stop=None), last]))


PATHS: dict[str, Answering] = {
    **{f"status {code}": status(code) for code in (301, 400, 401, 402, 403, 404, 413, 422, 429, 500, 503, 529)},
    "illegal header": raising(httpx.LocalProtocolError),
    "no connection": raising(httpx.ConnectError),
    "connect timeout": raising(httpx.ConnectTimeout),
    "read timeout": raising(httpx.ReadTimeout),
    "pool timeout": raising(httpx.PoolTimeout),
    "reset": raising(httpx.ReadError),
    "bug of a client": raising(RuntimeError),
    "no JSON": raw(QUOTING.encode()),
    "no JSON, error": raw(QUOTING.encode(), 500),
    "another shape": raw(json.dumps({"choices": QUOTING, "content": QUOTING, "candidates": QUOTING}).encode()),
    "bad event": raw(sse(QUOTING)),
    "long": raw(QUOTING.encode() * 1000),
    "length": stopping("length"),
    "refusal": stopping("refusal"),
    "filter": stopping("filter"),
    "broken off": broken_off,
    "cut": cut,
    "error inside": error_inside,
}


def everything(error: BaseException) -> Iterator[str]:
    """Yield all that an exception shows of itself."""
    yield from (str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error)))


def assert_clean(texts: list[str]) -> None:
    """Fail if a canary is in one of the texts, whatever its form."""
    for text in texts:
        for canary in (KEY, PROMPT, BODY):
            assert canary not in text
            assert canary.encode().hex() not in text


async def ask_once(adapter: HTTPAdapter, *, stream: bool) -> None:
    """Make one call, and read all of its answer."""
    if not stream:
        await adapter.call(PROMPT)
        return
    async with adapter.stream(PROMPT) as answer:
        async for _ in answer:
            pass


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("path", PATHS)
async def test_nothing_leaks(path: str) -> None:
    """Direct calls, and a step with a retry, over every way in which a call can fail, for every provider."""
    for provider in PROVIDERS:
        for stream in (False, True):
            await fails_cleanly(provider, PATHS[path], stream=stream)


async def fails_cleanly(provider: Provider, answering: Answering, *, stream: bool) -> None:
    """Fail in this way, directly and in a workflow, and look at all that can be seen of it."""
    sent: list[bool] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(KEY in str(request.headers.raw) and PROMPT in request.content.decode())
        return answering(provider, request)

    adapter = provider.answering(handler, longest_answer=20_000)
    with pytest.raises(ModelError) as raised:
        await ask_once(adapter, stream=stream)
    error = raised.value
    assert error.__cause__ is None
    assert error.__context__ is None
    texts = [*everything(error), repr(adapter)]

    events: list[Event] = []
    retry = FailurePolicy(on_execution_fail=FailureAction.RETRY, max_retries=1)
    step = Step("asks", ask("Look at {text}.", adapter, stream=stream), failure_policy=retry)
    workflow = Workflow("leaks", [step], hooks=[events.append])
    result = await workflow.run({"text": PROMPT})
    assert result.status is WorkflowStatus.FAILED
    exported = result.to_dict()
    exported["final_state"] = None  # the run's own input is in there, and no secret
    texts += [repr(event) for event in events if event.event_type != "llm_delta"]
    texts += [json.dumps(exported), repr(result), repr(step), repr(step.action), repr(workflow)]
    assert_clean(texts)
    # What streamed in is the model's to say; of the run's secrets there is nothing in it.
    assert KEY not in "".join(str(e.data["text"]) for e in events if e.event_type == "llm_delta")
    assert result.llm_calls == (2 if error.retryable else 1)
    assert sent == [True] * (1 + result.llm_calls)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_echoed_key_stays_inside(provider: Provider, stream: bool) -> None:
    """A model that says the key does not get it into events, exports or the state of the run."""
    pieces = ["Your key is ", KEY[:7], KEY[7:], ", is it not?"]

    def handler(request: httpx.Request) -> httpx.Response:
        if streaming(request):
            return httpx.Response(200, content=b"".join(provider.events(*pieces)))
        return httpx.Response(200, json=provider.answer("".join(pieces)))

    events: list[Event] = []
    step = Step("asks", ask("Say it.", provider.answering(handler), stream=stream))
    result = await Workflow("echo", [step], hooks=[events.append]).run({})
    shown: list[Any] = [*map(repr, events), json.dumps(result.to_dict()), repr(result)]
    assert all(KEY not in text for text in shown)
    assert any(event.event_type == "llm_delta" for event in events) is stream
