"""The one HTTP layer of all adapters, over httpx or a client like it.

One pooled client for each event loop, opened with the first run or call that needs it and closed with the last one. No
retries, no redirects, no settings from the environment (so that a key goes nowhere but to its provider), a deadline for
each phase and for the whole, and a limit on what is read. What the client raises becomes an error of ours, raised
outside of the `except` block that caught it.
"""

from __future__ import annotations

import functools
import importlib
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio
import anyio.lowlevel

from kairos_async.adapters import _errors
from kairos_async.adapters._errors import Origin
from kairos_async.context import at_end_of_run, current_step, on_thread_of_run
from kairos_async.exceptions import ConfigError, ModelError

_CLOSING: Final = 5.0
"""Seconds that closing a pool, or a connection, may take."""
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


class _Pool:
    """The clients of one event loop, by whether they are for https, and who holds them."""

    __slots__ = ("clients", "holders", "runs")

    def __init__(self) -> None:
        self.clients: dict[bool, Any] = {}
        self.holders = 0
        self.runs: set[str] = set()

    def release(self) -> dict[bool, Any]:
        """One holder less. The last one gets the clients, to close them."""
        self.holders -= 1
        if self.holders:
            return {}
        clients, self.clients = self.clients, {}
        return clients


_pool: Final[anyio.lowlevel.RunVar[_Pool]] = anyio.lowlevel.RunVar("kairos_async_connections")
_trusted: Final[list[ssl.SSLContext]] = []
_ready: Final[list[object]] = []


@asynccontextmanager
async def connections() -> AsyncIterator[None]:
    """Keep the connections of this event loop open, over however many runs and calls: for an application's lifespan.

    A run keeps them from its first call to a model until its end, and a call outside of a run while it lasts. The last
    one to leave closes them all.
    """
    pool = _pool_of_loop()
    pool.holders += 1
    try:
        yield
    finally:
        await _close(pool.release())


@asynccontextmanager
async def for_a_call() -> AsyncIterator[None]:
    """What a call needs of `connections`: its run holds them, and if there is none, the call does."""
    step = current_step()
    if step is None or not on_thread_of_run(step):
        async with connections():
            yield
        return
    pool = _pool_of_loop()
    if step.run_id not in pool.runs:
        pool.runs.add(step.run_id)
        pool.holders += 1
        at_end_of_run(step, functools.partial(_leave, pool, step.run_id))
    yield


def _pool_of_loop() -> _Pool:
    pool = _pool.get(None)
    if pool is None:
        pool = _Pool()
        _pool.set(pool)
    return pool


async def _leave(pool: _Pool, run_id: str) -> None:
    pool.runs.discard(run_id)
    await _close(pool.release())


async def _close(clients: Mapping[bool, Any]) -> None:
    if clients:
        with anyio.move_on_after(_CLOSING, shield=True):
            for client in clients.values():
                await client.aclose()


def prepare(subject: str, base_url: str) -> None:
    """Make sure, when an adapter is made, that calls need nothing that blocks or is missing.

    Raises:
        ConfigError: httpx is not installed.
    """
    try:
        httpx = importlib.import_module("httpx")  # an extra: this module has to be importable without it
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise ConfigError(
            f"{subject} needs the extra `http`: pip install 'kairos-async[http]', or pass a client of your own."
        ) from None
    if not _ready:
        # What httpx imports with its first client, it would otherwise import on the event loop.
        _ready.append(httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False))
    if base_url.startswith("https:") and not _trusted:
        _trusted.append(httpx.create_ssl_context(trust_env=False))


def _client(url: str) -> Any:
    """This event loop's client. To be called while somebody holds it."""
    pool, secure = _pool.get(), url.startswith("https:")
    if secure not in pool.clients:
        httpx = importlib.import_module("httpx")
        # A client for plain http to loopback trusts no certificate, and needs to read none from the disk.
        context = _trusted[0] if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30.0)
        pool.clients[secure] = httpx.AsyncClient(
            verify=context, trust_env=False, follow_redirects=False, limits=limits, http2=False
        )
    return pool.clients[secure]


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
        with anyio.move_on_after(_CLOSING, shield=True):
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
    own: Any = _client(url) if client is None else client
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
