"""The connections of an event loop to the providers, kept open while somebody holds them.

They are those of httpx (of httpcore, which is its part that talks), without its pool and without its client. Those that
are idle lie on a stack for each origin. httpx's pool goes over all its connections, and asks the system about each idle
one, whenever a request begins or ends: with a hundred at once, a call took 4 to 20 ms of processor time. Its client
would take another quarter of a millisecond for cookies, redirects and proxies that no adapter has.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import anyio
import anyio.lowlevel

from kairos_async.context import at_end_of_run, current_step, on_thread_of_run
from kairos_async.exceptions import ConfigError

CLOSING: Final = 5.0
"""Seconds that closing a connection may take."""
_IDLE: Final = 30.0
"""Seconds after which a connection that nobody used is closed."""
_TIDIED: Final = 2
"""Of these, so many are closed whenever a connection comes back: no call waits for hundreds."""

_LONG_REQUEST: Final = 2**18
"""Bytes of a request that are sent before it is whole."""

_contexts: Final[dict[str, ssl.SSLContext]] = {}
"""By scheme. That of plain http, which goes to loopback alone, trusts no certificate, and reads none from the disk."""


class Pool:
    """The connections of one event loop that are idle, and who holds them.

    There are never more of them than calls were under way at once, which is what runs and steps limit.
    """

    __slots__ = ("_idle", "holders", "runs")

    def __init__(self) -> None:
        self._idle: dict[str, deque[tuple[Any, float]]] = {}
        self.holders = 0
        self.runs: set[str] = set()

    async def take(self, origin: Any) -> Any:
        """A connection for one request: the one that was used last, if its server has not closed it, or a new one."""
        idle = self._idle.get(str(origin))
        while idle:
            connection = idle.pop()[0]
            if not connection.has_expired():
                return connection
            await close([connection])
        context = _contexts[origin.scheme.decode()]
        return _core().AsyncHTTPConnection(origin, context, keepalive_expiry=_IDLE, network_backend=_Network())

    async def give_back(self, origin: Any, connection: Any) -> None:
        """The request is over, and its answer closed; the connection too, if not everything was read."""
        if not self.holders or not connection.is_idle():
            await close([connection])
            return
        now = anyio.current_time()
        self._idle.setdefault(str(origin), deque()).append((connection, now))
        if stale := self._tidy(now):
            await close(stale)

    def _tidy(self, now: float) -> list[Any]:
        """Take away some of those that have been idle for long."""
        return [
            idle.popleft()[0]
            for idle in self._idle.values()
            for _ in range(_TIDIED)
            if idle and now - idle[0][1] > _IDLE
        ]

    async def leave(self) -> None:
        """One holder less; with the last one, all connections are closed."""
        self.holders -= 1
        if not self.holders:
            idle, self._idle = self._idle, {}
            await close(connection for stack in idle.values() for connection, _ in stack)


async def close(connections: Iterable[Any]) -> None:
    """Close them, whatever is cancelled meanwhile."""
    for connection in connections:
        with anyio.move_on_after(CLOSING, shield=True):
            await connection.aclose()


@functools.cache
def _core() -> Any:
    return importlib.import_module("httpcore")


class _Network:
    """How httpcore opens connections: as anyio does, with streams that send head and body of a request together."""

    async def connect_tcp(self, *args: Any, **more: Any) -> _Together:
        """See `httpcore.AsyncNetworkBackend`."""
        return _Together(await _core().AnyIOBackend().connect_tcp(*args, **more))


class _Together:
    """A stream whose writes wait for the next read: one call of the system and one packet less for each request, and
    with them a tenth of what it costs."""

    __slots__ = ("_stream", "_timeout", "_waiting")

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._waiting = bytearray()
        self._timeout: float | None = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """See `httpcore.AsyncNetworkStream`."""
        self._waiting += buffer
        self._timeout = timeout
        if len(self._waiting) > _LONG_REQUEST:
            await self._flush()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """See `httpcore.AsyncNetworkStream`."""
        if self._waiting:
            await self._flush()
        found: bytes = await self._stream.read(max_bytes, timeout)
        return found

    async def _flush(self) -> None:
        """Send. A server may refuse a request before it is whole: then its answer is there to be read."""
        buffer, self._waiting = bytes(self._waiting), bytearray()
        with contextlib.suppress(_core().WriteError):
            await self._stream.write(buffer, self._timeout)

    async def start_tls(self, *args: Any, **more: Any) -> _Together:
        """See `httpcore.AsyncNetworkStream`."""
        return _Together(await self._stream.start_tls(*args, **more))

    async def aclose(self) -> None:
        """See `httpcore.AsyncNetworkStream`."""
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        """See `httpcore.AsyncNetworkStream`."""
        return self._stream.get_extra_info(info)


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
    if "http" not in _contexts:
        _contexts["http"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _core().AnyIOBackend()  # imports what it would otherwise import on the event loop
    if base_url.startswith("https:") and "https" not in _contexts:
        _contexts["https"] = httpx.create_ssl_context(trust_env=False)


class OwnClient:
    """What is used of an `httpx.AsyncClient`, over the connections of the event loop. To be used while somebody holds
    them."""

    def build_request(self, method: str, url: str, *, content: bytes, headers: Mapping[str, str], timeout: Any) -> Any:
        """The request. `timeout`: connect, read, write, pool."""
        place = _parsed(url)
        lines = [("host", place.host), ("content-length", str(len(content))), *headers.items()]
        extensions = {"timeout": dict(zip(("connect", "read", "write", "pool"), timeout, strict=True))}
        return _core().Request(method, place.url, headers=lines, content=content, extensions=extensions)

    async def send(self, request: Any, *, stream: bool, follow_redirects: bool) -> Any:
        """The response, of which the body is to be read. No redirect is followed."""
        assert stream
        assert not follow_redirects
        pool, origin = pool_of_loop(), request.url.origin
        connection = await pool.take(origin)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await close([connection])
            raise
        return _Borrowed(response, pool, origin, connection)


class _Place(NamedTuple):
    """A URL as httpcore wants it, and the header that names its host."""

    url: Any
    host: str


@functools.lru_cache(maxsize=256)
def _parsed(url: str) -> _Place:
    """Read by httpx, as with its own client; once, since that takes 50 us of the 1,000 of a call."""
    found = importlib.import_module("httpx").URL(url)
    parts = {"scheme": found.raw_scheme, "host": found.raw_host, "port": found.port, "target": found.raw_path}
    return _Place(_core().URL(**parts), found.netloc.decode("ascii"))


class DecodingError(Exception):
    """The answer is compressed, though it was asked not to be. Named as httpx's."""


class _Borrowed:
    """A response, as far as it is used of httpx's, that gives its connection back when it is closed."""

    __slots__ = ("_connection", "_origin", "_pool", "_response", "headers", "status_code")

    def __init__(self, response: Any, pool: Pool, origin: Any, connection: Any) -> None:
        self._response = response
        self._pool = pool
        self._origin = origin
        self._connection = connection
        self.status_code: int = response.status
        self.headers: dict[str, str] = {}
        for raw_name, raw_value in response.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        """The body, piece by piece. Raises DecodingError."""
        if self.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise DecodingError
        pieces: AsyncIterator[bytes] = aiter(self._response.stream)
        return pieces

    async def aclose(self) -> None:
        """Close it; a connection of which not everything was read is ended."""
        await self._response.aclose()
        await self._pool.give_back(self._origin, self._connection)


_pool: Final[anyio.lowlevel.RunVar[Pool]] = anyio.lowlevel.RunVar("kairos_async_connections")


def pool_of_loop() -> Pool:
    """This event loop's."""
    pool = _pool.get(None)
    if pool is None:
        pool = Pool()
        _pool.set(pool)
    return pool


@asynccontextmanager
async def connections() -> AsyncIterator[None]:
    """Keep the connections of this event loop open, over however many runs and calls: for an application's lifespan.

    A run keeps them from its first call to a model until its end, and a call outside of a run while it lasts. The last
    one to leave closes them all.
    """
    pool = pool_of_loop()
    pool.holders += 1
    try:
        yield
    finally:
        await pool.leave()


@asynccontextmanager
async def for_a_call() -> AsyncIterator[None]:
    """What a call needs of `connections`: its run holds them, and if there is none, the call does."""
    step = current_step()
    if step is None or not on_thread_of_run(step):
        async with connections():
            yield
        return
    pool = pool_of_loop()
    if step.run_id not in pool.runs:
        pool.runs.add(step.run_id)
        pool.holders += 1
        at_end_of_run(step, functools.partial(_leave, pool, step.run_id))
    yield


async def _leave(pool: Pool, run_id: str) -> None:
    pool.runs.discard(run_id)
    await pool.leave()
