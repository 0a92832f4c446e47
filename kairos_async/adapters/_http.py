"""The one HTTP layer of all adapters, over httpx or a client like it.

No retries, no redirects, no settings from the environment (so that a key goes nowhere but to its provider), a deadline
for each phase and for the whole, and a limit on what is read. What the client raises becomes an error of ours, raised
outside of the `except` block that caught it.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio

from kairos_async.adapters import _errors
from kairos_async.adapters._connections import CLOSING, OwnClient
from kairos_async.adapters._errors import Origin
from kairos_async.exceptions import ConfigError, ModelError

_BUFFERED: Final = 2_000
"""Pieces that can still come out of a closed connection's buffer of 64 KiB."""
_DRAINING: Final = 0.5
"""Seconds for the end of a stream whose answer is complete."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long what may take, in seconds; `math.inf` for no limit.

    `connect`: until there is a connection. `write`: for each piece of the request. `read`: until the answer begins, and
    between two pieces of it. `total`: for a call as a whole.
    """

    connect: float = 5.0
    write: float = 30.0
    read: float = 300.0
    total: float = 600.0

    def __post_init__(self) -> None:
        for name in ("connect", "write", "read", "total"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not value > 0:
                raise ConfigError(f"Timeouts: {name}={value!r} must be a number of seconds > 0.")

    def for_client(self) -> tuple[float | None, float | None, float | None, None]:
        """As httpx takes them: connect, read, write, and the pool, which has no limit."""
        read, write, connect = (None if math.isinf(s) else s for s in (self.read, self.write, self.connect))
        return connect, read, write, None


class Client(Protocol):
    """What is used of `httpx.AsyncClient`, and of a client that a user passes: httpx2's has it, too."""

    @property
    def build_request(self) -> Callable[..., Any]:
        """Called with method, URL, `content`, `headers` and `timeout`."""

    @property
    def send(self) -> Callable[..., Awaitable[Any]]:
        """Called with the request, `stream=True` and `follow_redirects=False`; gives the response."""


_own: Final = OwnClient()


class Reply:
    """An answer of which status and headers are there. To be closed; at most `limit` bytes of it are read.

    `headers` have lower-case names. `deadline` is on the event loop's clock.
    """

    __slots__ = ("_chunks", "_response", "deadline", "headers", "limit", "origin", "read", "seconds", "status")

    def __init__(self, origin: Origin, response: Any, *, limit: int, deadline: float, seconds: float) -> None:
        self.origin = origin
        self._response = response
        self._chunks: Any = None
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self.limit = limit
        self.deadline = deadline
        self.seconds = seconds
        self.read = 0

    async def chunk(self) -> bytes | None:
        """The next piece, None after the last one. Raises ModelError."""
        problem: ModelError | None = None
        found: bytes | None = None
        if self._chunks is None:
            self._chunks = self._response.aiter_bytes()
        with anyio.CancelScope(deadline=self.deadline) as bound:
            try:
                found = await anext(self._chunks, None)
            except Exception as error:
                problem = _errors.of_exception(self.origin, error, started=True)
        if bound.cancelled_caught:
            problem = _errors.too_late(self.origin, self.seconds)
        if found is not None:
            self.read += len(found)
            if self.read > self.limit:
                problem = _errors.too_large(self.origin, self.limit)
        if problem is not None:
            raise problem
        return found

    async def body(self) -> bytes:
        """All that is left."""
        data = bytearray()
        while (piece := await self.chunk()) is not None:
            data += piece
        return bytes(data)

    async def drain(self) -> None:
        """Read what follows the answer, which should be nothing, so that the connection can be used again."""
        with anyio.move_on_after(_DRAINING):
            while await self.chunk() is not None:
                continue

    async def aclose(self) -> None:
        """Give the connection back, or end it if not everything was read."""
        with anyio.move_on_after(CLOSING, shield=True):
            await self._response.aclose()
            if self._chunks is not None:
                await self._end_chunks()

    async def _end_chunks(self) -> None:
        """Run the client's generators to their end: closing the outer one would leave those inside of it to the garbage
        collector, which trio warns of. The connection is closed, so that reading on fails once its buffer is empty;
        whatever goes on for ever all the same is closed from outside."""
        try:
            for _ in range(_BUFFERED):
                await anext(self._chunks)
        except StopAsyncIteration:
            return
        except Exception as error:
            del error  # the end that was wanted
            return
        await self._chunks.aclose()


async def send(
    origin: Origin,
    client: Client | None,
    url: str,
    headers: Mapping[str, str],
    content: bytes,
    *,
    timeouts: Timeouts,
    limit: int,
) -> Reply:
    """Send a POST request and wait for status and headers, while somebody holds the connections if `client` is None.

    Raises:
        ModelError: there is no answer.
    """
    problem: ModelError | None = None
    response: Any = None
    deadline = anyio.current_time() + timeouts.total
    own: Any = _own if client is None else client
    with anyio.CancelScope(deadline=deadline) as bound:
        try:
            request = own.build_request("POST", url, content=content, headers=headers, timeout=timeouts.for_client())
            response = await own.send(request, stream=True, follow_redirects=False)
        except Exception as error:
            problem = _errors.of_exception(origin, error, started=False)
    if bound.cancelled_caught:
        problem = _errors.too_late(origin, timeouts.total)
    if problem is not None:
        raise problem
    return Reply(origin, response, limit=limit, deadline=deadline, seconds=timeouts.total)
