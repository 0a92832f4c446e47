"""Google's Gemini API (generateContent).

The format is that of google-genai 3.4. The version in the path is a setting: the SDK's default is v1, other servers
have v1beta alone.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final, Unpack

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from kairos_async._types import TokenUsage
from kairos_async.adapters._adapter import HTTPAdapter, HTTPSettings
from kairos_async.adapters._sse import Event
from kairos_async.adapters._structured import Shape, for_gemini
from kairos_async.adapters._wire import Answer, Collector, Wire
from kairos_async.adapters.model import ModelRequest, StopReason, ToolCall
from kairos_async.adapters.prompt import Ask, AskSettings, ask, split_settings
from kairos_async.contracts.contract import JSONSchema
from kairos_async.exceptions import ConfigError

API_VERSION: Final = "v1"

_VERSION: Final = re.compile(r"v[0-9][a-z0-9]{0,20}")
_ROLES: Final = {"user": "user", "assistant": "model"}
_FILTERS: Final = frozenset(
    {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"}
)


class _Gemini(Wire):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class _Call(_Gemini):
    id: str | None = None
    name: str | None = None
    args: dict[str, Any] | None = None


class _Part(_Gemini):
    text: str | None = None
    thought: bool | None = None
    function_call: _Call | None = None


class _Content(_Gemini):
    parts: list[_Part] | None = None


class _Candidate(_Gemini):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(_Gemini):
    block_reason: str | None = None


class _Usage(_Gemini):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    total_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class _Response(_Gemini):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


class GeminiSettings(HTTPSettings, total=False):
    """What `GeminiAdapter` can be told: as `HTTPAdapter`, and the version of the API in the path."""

    api_version: str


class GeminiAdapter(HTTPAdapter):
    """A model of Google. Arguments and errors are those of `HTTPAdapter`; `api_version` is "v1" or "v1beta"."""

    provider: ClassVar[str] = "gemini"
    own_base_url: ClassVar[str] = "https://generativelanguage.googleapis.com"
    key_variables: ClassVar[tuple[str, ...]] = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
    default_model: ClassVar[str] = "gemini-3.8-flash"
    reserved: ClassVar[frozenset[str]] = frozenset({"model", "contents", "systemInstruction"})

    def __init__(self, model: str | None = None, **settings: Unpack[GeminiSettings]) -> None:
        self.api_version = settings.pop("api_version", API_VERSION)
        if not isinstance(self.api_version, str) or not _VERSION.fullmatch(self.api_version):
            raise ConfigError(f"GeminiAdapter: api_version={self.api_version!r} must be such as 'v1' or 'v1beta'.")
        super().__init__(model, **settings)  # type: ignore[misc]  # what was popped is gone

    def _url(self, *, streaming: bool) -> str:
        method = "streamGenerateContent?alt=sse" if streaming else "generateContent"
        return f"{self.base_url}/{self.api_version}/models/{self.model.removeprefix('models/')}:{method}"

    def _key_headers(self, key: str) -> dict[str, str]:
        return {"x-goog-api-key": key}

    def _shaped(self, schema: JSONSchema) -> Shape:
        return for_gemini(schema)

    def _body(self, request: ModelRequest, shape: Shape | None, *, streaming: bool) -> dict[str, Any]:
        turns = [m for m in request.messages if m.role != "system"]
        body: dict[str, Any] = {
            "contents": [{"role": _ROLES[m.role], "parts": [{"text": part} for part in m.parts]} for m in turns]
        }
        if system := [{"text": part} for m in request.messages if m.role == "system" for part in m.parts]:
            # A role is not needed here; the SDK sends "user".
            body["systemInstruction"] = {"role": "user", "parts": system}
        given = request.options.get("generationConfig")
        config: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
        if length := request.max_tokens or self.max_tokens:
            config["maxOutputTokens"] = length
        if shape is not None and self._structured == "schema":
            config |= {"responseMimeType": "application/json", "responseJsonSchema": shape.sent}
        if config:
            body["generationConfig"] = config
        return body

    def _answer(self, body: bytes) -> Answer:
        collector = _GeminiCollector()
        answer = collector.answer
        answer.text.append(collector.add(_Response.model_validate_json(body)))
        answer.stop = answer.stop or (StopReason.END if answer.text[0] or answer.tool_calls else StopReason.OTHER)
        return answer

    def _collector(self) -> Collector:
        return _GeminiCollector()


class _GeminiCollector(Collector):
    def take(self, event: Event) -> str:
        if event.name == "bare":
            self.failed = event.data
            return ""
        found = _Response.model_validate_json(event.data)
        if found.error is not None:
            self.failed = event.data
            return ""
        return self.add(found)

    def add(self, response: _Response) -> str:
        """Take in one piece; the last one has the reason to stop and the full usage. Returns its text."""
        answer = self.answer
        answer.model = response.model_version or answer.model
        answer.id = response.response_id or answer.id
        if response.usage_metadata is not None:
            answer.usage = _usage(response.usage_metadata)
        blocked = response.prompt_feedback.block_reason if response.prompt_feedback else None
        if blocked:
            answer.stop, answer.stop_word = StopReason.FILTER, blocked
        text = ""
        for candidate in response.candidates or ():
            if candidate.index in (None, 0):
                text += self._candidate(candidate)
        return text

    def _candidate(self, candidate: _Candidate) -> str:
        answer = self.answer
        texts = []
        for part in (candidate.content.parts if candidate.content else None) or ():
            if part.text and not part.thought:
                texts.append(part.text)
            if part.function_call is not None:
                call = part.function_call
                answer.tool_calls.append(ToolCall(call.name or "", call.args or {}, call.id))
        if candidate.finish_reason:
            answer.stop_word = candidate.finish_reason
            answer.stop = _stop(candidate.finish_reason, bool(answer.tool_calls))
        return "".join(texts)


def _stop(word: str, calls: bool) -> StopReason:
    if word == "STOP":
        return StopReason.TOOL_CALLS if calls else StopReason.END
    if word == "MAX_TOKENS":
        return StopReason.LENGTH
    return StopReason.FILTER if word in _FILTERS else StopReason.OTHER


def _usage(usage: _Usage) -> TokenUsage:
    """Thinking is not in Gemini's count of candidates, and belongs to what the model wrote."""
    thought, written = usage.thoughts_token_count, usage.candidates_token_count
    output = None if thought is None and written is None else (thought or 0) + (written or 0)
    if output is None and usage.total_token_count is not None and usage.prompt_token_count is not None:
        output = max(0, usage.total_token_count - usage.prompt_token_count)
    read = usage.prompt_token_count
    return TokenUsage(
        input_tokens=None if read is None else read + (usage.tool_use_prompt_token_count or 0),
        output_tokens=output,
        cached_input_tokens=usage.cached_content_token_count,
        reasoning_tokens=thought,
    )


class GeminiAskSettings(GeminiSettings, AskSettings, total=False):
    """What `gemini` can be told: `model`, and all that `GeminiAdapter` and `ask` can."""

    model: str


def gemini(template: str, **settings: Unpack[GeminiAskSettings]) -> Ask:
    """An action that asks a model of Google: `Step("review", gemini("Review: {research}"))`.

    Args:
        template: with placeholders `{name}`: keys of the run's inputs, steps, or `{item}` in a foreach.
        settings: those of `GeminiAdapter` and of `ask`.

    Raises:
        ConfigError: an argument is not valid, or neither GOOGLE_API_KEY nor GEMINI_API_KEY is set.
        SecurityError: a credential is given inline, or the base URL is not safe.
    """
    mine, asking = split_settings("gemini", settings, GeminiAskSettings)
    return ask(template, GeminiAdapter(**mine), **asking)
