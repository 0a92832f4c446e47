"""Request bodies and paths equal in meaning to those of the providers' own SDKs, for the same call.

The SDKs are pointed at a recorder on loopback; ours goes to the same one. What each sends is compared as data.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import anyio
import openai
import pytest
from google import genai
from google.genai import types as genai_types
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field

from kairos_async.adapters import Message, ModelRequest
from tests.adapters.providers import ANTHROPIC, GEMINI, OPENAI, Provider


class Address(BaseModel):
    """A part of another model, for `$ref`."""

    street: str
    number: int | None


class Person(BaseModel):
    """A model with what schemas are made of."""

    name: str = Field(description="as in the passport", min_length=1, max_length=80)
    age: int = Field(ge=0, le=150)
    kind: Literal["child", "adult"]
    home: Address
    others: list[Address] = Field(min_length=1)
    nickname: str | None
    score: float | int


PERSON = json.dumps(
    {
        **{"name": "a", "age": 1, "kind": "adult", "home": {"street": "b", "number": 1}},
        **{"others": [{"street": "c", "number": None}], "nickname": None, "score": 1},
    }
)
Seen = list[tuple[str, dict[str, Any], dict[str, str]]]


class Recorder(http.server.BaseHTTPRequestHandler):
    """Remembers each request, and answers in whatever format its path is of."""

    seen: Seen

    def do_POST(self) -> None:
        """Answer a call."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append((self.path, body, {name.lower(): value for name, value in self.headers.items()}))
        provider = ANTHROPIC if "messages" in self.path else OPENAI if "chat" in self.path else GEMINI
        streaming = body.get("stream") or "streamGenerateContent" in self.path
        content = b"".join(provider.events(PERSON)) if streaming else json.dumps(provider.answer(PERSON)).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if streaming else "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Seen]]:
    """Return the URL of a recorder, and the list of what it has seen."""
    seen: Seen = []
    handler = type("Handler", (Recorder,), {"seen": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{made.server_address[1]}", seen
        made.shutdown()
        thread.join()


REQUEST = ModelRequest(
    (
        Message("system", ("Be brief.",)),
        Message("user", ("Who is it?",)),
        Message("assistant", ("Somebody.",)),
        Message("user", ("Really?", "Again, by the rules.")),
    ),
    max_tokens=77,
)
PARTS = [{"type": "text", "text": "Really?"}, {"type": "text", "text": "Again, by the rules."}]
TURNS = [
    {"role": "user", "content": "Who is it?"},
    {"role": "assistant", "content": "Somebody."},
    {"role": "user", "content": PARTS},
]


def by_anthropic(url: str, how: str) -> None:
    """Make the call with the SDK of Anthropic."""
    with anthropic.Anthropic(base_url=url, api_key="sdk-key", max_retries=0) as client:
        if how == "structured":
            client.messages.parse(
                model="m", max_tokens=77, messages=[{"role": "user", "content": "Who?"}], output_format=Person
            )
            return
        made = client.messages.create(
            model="m",
            max_tokens=77,
            system="Be brief.",
            messages=TURNS,  # type: ignore[arg-type]
            stream=how == "streamed",
        )
        if isinstance(made, anthropic.Stream):
            list(made)


def by_openai(url: str, how: str) -> None:
    """Make the call with the SDK of OpenAI."""
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": "Be brief."}, *TURNS]  # type: ignore[list-item]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="sdk-key", max_retries=0) as client:
        if how == "structured":
            client.chat.completions.parse(
                model="m", max_tokens=77, messages=[{"role": "user", "content": "Who?"}], response_format=Person
            )
        elif how == "streamed":
            options: Any = {"include_usage": True}
            list(
                client.chat.completions.create(
                    model="m", max_tokens=77, messages=messages, stream=True, stream_options=options
                )
            )
        else:
            client.chat.completions.create(model="m", max_tokens=77, messages=messages)


def by_google(url: str, how: str) -> None:
    """Make the call with the SDK of Google."""
    options = genai_types.HttpOptions(base_url=url, api_version="v1beta")
    client = genai.Client(api_key="sdk-key", http_options=options)
    if how == "structured":
        config = genai_types.GenerateContentConfig(
            max_output_tokens=77,
            response_mime_type="application/json",
            response_json_schema=Person.model_json_schema(),
        )
        client.models.generate_content(model="m", contents="Who?", config=config)
        return
    roles = {"user": "user", "assistant": "model"}
    contents = [
        genai_types.Content(role=roles[m.role], parts=[genai_types.Part(text=part) for part in m.parts])
        for m in REQUEST.messages[1:]
    ]
    config = genai_types.GenerateContentConfig(system_instruction="Be brief.", max_output_tokens=77)
    if how == "streamed":
        list(client.models.generate_content_stream(model="m", contents=contents, config=config))
    else:
        client.models.generate_content(model="m", contents=contents, config=config)


SDKS = {"anthropic": by_anthropic, "openai": by_openai, "gemini": by_google}
KEY_HEADERS = {"anthropic": "x-api-key", "openai": "authorization", "gemini": "x-goog-api-key"}


def in_meaning(value: Any) -> Any:
    """Return a body without what says nothing: names of forms, a default written out, the order of required keys."""
    if isinstance(value, list):
        return [in_meaning(part) for part in value]
    if not isinstance(value, dict):
        return value
    kept = {key: in_meaning(part) for key, part in value.items() if not (key == "stream" and part is False)}
    if isinstance(kept.get("json_schema"), dict):
        del kept["json_schema"]["name"]
    if isinstance(kept.get("required"), list):
        kept["required"] = sorted(kept["required"])
    return kept


async def by_us(provider: Provider, url: str, how: str) -> None:
    """Make the call with our adapter."""
    adapter = provider.at(f"{url}/v1" if provider is OPENAI else url, "m", max_tokens=77)
    if how == "structured":
        await adapter.call("Who?", contract=Person)
    elif how == "streamed":
        async with adapter.stream(REQUEST) as stream:
            assert [piece async for piece in stream]
    else:
        await adapter.call(REQUEST)


@pytest.mark.parametrize("how", ["plain", "streamed", "structured"])
def test_bodies(server: tuple[str, Seen], provider: Provider, how: str, keys: str) -> None:
    """Ours and the SDK's differ in nothing that a provider reads."""
    url, seen = server
    seen.clear()
    SDKS[provider.name](url, how)
    anyio.run(by_us, provider, url, how)
    (their_path, theirs, their_headers), (our_path, ours, our_headers) = seen
    assert our_path == their_path
    assert in_meaning(ours) == in_meaning(theirs)
    assert our_headers["content-type"] == their_headers["content-type"] == "application/json"
    assert keys in our_headers[KEY_HEADERS[provider.name]]
    if provider is ANTHROPIC:
        assert our_headers["anthropic-version"] == their_headers["anthropic-version"]
