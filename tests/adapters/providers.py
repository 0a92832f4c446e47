"""The three providers as the tests need them: adapters for a server or a handler, and samples of their formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from kairos_async.adapters._adapter import HTTPAdapter
from kairos_async.adapters.claude import ClaudeAdapter
from kairos_async.adapters.gemini import GeminiAdapter
from kairos_async.adapters.openai_adapter import OpenAIAdapter

KEY = "canary-key-8f3a91c2d4"
"""What stands in the environment for every provider."""
VARIABLES = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GOOGLE_API_KEY")

Handler = Callable[[httpx.Request], httpx.Response]


@dataclass(frozen=True)
class Provider:
    """A provider: how its adapter is made, and what its server says."""

    name: str
    adapter: type[HTTPAdapter]
    settings: dict[str, Any]

    def at(self, base_url: str, model: str = "some-model", **settings: Any) -> HTTPAdapter:
        """Return the adapter for a server on loopback."""
        chosen = {"base_url": base_url, "key_env": self.adapter.key_variables[0], "allow_localhost": True}
        return self.adapter(model, **{**chosen, **self.settings, **settings})

    def answering(self, handler: Handler, model: str = "some-model", **settings: Any) -> HTTPAdapter:
        """Return the adapter over a client whose requests a function answers, without any network."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
        return self.adapter(model, client=client, **settings)

    def answer(self, text: str, *, stop: str = "end", **more: Any) -> dict[str, Any]:
        """Return the body of an answer; `stop` is "end", "length", "refusal" or "filter"."""
        return {"anthropic": _anthropic, "openai": _openai, "gemini": _gemini}[self.name](text, stop) | more

    def events(self, *pieces: str, stop: str | None = "end") -> list[bytes]:
        """Return the events of a streamed answer; without `stop` it ends as if it had been cut off."""
        made = {"anthropic": _anthropic_events, "openai": _openai_events, "gemini": _gemini_events}
        return made[self.name](pieces, stop)

    def error(self, status: int, message: str = "no") -> dict[str, Any]:
        """Return the body of an error, in which the provider quotes what it was sent."""
        if self.name == "anthropic":
            return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
        if self.name == "openai":
            return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
        return {"error": {"code": status, "message": message, "status": "INVALID_ARGUMENT"}}


ANTHROPIC = Provider("anthropic", ClaudeAdapter, {})
OPENAI = Provider("openai", OpenAIAdapter, {})
GEMINI = Provider("gemini", GeminiAdapter, {"api_version": "v1beta"})
PROVIDERS = (ANTHROPIC, OPENAI, GEMINI)

STOPS = {
    "anthropic": {"end": "end_turn", "length": "max_tokens", "refusal": "refusal"},
    "openai": {"end": "stop", "length": "length", "filter": "content_filter"},
    "gemini": {"end": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"},
}


def _anthropic(text: str, stop: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-that-answered",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": text}],
        "stop_reason": STOPS["anthropic"][stop],
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3},
    }


def _openai(text: str, stop: str) -> dict[str, Any]:
    refused = stop == "refusal"
    message = {"role": "assistant", "content": None if refused else text, "refusal": text if refused else None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-that-answered",
        "choices": [{"index": 0, "finish_reason": STOPS["openai"].get(stop, "stop"), "message": message}],
        "usage": {"prompt_tokens": 13, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}},
    }


def _gemini(text: str, stop: str) -> dict[str, Any]:
    parts = [{"text": "hm", "thought": True}, {"text": text}]
    return {
        "candidates": [
            {"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": STOPS["gemini"][stop]}
        ],
        "usageMetadata": {"promptTokenCount": 13, "candidatesTokenCount": 3, "thoughtsTokenCount": 2},
        "modelVersion": "gemini-that-answered",
    }


def sse(data: object, name: str = "") -> bytes:
    """Return an event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def _anthropic_events(pieces: tuple[str, ...], stop: str | None) -> list[bytes]:
    start = {
        **_anthropic("", "end"),
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 13, "output_tokens": 1},
    }
    made: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": p}} for p in pieces),
    ]
    if stop is not None:
        made += [
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": STOPS["anthropic"][stop]},
                "usage": {"output_tokens": 5},
            },
            {"type": "message_stop"},
        ]
    return [sse(event, event["type"]) for event in made]


def _openai_events(pieces: tuple[str, ...], stop: str | None) -> list[bytes]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-that-answered"}
    made: list[Any] = [
        {**base, "choices": [{"index": 0, "delta": {"content": p}, "finish_reason": None}]} for p in pieces
    ]
    if stop is not None:
        made += [
            {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": STOPS["openai"][stop]}]},
            {**base, "choices": [], "usage": {"prompt_tokens": 13, "completion_tokens": 5}},
            "[DONE]",
        ]
    return [sse(event) for event in made]


def _gemini_events(pieces: tuple[str, ...], stop: str | None) -> list[bytes]:
    made: list[dict[str, Any]] = [
        {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": p}]}}]} for p in pieces
    ]
    if stop is not None:
        made.append({**_gemini("", stop), "candidates": [{"index": 0, "finishReason": STOPS["gemini"][stop]}]})
    return [sse(event) for event in made]
