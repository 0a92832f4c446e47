"""OpenAI's chat completions, which nearly every other server speaks, too: DeepSeek, Mistral, Groq, Together, vLLM,
Ollama, LM Studio, llama.cpp.

The format is that of OpenAI's SDK 3.54. Chat completions and not responses, because the others have only them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final, Unpack

from kairos_async._types import TokenUsage
from kairos_async.adapters._adapter import HTTPAdapter, HTTPSettings
from kairos_async.adapters._sse import Event
from kairos_async.adapters._structured import Shape, for_openai
from kairos_async.adapters._wire import Answer, Collector, Wire
from kairos_async.adapters.model import ModelRequest, StopReason, ToolCall
from kairos_async.adapters.prompt import Ask, AskSettings, ask, split_settings
from kairos_async.contracts.contract import JSONSchema

_STOPS: Final = {
    "stop": StopReason.END,
    "eos": StopReason.END,  # Together
    "stop_sequence": StopReason.END,
    "length": StopReason.LENGTH,
    "model_length": StopReason.LENGTH,  # Mistral
    "insufficient_system_resource": StopReason.OTHER,  # DeepSeek
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.FILTER,
}
_DONE: Final = b"[DONE]"


class _Cached(Wire):
    cached_tokens: int | None = None


class _Reasoned(Wire):
    reasoning_tokens: int | None = None


class _Usage(Wire):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Reasoned | None = None


class _Function(Wire):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(Wire):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Turn(Wire):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Wire):
    index: int = 0
    finish_reason: str | None = None
    message: _Turn | None = None
    delta: _Turn | None = None


class _Completion(Wire):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice]
    usage: _Usage | None = None


class _Error(Wire):
    error: Any = None


class OpenAIAdapter(HTTPAdapter):
    """A model of OpenAI, or of any server with its chat completions. Arguments and errors are those of `HTTPAdapter`.

    `base_url` includes the version, as in "https://api.deepseek.com/v1". `structured="json"` uses JSON mode with the
    schema in the prompt, for servers that have no structured output by schema.
    """

    provider: ClassVar[str] = "openai"
    own_base_url: ClassVar[str] = "https://api.openai.com/v1"
    key_variables: ClassVar[tuple[str, ...]] = ("OPENAI_API_KEY",)
    default_model: ClassVar[str] = "gpt-5.5"
    structured_kinds: ClassVar[tuple[str, ...]] = ("schema", "json", "prompt")
    reserved: ClassVar[frozenset[str]] = frozenset(
        {"model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "response_format"}
    )

    def _url(self, *, streaming: bool) -> str:
        return f"{self.base_url}/chat/completions"

    def _key_headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _shaped(self, schema: JSONSchema) -> Shape:
        return for_openai(schema)

    def _body(self, request: ModelRequest, shape: Shape | None, *, streaming: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": _content(m.parts)} for m in request.messages],
        }
        if length := request.max_tokens or self.max_tokens:
            # The older name is the one that all other servers know.
            body["max_completion_tokens" if self.base_url == self.own_base_url else "max_tokens"] = length
        if shape is not None and self._structured == "schema":
            form = {"name": _name_of(shape.schema), "schema": shape.sent, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        elif shape is not None and self._structured == "json":
            body["response_format"] = {"type": "json_object"}
        if streaming:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def _answer(self, body: bytes) -> Answer:
        found = _Completion.model_validate_json(body)
        answer = Answer(usage=_usage(found.usage), model=found.model, id=found.id)
        for choice in found.choices[:1]:
            turn = choice.message or _Turn()
            answer.text.append(turn.content or "")
            answer.stop_word = choice.finish_reason
            answer.stop = _stop(choice.finish_reason) if choice.finish_reason else StopReason.END
            if turn.refusal:
                answer.stop = StopReason.REFUSAL
            for call in turn.tool_calls or ():
                answer.tool_calls.append(_tool_call(call.id, call.function or _Function(), ()))
        if not found.choices:
            answer.stop = StopReason.OTHER
        return answer

    def _collector(self) -> Collector:
        return _OpenAICollector()


class _OpenAICollector(Collector):
    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, tuple[str | None, str | None, list[str]]] = {}
        self._refused = False

    def take(self, event: Event) -> str:
        if event.data.strip() == _DONE:
            self.complete = True
            return ""
        if b'"error"' in event.data and _Error.model_validate_json(event.data).error is not None:
            self.failed = event.data
            return ""
        chunk = _Completion.model_validate_json(event.data)
        answer = self.answer
        answer.model, answer.id = chunk.model or answer.model, chunk.id or answer.id
        if chunk.usage is not None:
            answer.usage = _usage(chunk.usage)
        for choice in chunk.choices:
            if choice.index == 0:
                return self._choice(choice)
        return ""

    def _choice(self, choice: _Choice) -> str:
        answer = self.answer
        if choice.finish_reason:
            answer.stop_word, answer.stop = choice.finish_reason, _stop(choice.finish_reason)
        turn = choice.delta or _Turn()
        self._refused = self._refused or bool(turn.refusal)
        for call in turn.tool_calls or ():
            function = call.function or _Function()
            place = call.index or 0
            identity, name, pieces = self._calls.get(place, (None, None, []))
            pieces.append(function.arguments if isinstance(function.arguments, str) else "")
            self._calls[place] = (call.id or identity, function.name or name, pieces)
        return turn.content or ""

    def close(self) -> None:
        if self._refused and self.answer.stop is not None:
            self.answer.stop = StopReason.REFUSAL
        for _, (identity, name, pieces) in sorted(self._calls.items()):
            self.answer.tool_calls.append(_tool_call(identity, _Function(name=name), pieces))


def _tool_call(identity: str | None, function: _Function, pieces: Iterable[str]) -> ToolCall:
    if isinstance(function.arguments, dict):
        return ToolCall(function.name or "", function.arguments, identity)
    return ToolCall.parsed(function.name or "", "".join(pieces) or function.arguments or "{}", identity)


def _content(parts: tuple[str, ...]) -> str | list[dict[str, str]]:
    return parts[0] if len(parts) == 1 else [{"type": "text", "text": text} for text in parts]


def _name_of(schema: JSONSchema) -> str:
    title = schema.get("title")
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in str(title or "answer"))
    return kept[:64]


def _stop(word: str) -> StopReason:
    return _STOPS.get(word, StopReason.OTHER)


def _usage(usage: _Usage | None) -> TokenUsage:
    if usage is None:
        return TokenUsage()
    cached, reasoned = usage.prompt_tokens_details, usage.completion_tokens_details
    return TokenUsage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_input_tokens=cached.cached_tokens if cached else None,
        reasoning_tokens=reasoned.reasoning_tokens if reasoned else None,
    )


class OpenAISettings(HTTPSettings, AskSettings, total=False):
    """What `openai_adapter` can be told: `model`, and all that `OpenAIAdapter` and `ask` can."""

    model: str


def openai_adapter(template: str, **settings: Unpack[OpenAISettings]) -> Ask:
    """An action that asks a model of OpenAI, or of any server that speaks its format.

    Args:
        template: with placeholders `{name}`: keys of the run's inputs, steps, or `{item}` in a foreach.
        settings: those of `OpenAIAdapter` and of `ask`.

    Raises:
        ConfigError: an argument is not valid, or OPENAI_API_KEY is not set.
        SecurityError: a credential is given inline, or the base URL is not safe.
    """
    mine, asking = split_settings("openai_adapter", settings, OpenAISettings)
    return ask(template, OpenAIAdapter(**mine), **asking)
