"""Actions made of prompts: a template, a model to ask, and the step's contract as the form of the answer."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias, TypedDict, Unpack, cast, runtime_checkable

import anyio

from kairos_async._types import MISSING, JSONValue, TokenUsage
from kairos_async.adapters._bounds import prompt_bound
from kairos_async.adapters._call import ModelCall, metered
from kairos_async.adapters._endpoint import refuse_keywords
from kairos_async.adapters._limits import messages_tokens, schema_tokens
from kairos_async.adapters._structured import in_words, parsed_json
from kairos_async.adapters.model import (
    Message,
    ModelAdapter,
    ModelRequest,
    ModelResponse,
    Role,
    StopReason,
    as_request,
    checked,
)
from kairos_async.context import StepContext, report
from kairos_async.contracts import Contract
from kairos_async.contracts.contract import JSONSchema
from kairos_async.contracts.plain import NotJSON, to_plain
from kairos_async.estimate import CallBound, TokensOf
from kairos_async.events import EventLevel, LLMDelta
from kairos_async.exceptions import ConfigError
from kairos_async.security import Template, untrusted
from kairos_async.step import Action, is_async

_PROCESS: Final = secrets.token_bytes(16)

_TURNS: Final[tuple[Role, Role]] = ("user", "assistant")

_FEEDBACK: Final = "Your previous answer was not accepted. It broke these rules:"
_RESPONSE: Final = frozenset({"text", "model", "latency_ms", "usage", "metadata"})
_LONGEST_WORD: Final = 200
"""Characters of a stream that are held back at most until a space follows."""

AsyncModel: TypeAlias = Callable[[str], Awaitable[Any]]
"""Any async function of the prompt as one text. It returns the answer: text, JSON data, or a `ModelResponse`."""


class AskSettings(TypedDict, total=False):
    """What `ask`, and with it each function that makes an action of a prompt, can be told."""

    system: str | None
    examples: Iterable[tuple[str, str]]
    fence: Iterable[str]
    stream: bool
    options: Mapping[str, JSONValue] | None


@runtime_checkable
class Checking(Protocol):
    """An adapter that can say, when a step is made, what it will not be able to ask."""

    def check_options(self, options: Mapping[str, JSONValue]) -> None:
        """Raise ConfigError for an option that it sets itself, SecurityError for a credential."""

    def shape(self, schema: JSONSchema | None) -> object:
        """Raise ConfigError for a schema that its provider cannot express."""


class Ask:
    """An action that renders its template, asks its model once, and returns what it answered.

    With an output contract the answer is returned as JSON data, which the step checks; without one as a dict with
    `text`, `model`, `latency_ms`, `usage` and `metadata`. Made by `ask` and the functions named after providers.
    """

    __slots__ = (
        *("_examples", "_expected", "_fence", "_model", "_options", "_schema", "_stream", "_system", "_template"),
        "reads",
    )

    def __init__(self, template: str, model: ModelAdapter, **settings: Unpack[AskSettings]) -> None:
        refuse_keywords("ask", settings, AskSettings.__annotations__)
        self._template = Template(_text("template", template))
        system = settings.get("system")
        self._system = None if system is None else Template(_text("system", system))
        self._model = model
        self._examples = tuple(
            Message(role, (_text("examples", text),))
            for pair in _pairs(settings.get("examples", ()))
            for role, text in zip(_TURNS, pair, strict=True)
        )
        self._fence = _placeholders(settings.get("fence", ()))
        self._stream = settings.get("stream", False) is True
        self._options = dict(settings.get("options") or {})
        self._schema: JSONSchema | None = None
        self._expected: Contract | None = None
        names = {*self._template.names, *(self._system.names if self._system else ())}
        self.reads = frozenset(names - {"item"})
        if unknown := sorted(self._fence - names):
            raise ConfigError(f"ask: fence names {unknown}, which are no placeholders of the template.")
        if isinstance(model, Checking):
            model.check_options(self._options)

    def __repr__(self) -> str:
        return f"<Ask {self._model!r}: {', '.join(self._template.names) or 'no placeholders'}>"

    @property
    def model(self) -> ModelAdapter:
        """What is asked."""
        return self._model

    def bind(self, contract: Contract | None) -> Ask:
        """The action of a step with this output contract. Raises ConfigError if the model cannot be asked for it."""
        bound = Ask.__new__(Ask)
        for name in Ask.__slots__:
            if hasattr(self, name):
                setattr(bound, name, getattr(self, name))
        bound._expected = contract
        bound._schema = None if contract is None else contract.json_schema()
        if isinstance(self._model, Checking):
            self._model.shape(bound._schema)
        return bound

    def bound(self, tokens_of: TokensOf) -> CallBound:
        """What one call uses at most; see `Workflow.estimate`."""
        templates = [template for template in (self._system, self._template) if template is not None]
        more = messages_tokens(self._examples) + schema_tokens(self._schema)
        return prompt_bound(self._model, templates, more, self._fence, tokens_of)

    async def __call__(self, ctx: StepContext) -> JSONValue:
        request = self.request(ctx)
        if self._stream:
            response = await self._streamed(ctx, request)
        else:
            response = await self._model.call(request)
        if self._schema is None:
            return response.to_dict()
        return response.text if response.parsed is MISSING else response.parsed

    def request(self, ctx: StepContext) -> ModelRequest:
        """What the model is asked in this attempt: the rendered prompt, and of a failed attempt the broken rules.

        The feedback is a part of its own behind the prompt. It is about the last attempt alone, so it never grows, and
        it is made of the contract's words alone.
        """
        values = self._values(ctx)
        delimiter = _delimiter(ctx.run_id)
        parts = [self._template.render(values, delimiter=delimiter)]
        if (told := feedback(ctx.retry_context)) is not None:
            parts.append(told)
        messages = [*self._examples, Message("user", tuple(parts))]
        if self._system is not None:
            messages.insert(0, Message("system", (self._system.render(values, delimiter=delimiter),)))
        return ModelRequest(tuple(messages), schema=self._schema, options=self._options, expected=self._expected)

    def _values(self, ctx: StepContext) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in (*self._template.names, *(self._system.names if self._system else ())):
            if name != "item":
                value = ctx.inputs[name]
            elif ctx.index is None:
                raise ConfigError(f"Step {ctx.step_id!r} has the placeholder {{item}}, and no foreach that gives one.")
            else:
                value = ctx.item
            value = said(value)
            values[name] = untrusted(_as_text(value)) if name in self._fence else value
        return values

    async def _streamed(self, ctx: StepContext, request: ModelRequest) -> ModelResponse:
        """Ask, and report each piece of the answer as an event, cut at spaces: a secret of the run in the answer is
        then whole when events are redacted."""
        waiting = ""
        async with self._model.stream(request) as answer:
            async for piece in answer:
                waiting += piece
                ready = max(waiting.rfind(" "), waiting.rfind("\n")) + 1
                if not ready and len(waiting) > _LONGEST_WORD:
                    ready = len(waiting)
                if ready:
                    self._report(ctx, waiting[:ready])
                    waiting = waiting[ready:]
            if waiting:
                self._report(ctx, waiting)
            return answer.response

    def _report(self, ctx: StepContext, text: str) -> None:
        data: dict[str, JSONValue] = {"attempt": ctx.attempt, "text": text}
        if ctx.index is not None:
            data["item"] = ctx.index
        report(ctx, LLMDelta, EventLevel.INFO, data)


def ask(template: str, model: ModelAdapter | AsyncModel, **settings: Unpack[AskSettings]) -> Ask:
    """An action that asks any model: `Step("sum", ask("Sum up: {text}", my_adapter))`.

    Args:
        template: with placeholders `{name}`: keys of the run's inputs, steps, or `{item}` in a foreach. They are what
            the step reads, and it runs after the steps among them.
        model: an adapter, or any async function that takes the prompt as one text and returns the answer.
        system: the template of a system message, with the same placeholders; None: no such message.
        examples: pairs of a question and its right answer, sent as earlier turns of the conversation. They are texts,
            not templates.
        fence: placeholders whose values come from outside: they are put between marks that their authors cannot know,
            under a line that says that nothing in there is an instruction.
        stream: ask for the answer piece by piece and report each as an `llm_delta` event.
        options: further fields of the request, in the provider's own words, such as `{"temperature": 0.2}`.

    Raises:
        ConfigError: an argument is not valid.
        SecurityError: a credential is given inline.
    """
    return Ask(template, as_adapter(model), **settings)


def as_adapter(model: ModelAdapter | AsyncModel) -> ModelAdapter:
    """The model as an adapter: itself, or one around an async function. Raises ConfigError if it is neither."""
    if isinstance(model, ModelAdapter):
        return model
    return FunctionAdapter(model)


def split_settings(
    subject: str, settings: Mapping[str, Any], known: type[Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of an adapter, and those of `ask`. Raises for those that are neither, as `refuse_keywords` does."""
    refuse_keywords(subject, settings, known.__annotations__)
    asking = {name: value for name, value in settings.items() if name in AskSettings.__annotations__}
    return {name: value for name, value in settings.items() if name not in asking}, asking


def feedback(retry_context: Mapping[str, Any] | None) -> str | None:
    """The part of a prompt that tells of the broken rules of the attempt before; None if it broke none."""
    errors = (retry_context or {}).get("errors")
    if not isinstance(errors, list) or not errors:
        return None
    lines = [f"- {e['field'] or 'the answer as a whole'}: expected {e['expected']} ({e['rule']})" for e in errors]
    return "\n".join([_FEEDBACK, *lines, "Answer again, so that each of these rules holds."])


class FunctionAdapter:
    """An async function as a model: the prompt as one text in, the answer out. Calls are counted as any model's."""

    provider: Final = "function"

    def __init__(self, function: AsyncModel) -> None:
        if not callable(function) or not is_async(cast(Action, function)):
            raise ConfigError(f"ask: model={function!r} must be an adapter, or an async function that takes a text.")
        self._function = function
        self.model = getattr(function, "__name__", type(function).__name__)

    def __repr__(self) -> str:
        return f"<FunctionAdapter {self.model!r}>"

    async def call(
        self,
        prompt: Any,
        /,
        *,
        contract: object = None,
        max_tokens: int | None = None,
        options: Mapping[str, JSONValue] | None = None,
    ) -> ModelResponse:
        """See `ModelAdapter.call`. The function gets neither `max_tokens` nor `options`, which it has no place for."""
        request = as_request(prompt, contract=contract, max_tokens=max_tokens, options=options)
        texts = [part for message in request.messages for part in message.parts]
        if request.schema is not None:
            texts.append(in_words(request.schema))
        call = ModelCall(self.provider, self.model, request)
        async with metered(call):
            started = anyio.current_time()
            answer = await self._function("\n\n".join(texts))
            response = _as_response(answer, self, request, (anyio.current_time() - started) * 1000)
            call.usage = None if response.usage.total_tokens is None else response.usage
        return await checked(response, request)

    def stream(self, *_: Any, **__: Any) -> Any:
        """A function has its answer at once."""
        raise ConfigError(f"{self!r} cannot stream: use an adapter, or stream=False.")


def _as_response(answer: Any, adapter: FunctionAdapter, request: ModelRequest, latency_ms: float) -> ModelResponse:
    if isinstance(answer, ModelResponse):
        return answer
    text = answer if isinstance(answer, str) else ""
    if request.schema is None and not isinstance(answer, str):  # no contract takes the data: it is told as text
        try:
            text = _as_text(to_plain(answer))
        except NotJSON:
            raise ConfigError(
                f"Model {adapter.model!r} answered with a {type(answer).__name__}; a function answers with a text, "
                "JSON data or a ModelResponse."
            ) from None
    parsed = parsed_json(answer) if isinstance(answer, str) else answer
    return ModelResponse(
        text=text,
        model=adapter.model,
        provider=adapter.provider,
        usage=TokenUsage(),
        latency_ms=latency_ms,
        stop=StopReason.END,
        parsed=parsed,
    )


def said(value: JSONValue) -> JSONValue:
    """The text of an answer that a step without a contract has stored with its usage and the rest, and of a list, as of
    a foreach, that of each; any other value as it is. A prompt that reads such a step means what the model said."""
    return [_said(entry) for entry in value] if isinstance(value, list) else _said(value)


def _said(value: JSONValue) -> JSONValue:
    return value["text"] if isinstance(value, dict) and value.keys() == _RESPONSE else value


def _text(what: str, given: object) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ConfigError(f"ask: {what}={given!r} must be a text.")
    return given


def _pairs(given: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"ask: examples={given!r} must be a list of pairs: a question and its right answer.")
    for pair in given:
        if not isinstance(pair, (tuple, list)) or len(pair) != len(_TURNS):
            raise ConfigError(f"ask: examples has {pair!r}; it takes pairs: a question and its right answer.")
        yield pair


def _placeholders(given: Iterable[str]) -> frozenset[str]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"ask: fence={given!r} must be a list, such as fence=[{given!r}].")
    return frozenset(given)


def _as_text(value: JSONValue) -> str:
    return value if isinstance(value, str) else Template("{value}").render({"value": value})


def _delimiter(run_id: str) -> str:
    """A run's fence: the same in all its attempts, so that a prompt is, and not to be guessed from its id."""
    return hmac.new(_PROCESS, run_id.encode(), hashlib.sha256).hexdigest()[:16]
