"""Anthropic's Messages API, and every server that speaks it.

The format is that of Anthropic's SDK 2.12 and the API version that it sends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final, Unpack

from kairos_async._types import TokenUsage
from kairos_async.adapters._adapter import HTTPAdapter, HTTPSettings
from kairos_async.adapters._sse import Event
from kairos_async.adapters._structured import Shape, for_anthropic
from kairos_async.adapters._wire import Answer, Collector, Wire
from kairos_async.adapters.model import ModelRequest, StopReason, ToolCall
from kairos_async.adapters.prompt import Ask, AskSettings, ask, split_settings
from kairos_async.contracts.contract import JSONSchema

API_VERSION: Final = "2026-10-21"

_STOPS: Final = {
    "end_turn": StopReason.END,
    "stop_sequence": StopReason.END,
    "tool_use": StopReason.TOOL_CALLS,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "refusal": StopReason.REFUSAL,
}


class _Details(Wire):
    thinking_tokens: int | None = None


class _Usage(Wire):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _Details | None = None


class _Block(Wire):
    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None


class _Message(Wire):
    id: str | None = None
    model: str | None = None
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage | None = None


class _Delta(Wire):
    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(Wire):
    type: str
    index: int | None = None
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None


class ClaudeAdapter(HTTPAdapter):
    """A model of Anthropic, or of a server with its Messages API. Arguments and errors are those of `HTTPAdapter`."""

    provider: ClassVar[str] = "anthropic"
    own_base_url: ClassVar[str] = "https://api.anthropic.com"
    key_variables: ClassVar[tuple[str, ...]] = ("ANTHROPIC_API_KEY",)
    default_model: ClassVar[str] = "claude-sonnet-5-5"
    default_max_tokens: ClassVar[int | None] = 4096  # the API takes no request without a greatest length
    reserved: ClassVar[frozenset[str]] = frozenset({"model", "max_tokens", "messages", "system", "stream"})

    def _url(self, *, streaming: bool) -> str:
        return f"{self.base_url}/v1/messages"

    def _key_headers(self, key: str) -> dict[str, str]:
        return {"x-api-key": key}

    def _more_headers(self) -> dict[str, str]:
        return {"anthropic-version": API_VERSION}

    def _shaped(self, schema: JSONSchema) -> Shape:
        return for_anthropic(schema)

    def _body(self, request: ModelRequest, shape: Shape | None, *, streaming: bool) -> dict[str, Any]:
        turns = [m for m in request.messages if m.role != "system"]
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": request.max_tokens or self.max_tokens,
            "messages": [{"role": m.role, "content": _content(m.parts)} for m in turns],
        }
        if system := [part for m in request.messages if m.role == "system" for part in m.parts]:
            body["system"] = _content(system)
        if shape is not None and self._structured == "schema":
            given = request.options.get("output_config")
            form = {"format": {"type": "json_schema", "schema": shape.sent}}
            body["output_config"] = {**given, **form} if isinstance(given, dict) else form
        if streaming:
            body["stream"] = True
        return body

    def _answer(self, body: bytes) -> Answer:
        message = _Message.model_validate_json(body)
        answer = Answer(usage=_usage(message.usage), model=message.model, id=message.id)
        for block in message.content:
            if block.type == "text":
                answer.text.append(block.text or "")
            elif block.type == "tool_use":
                answer.tool_calls.append(ToolCall(block.name or "", block.input, block.id))
        answer.stop_word = message.stop_reason
        answer.stop = _stop(message.stop_reason) if message.stop_reason else StopReason.END
        return answer

    def _collector(self) -> Collector:
        return _ClaudeCollector()


class _ClaudeCollector(Collector):
    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, _Block] = {}
        self._arguments: dict[int, list[str]] = {}
        self._usage = _Usage()

    def take(self, event: Event) -> str:
        if event.name == "error" or (event.name != "ping" and b'"error"' in event.data[:200] and _is_error(event)):
            self.failed = event.data
            return ""
        found = _Event.model_validate_json(event.data)
        text = ""
        if found.type == "message_start" and found.message is not None:
            self.answer.model, self.answer.id = found.message.model, found.message.id
            self._count(found.message.usage)
        elif found.type == "content_block_start" and found.content_block is not None:
            self._blocks[found.index or 0] = found.content_block
            text = found.content_block.text or "" if found.content_block.type == "text" else ""
        elif found.type == "content_block_delta" and found.delta is not None:
            text = found.delta.text or "" if found.delta.type == "text_delta" else ""
            self._arguments.setdefault(found.index or 0, []).append(found.delta.partial_json or "")
        elif found.type == "message_delta" and found.delta is not None:
            self._count(found.usage)
            self.answer.stop_word = found.delta.stop_reason
        elif found.type == "message_stop":
            self.complete = True
            self.answer.stop = _stop(self.answer.stop_word)
        return text

    def _count(self, usage: _Usage | None) -> None:
        """Later figures replace earlier ones: they are cumulative."""
        told = usage.model_dump(exclude_none=True) if usage else {}
        self._usage = _Usage(**{**self._usage.model_dump(exclude_none=True), **told})
        self.answer.usage = _usage(self._usage)

    def close(self) -> None:
        for index, block in sorted(self._blocks.items()):
            if block.type == "tool_use":
                joined = "".join(self._arguments.get(index, ()))
                self.answer.tool_calls.append(ToolCall.parsed(block.name or "", joined or "{}", block.id))


def _is_error(event: Event) -> bool:
    return _Event.model_validate_json(event.data).type == "error"


def _content(parts: Iterable[str]) -> str | list[dict[str, str]]:
    texts = list(parts)
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]


def _stop(word: str | None) -> StopReason:
    return _STOPS.get(word or "", StopReason.OTHER)


def _usage(usage: _Usage | None) -> TokenUsage:
    if usage is None:
        return TokenUsage()
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    total = None if usage.input_tokens is None else usage.input_tokens + (read or 0) + (written or 0)
    details = usage.output_tokens_details
    return TokenUsage(
        input_tokens=total,
        output_tokens=usage.output_tokens,
        cached_input_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=details.thinking_tokens if details else None,
    )


class ClaudeSettings(HTTPSettings, AskSettings, total=False):
    """What `claude` can be told: `model`, and all that `ClaudeAdapter` and `ask` can."""

    model: str


def claude(template: str, **settings: Unpack[ClaudeSettings]) -> Ask:
    """An action that asks a model of Anthropic: `Step("review", claude("Review this text: {draft}"))`.

    Args:
        template: with placeholders `{name}`: keys of the run's inputs, steps, or `{item}` in a foreach.
        settings: those of `ClaudeAdapter` and of `ask`.

    Raises:
        ConfigError: an argument is not valid, or ANTHROPIC_API_KEY is not set.
        SecurityError: a credential is given inline, or the base URL is not safe.
    """
    mine, asking = split_settings("claude", settings, ClaudeSettings)
    return ask(template, ClaudeAdapter(**mine), **asking)
