"""An answer over HTTP on its way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from pydantic import ValidationError

from kairos_async.adapters import _errors
from kairos_async.adapters._call import ModelCall
from kairos_async.adapters._http import Reply
from kairos_async.adapters._sse import Event, Events
from kairos_async.adapters._wire import Answer, Collector, known
from kairos_async.adapters.model import ModelResponse
from kairos_async.exceptions import ConfigError, ModelTruncatedError

LONGEST_EVENT: Final = 2**20
"""Bytes of one event of a stream, and of one line."""


class HTTPStream:
    """See `ModelStream`. `finish` makes the response of the whole answer."""

    def __init__(
        self, call: ModelCall, reply: Reply, collector: Collector, finish: Callable[[Answer], Awaitable[ModelResponse]]
    ) -> None:
        self._call = call
        self._reply = reply
        self._collector = collector
        self._finish = finish
        self._events = Events(reply, LONGEST_EVENT)
        self._response: ModelResponse | None = None

    @property
    def text(self) -> str:
        """What came so far."""
        return "".join(self._collector.answer.text)

    @property
    def ended(self) -> bool:
        """Whether it was read to its end."""
        return self._response is not None

    @property
    def response(self) -> ModelResponse:
        """The whole answer. Raises ConfigError while the iteration has not come to its end."""
        if self._response is None:
            raise ConfigError("A stream has a response once it was read to its end.")
        return self._response

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        """The next piece of text, never an empty one."""
        collector = self._collector
        while not collector.complete:
            event = await self._events.next()
            if event is None:
                break
            piece = self._take(event)
            if piece:
                collector.answer.text.append(piece)
                return piece
        if self._response is None:
            self._response = await self._whole()
        raise StopAsyncIteration

    def _take(self, event: Event) -> str:
        collector, origin = self._collector, self._reply.origin
        piece: str | None = None
        try:
            piece = collector.take(event)
        except ValidationError:
            piece = None  # nothing of it is kept: it quotes the answer
        self._call.usage = known(collector.answer.usage)
        if collector.failed is not None:
            raise _errors.of_event(origin, collector.failed, self._call.usage)
        if piece is None:
            raise _errors.not_in_format(origin, self._call.usage)
        return piece

    async def _whole(self) -> ModelResponse:
        collector = self._collector
        collector.close()
        if collector.complete:
            await self._reply.drain()
        usage = self._call.usage = known(collector.answer.usage)
        if collector.answer.stop is None:
            raise self._reply.origin.error(ModelTruncatedError, "its stream ended before the answer did", usage=usage)
        return await self._finish(collector.answer)
