"""What all adapters over HTTP have in common: settings that are checked once, one call, one stream."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar, Final, TypedDict, Unpack, cast

import anyio
from pydantic import ValidationError

from kairos_async._types import MISSING, JSONValue, Missing
from kairos_async.adapters import _connections, _errors, _http, prices
from kairos_async.adapters._call import ModelCall, metered
from kairos_async.adapters._endpoint import (
    Secret,
    checked_base_url,
    is_loopback,
    key_from_environment,
    refuse_credentials,
    refuse_keywords,
)
from kairos_async.adapters._errors import Origin
from kairos_async.adapters._http import Client, Reply, Timeouts
from kairos_async.adapters._streaming import HTTPStream
from kairos_async.adapters._structured import Shape, Structured, in_words, parsed_json
from kairos_async.adapters._wire import Answer, Collector, known
from kairos_async.adapters.model import (
    Message,
    ModelRequest,
    ModelResponse,
    ModelStream,
    Prompt,
    Role,
    StopReason,
    as_request,
    checked,
)
from kairos_async.context import outgoing_headers
from kairos_async.contracts.contract import JSONSchema
from kairos_async.contracts.judge import JudgeRequest
from kairos_async.exceptions import ConfigError, ModelStopError

LONGEST_ANSWER: Final = 16 * 2**20
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_SHAPES: Final = 64
"""Schemas of which an adapter remembers what its provider is sent."""
LIMIT_HEADERS: Final = ("ratelimit", "retry-after")


class HTTPSettings(TypedDict, total=False):
    """What every adapter over HTTP can be told; see `HTTPAdapter`."""

    max_tokens: int | None
    base_url: str | None
    key_env: str | None
    allow_localhost: bool
    timeouts: Timeouts
    longest_answer: int
    structured: Structured
    client: Client | None


class HTTPAdapter(ABC):
    """A model behind HTTP. Subclasses say what their provider's format is; everything else is here.

    Args:
        model: as the provider names it; None: the adapter's default, which ages within months.
        max_tokens: the greatest length of an answer; None: the provider's.
        base_url: None: the provider's own. Never read from the environment.
        key_env: the environment variable with the key. None: the provider's usual ones at its own base URL, no key on
            loopback; any other base URL has to name it, so that no key goes to another provider.
        allow_localhost: plain http to "localhost", "127.0.0.1" or "::1" is fine.
        timeouts: how long what may take.
        longest_answer: bytes that are read of an answer at most.
        structured: how the form of an answer is asked for; see `Structured`.
        client: an `httpx.AsyncClient`, or one with the same `build_request` and `send`, that is used instead of our
            own. It belongs to the caller, who closes it.

    Raises:
        ConfigError: an argument is not valid, the key is missing, httpx is.
        SecurityError: a credential is given inline, or the base URL is not safe.
    """

    provider: ClassVar[str]
    own_base_url: ClassVar[str]
    key_variables: ClassVar[tuple[str, ...]]
    structured_kinds: ClassVar[tuple[str, ...]] = ("schema", "prompt")
    reserved: ClassVar[frozenset[str]]
    """Fields of the body that options cannot set, because the adapter does."""

    default_model: ClassVar[str]
    default_max_tokens: ClassVar[int | None] = None

    def __init__(self, model: str | None = None, **settings: Unpack[HTTPSettings]) -> None:
        subject = type(self).__name__
        refuse_keywords(subject, settings, HTTPSettings.__annotations__)
        self.model = checked_model(subject, self.default_model if model is None else model)
        self.max_tokens = settings.get("max_tokens", self.default_max_tokens)
        self._longest = settings.get("longest_answer", LONGEST_ANSWER)
        for name, value in (("max_tokens", self.max_tokens), ("longest_answer", self._longest)):
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"{subject}: {name}={value!r} must be a whole number >= 1.")
        self._structured: Structured = settings.get("structured", "schema")
        if self._structured not in self.structured_kinds:
            kinds = ", ".join(self.structured_kinds)
            raise ConfigError(f"{subject}: structured={self._structured!r} is not one of {kinds}.")
        self._shapes: dict[str, Shape] = {}
        self._timeouts = settings.get("timeouts", Timeouts())
        self._client = settings.get("client")
        given = settings.get("base_url")
        local = settings.get("allow_localhost", False) is True
        self.base_url = checked_base_url(
            self.own_base_url if given is None else given, allow_localhost=local, subject=subject
        )
        self._key, variables = self._find_key(subject, settings.get("key_env"))
        if self._client is None:
            _connections.prepare(subject, self.base_url)
        self.origin = Origin(self.provider, self.model, variables)

    def _find_key(self, subject: str, key_env: str | None) -> tuple[Secret | None, tuple[str, ...]]:
        variables = self.key_variables if key_env is None else (key_env,)
        if key_env is None and self.base_url != self.own_base_url:
            if is_loopback(self.base_url):
                return None, ()
            raise ConfigError(
                f"{subject}: base_url is not that of {self.provider}, so its key is not sent there. Name the "
                "environment variable with the key of that server: key_env='...'."
            )
        return key_from_environment(variables, subject=subject), variables

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.model!r}>"

    @abstractmethod
    def _url(self, *, streaming: bool) -> str:
        """Where a request goes."""

    @abstractmethod
    def _key_headers(self, key: str) -> dict[str, str]:
        """The headers that carry the key."""

    @abstractmethod
    def _body(self, request: ModelRequest, shape: Shape | None, *, streaming: bool) -> dict[str, Any]:
        """The request in the provider's format. It replaces options of the same name, or is merged with them."""

    @abstractmethod
    def _answer(self, body: bytes) -> Answer:
        """A whole answer. Raises pydantic's ValidationError for what is not in the format."""

    @abstractmethod
    def _collector(self) -> Collector:
        """For one stream."""

    @abstractmethod
    def _shaped(self, schema: JSONSchema) -> Shape:
        """The schema in the provider's subset."""

    async def _awake(self) -> None:  # noqa: B027 - most providers always are
        """Have the provider run, before anything is counted."""

    def _more_headers(self) -> Mapping[str, str]:
        """What the provider wants besides."""
        return {}

    def shape(self, schema: JSONSchema | None) -> Shape | None:
        """How answers of this schema are asked for and turned back; None for free text.

        Raises:
            ConfigError: the provider cannot express the schema.
        """
        if schema is None:
            return None
        # Turning a schema of 3 fields takes 46 us, twice, of the 1,000 of a call, and writing it down 18.
        text = json.dumps(schema)
        found = self._shapes.get(text)
        if found is None:
            schema = json.loads(text)  # the caller's own may change
            found = self._shaped(schema) if self._structured == "schema" else Shape(schema, schema)
            if len(self._shapes) >= _SHAPES:
                self._shapes.clear()
            self._shapes[text] = found
        return found

    async def call(
        self,
        prompt: Prompt,
        /,
        *,
        contract: object = None,
        max_tokens: int | None = None,
        options: Mapping[str, JSONValue] | None = None,
    ) -> ModelResponse:
        """See `ModelAdapter.call`."""
        await self._awake()
        request, call, content, shape = self._prepared(prompt, contract, max_tokens, options, streaming=False)
        async with metered(call):
            async with self._connections():
                started = anyio.current_time()
                reply = await self._send(call, content, streaming=False)
                try:
                    body = await reply.body()
                finally:
                    await reply.aclose()
            answer = self._understood(reply, body)
            call.usage = known(answer.usage)
            response = self._response(answer, reply, started, shape)
        return await checked(response, request)

    @asynccontextmanager
    async def stream(
        self,
        prompt: Prompt,
        /,
        *,
        contract: object = None,
        max_tokens: int | None = None,
        options: Mapping[str, JSONValue] | None = None,
    ) -> AsyncIterator[ModelStream]:
        """See `ModelAdapter.stream`."""
        await self._awake()
        request, call, content, shape = self._prepared(prompt, contract, max_tokens, options, streaming=True)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(metered(call))
            await stack.enter_async_context(self._connections())
            started = anyio.current_time()
            reply = await self._send(call, content, streaming=True)
            stack.push_async_callback(reply.aclose)

            async def finish(answer: Answer) -> ModelResponse:
                return await checked(self._response(answer, reply, started, shape), request)

            stream = HTTPStream(call, reply, self._collector(), finish)
            yield stream
            if not stream.ended:
                call.outcome = "abandoned"

    async def __call__(self, request: JudgeRequest) -> JSONValue:
        """The verdict that an `LLMJudge` asks for, whose model an adapter can be."""
        messages = tuple(Message(cast(Role, m["role"]), (m["content"],)) for m in request.messages)
        answer = await self.call(ModelRequest(messages, schema=request.schema))
        return answer.text if answer.parsed is MISSING else answer.parsed

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[None]:
        if self._client is not None:
            yield
            return
        async with _connections.for_a_call():
            yield

    def _prepared(
        self,
        prompt: Prompt,
        contract: object,
        max_tokens: int | None,
        options: Mapping[str, JSONValue] | None,
        *,
        streaming: bool,
    ) -> tuple[ModelRequest, ModelCall, bytes, Shape | None]:
        request = as_request(prompt, contract=contract, max_tokens=max_tokens, options=options)
        self.check_options(request.options)
        shape = self.shape(request.schema)
        asked = request
        if request.schema is not None and self._structured != "schema":
            asked = with_part(request, in_words(request.schema))
        length = request.max_tokens or self.max_tokens
        body = {**request.options, **self._body(asked, shape, streaming=streaming)}
        call = ModelCall(self.provider, self.model, request, max_tokens=length)
        return request, call, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(), shape

    def check_options(self, options: Mapping[str, JSONValue]) -> None:
        """Raise ConfigError for an option that the adapter sets itself, SecurityError for a credential."""
        refuse_credentials(f"{self!r}", options)
        if taken := sorted(self.reserved.intersection(options)):
            raise ConfigError(f"{self!r}: options cannot set {', '.join(taken)}; arguments of the adapter do.")

    async def _send(self, call: ModelCall, content: bytes, *, streaming: bool) -> Reply:
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if streaming else "application/json",
            # Answers are short; what is not compressed cannot be a bomb.
            "accept-encoding": "identity",
            "user-agent": "kairos-async",
            **self._more_headers(),
            **outgoing_headers(),
        }
        if self._key is not None:
            headers |= self._key_headers(self._key.reveal())
            call.keep_secret(self._key.reveal())
        reply = await _http.send(
            self.origin,
            self._client,
            self._url(streaming=streaming),
            headers,
            content,
            timeouts=self._timeouts,
            limit=self._longest,
        )
        call.limits = {
            name: value for name, value in reply.headers.items() if any(word in name for word in LIMIT_HEADERS)
        }
        if reply.status == 200:
            return reply
        body = b""
        try:
            body = await reply.body()
        finally:
            await reply.aclose()
        raise _errors.of_status(self.origin, reply.status, reply.headers, body)

    def _understood(self, reply: Reply, body: bytes) -> Answer:
        answer: Answer | None = None
        try:
            answer = self._answer(body)
        except ValidationError:
            answer = None  # nothing of it is kept: it quotes the answer
        if answer is None:
            raise _errors.not_in_format(self.origin, request=_errors.request_id(reply.headers))
        return answer

    def _response(self, answer: Answer, reply: Reply, started: float, shape: Shape | None) -> ModelResponse:
        """The answer as a response. Raises ModelStopError if it is none."""
        stop = answer.stop or StopReason.END
        found = _errors.STOPS.get(stop)
        if stop is StopReason.OTHER:
            found = (ModelStopError, "it stopped for a reason that this library does not know")
        request = _errors.request_id(reply.headers)
        if found is not None:
            raise self.origin.error(*found, usage=answer.usage, request_id=request)
        text = "".join(answer.text)
        parsed: JSONValue | Missing = MISSING
        if shape is not None and stop is not StopReason.TOOL_CALLS:
            parsed = parsed_json(text)
            if parsed is not MISSING:
                parsed = shape.restore(parsed, text)
        return ModelResponse(
            text=text,
            model=answer.model or self.model,
            provider=self.provider,
            usage=prices.priced(self.provider, self.model, answer.usage),
            latency_ms=(anyio.current_time() - started) * 1000,
            stop=stop,
            parsed=parsed,
            tool_calls=tuple(answer.tool_calls),
            metadata={"request_id": request or answer.id, "stop_reason": answer.stop_word},
        )


def with_part(request: ModelRequest, text: str) -> ModelRequest:
    """The request with one more part at the end of its last message that is the user's."""
    messages = list(request.messages)
    for place in reversed(range(len(messages))):
        if messages[place].role == "user":
            messages[place] = Message("user", (*messages[place].parts, text))
            break
    else:
        messages.append(Message("user", (text,)))
    return ModelRequest(tuple(messages), request.schema, request.contract, request.max_tokens, request.options)


def checked_model(subject: str, model: object) -> str:
    """The name of a model, as far as one can be judged here. Raises ConfigError."""
    if not isinstance(model, str) or not _MODEL.fullmatch(model) or ".." in model:
        raise ConfigError(f"{subject}: model={model!r} must be the name of a model, without spaces.")
    return model
