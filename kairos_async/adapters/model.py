"""What a model is asked, what it answers, and the one protocol behind which every provider stands."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol, TypeAlias, cast, get_args, runtime_checkable

from pydantic_core import from_json

from kairos_async._types import MISSING, JSONValue, Missing, TokenUsage
from kairos_async.contracts import Contract, compile_contract
from kairos_async.contracts.contract import JSONSchema
from kairos_async.exceptions import ConfigError

Role: TypeAlias = Literal["system", "user", "assistant"]

_ROLES: Final = frozenset(get_args(Role))


class StopReason(enum.StrEnum):
    """Why a model stopped, in the same words for every provider. `metadata["stop_reason"]` has the provider's own."""

    END = "end"
    """It had said what it had to say, or came to a stop sequence."""
    TOOL_CALLS = "tool_calls"
    """It asks for calls of tools: see `tool_calls`."""
    LENGTH = "length"
    """Its answer reached the greatest length, or the context is full."""
    REFUSAL = "refusal"
    """It refuses."""
    FILTER = "filter"
    """The provider held back the prompt or the answer."""
    OTHER = "other"
    """Something that this library does not know."""


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One turn of a conversation. Its parts are sent as separate parts, in order, never joined to one text."""

    role: Role
    parts: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Message of {self.role}: {sum(map(len, self.parts))} characters>"


@dataclass(frozen=True, slots=True, repr=False)
class ToolCall:
    """A call that the model asks for. `arguments` are parsed; None if they are not the JSON of an object."""

    name: str
    arguments: dict[str, JSONValue] | None
    id: str | None = None

    def __repr__(self) -> str:
        return f"<ToolCall {self.name!r}>"

    @classmethod
    def parsed(cls, name: str, arguments: str, identity: str | None) -> ToolCall:
        """Of arguments that came as text."""
        try:
            found = from_json(arguments)
        except ValueError:
            found = None
        return cls(name, found if isinstance(found, dict) else None, identity)


Prompt: TypeAlias = "str | Message | Iterable[Message | Mapping[str, str]] | ModelRequest"
"""What `call` and `stream` take: a text, messages (also as dicts with `role` and `content`), or a whole request."""


@dataclass(frozen=True, slots=True, repr=False)
class ModelRequest:
    """What a model is asked, for whatever provider.

    Attributes:
        messages: in order; those of the role "system" are sent where the provider wants them.
        schema: the JSON Schema that the answer is to follow, None for free text. It is sent as far as the provider can
            express it, and the answer is parsed as JSON.
        contract: what the parsed answer must be, checked here; None: not checked here (a step checks its own output).
        max_tokens: the greatest length of the answer; None: the adapter's.
        options: further fields of the request, in the provider's own words, such as `{"temperature": 0.2}`.
        expected: the contract of the step that asks, which the step itself checks: for those who choose among answers.
    """

    messages: tuple[Message, ...]
    schema: JSONSchema | None = None
    contract: Contract | None = None
    max_tokens: int | None = None
    options: Mapping[str, JSONValue] = field(default_factory=dict)
    expected: Contract | None = None

    def __repr__(self) -> str:
        return f"<ModelRequest: {len(self.messages)} messages>"


def as_request(
    prompt: Prompt,
    *,
    contract: object = None,
    max_tokens: int | None = None,
    options: Mapping[str, JSONValue] | None = None,
) -> ModelRequest:
    """The request that `call` and `stream` mean by their arguments. A `ModelRequest` is given back as it is.

    Raises:
        ConfigError: the prompt is empty or no prompt; an argument is not valid; a request comes with more arguments.
    """
    if isinstance(prompt, ModelRequest):
        if contract is not None or max_tokens is not None or options is not None:
            raise ConfigError("A ModelRequest says everything by itself; call it without further arguments.")
        return prompt
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise ConfigError(f"max_tokens={max_tokens!r} must be a whole number >= 1 or None.")
    compiled = None if contract is None else compile_contract(contract)
    schema = None if compiled is None else compiled.json_schema()
    return ModelRequest(_messages(prompt), schema, compiled, max_tokens, dict(options or {}))


def _messages(prompt: str | Message | Iterable[Message | Mapping[str, str]]) -> tuple[Message, ...]:
    given: Iterable[object]
    if isinstance(prompt, str):
        given = (Message("user", (prompt,)),)
    else:
        given = (prompt,) if isinstance(prompt, Message | Mapping) else prompt
    messages = tuple(map(_message, given))
    if not any(message.role != "system" and any(map(str.strip, message.parts)) for message in messages):
        raise ConfigError("The prompt is empty: a model needs at least one message that is not the system's.")
    return messages


def _message(given: object) -> Message:
    if isinstance(given, Mapping):
        given = Message(cast(Role, given.get("role")), (cast(str, given.get("content")),))
    if not isinstance(given, Message):
        raise ConfigError(f"A prompt is a text or a list of messages; it has a {type(given).__name__} in it.")
    if given.role not in _ROLES or not all(type(part) is str for part in given.parts):
        raise ConfigError(f"A message has a role of {sorted(_ROLES)} and parts of plain str.")
    return given


@dataclass(frozen=True, slots=True, repr=False)
class ModelResponse:
    """What a model answered.

    Attributes:
        text: the answer as text; "" if it only calls tools.
        model: the model that answered, as the provider names it.
        provider: whose it is.
        usage: what the call consumed.
        latency_ms: from sending the request to the end of the answer.
        stop: why the model stopped.
        parsed: the answer as JSON data, if a schema or contract was sent and the text is JSON; else MISSING. Checked,
            if a contract was given.
        tool_calls: what the model asks for.
        metadata: more facts, without any text of the model: request_id, stop_reason.
    """

    text: str
    model: str
    provider: str
    usage: TokenUsage
    latency_ms: float
    stop: StopReason = StopReason.END
    parsed: JSONValue | Missing = MISSING
    tool_calls: tuple[ToolCall, ...] = ()
    metadata: Mapping[str, JSONValue] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<ModelResponse of {self.model!r}: {len(self.text)} characters, {self.stop}>"

    def to_dict(self) -> dict[str, JSONValue]:
        """What a step without a contract has as its output: text, model, latency_ms, usage, metadata."""
        return {
            "text": self.text,
            "model": self.model,
            "latency_ms": self.latency_ms,
            "usage": self.usage.to_dict(),
            "metadata": dict(self.metadata),
        }


async def checked(response: ModelResponse, request: ModelRequest) -> ModelResponse:
    """The response with its data checked by the request's contract. Raises ValidationError."""
    if request.contract is None or response.stop is StopReason.TOOL_CALLS:
        return response
    subject = f"Answer of model {response.model!r}"
    value = response.text if response.parsed is MISSING else response.parsed
    data = await request.contract.validate_async(value, subject)
    return replace(response, parsed=data)


class ModelStream(Protocol):
    """An answer on its way: iterate it once for the pieces of text; then `response` is the whole answer."""

    @property
    def text(self) -> str:
        """What came so far."""

    @property
    def response(self) -> ModelResponse:
        """The whole answer, once the iteration came to its end."""

    def __aiter__(self) -> AsyncIterator[str]: ...


@runtime_checkable
class ModelAdapter(Protocol):
    """A model of some provider. Adapters never retry by themselves: a failure policy, `fallback` or `hedge` does.

    Every call goes through `metered` (`kairos_async/adapters/_call.py`) exactly once.
    """

    @property
    def provider(self) -> str:
        """Such as "anthropic"."""

    @property
    def model(self) -> str:
        """As the provider names it."""

    async def call(
        self,
        prompt: Prompt,
        /,
        *,
        contract: object = None,
        max_tokens: int | None = None,
        options: Mapping[str, JSONValue] | None = None,
    ) -> ModelResponse:
        """Ask once and wait for the whole answer.

        Args:
            prompt: a text, messages, or a whole `ModelRequest`, which stands alone.
            contract: what the answer must be: anything that `compile_contract` takes. Sent as the provider's structured
                output, parsed into `parsed`, and checked here.
            max_tokens: the greatest length of the answer; None: the adapter's.
            options: further fields of the request, in the provider's own words.

        Raises:
            ModelError: there is no answer that can be used; its class says why, its `retryable` whether to try again.
            ValidationError: the answer broke the contract.
            ConfigError: the request cannot be made.
        """

    def stream(
        self,
        prompt: Prompt,
        /,
        *,
        contract: object = None,
        max_tokens: int | None = None,
        options: Mapping[str, JSONValue] | None = None,
    ) -> AbstractAsyncContextManager[ModelStream]:
        """Ask once and read the answer as it comes. Same arguments and errors as `call`."""


def partial_json(text: str) -> JSONValue | Missing:
    """The JSON data in the beginning of a JSON text, unfinished strings included; MISSING if there is none yet."""
    try:
        value: JSONValue = from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return MISSING
    return value
