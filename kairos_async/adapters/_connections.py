"""The connections of an event loop to the providers, kept open while somebody holds them.

Each is a transport of httpx with one connection in it, which it opens with its first request, looks at before it is
used again, and replaces when the server has closed it. Those that are idle lie on a stack for each origin. One
transport for all, as in an `httpx.AsyncClient`, goes over all its connections, and asks the system about each idle one,
whenever a request begins or ends: with a hundred at once a call took 4 to 20 ms of processor time, and takes 2 now.
"""

from __future__ import annotations

import functools
import importlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

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

    def take(self, origin: str) -> Any:
        """A transport for one request to this origin, a URL up to its path: the one used last, or a new one."""
        idle = self._idle.get(origin)
        return idle.pop()[0] if idle else _transport(origin)

    async def give_back(self, origin: str, transport: Any) -> None:
        """The request is over, and its answer closed."""
        if not self.holders:
            await close([transport])
            return
        now = anyio.current_time()
        self._idle.setdefault(origin, deque()).append((transport, now))
        await close(self._tidy(now))

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
            await close(transport for stack in idle.values() for transport, _ in stack)


async def close(transports: Iterable[Any]) -> None:
    """Close them, whatever is cancelled meanwhile."""
    for transport in transports:
        with anyio.move_on_after(CLOSING, shield=True):
            await transport.aclose()


def _transport(origin: str) -> Any:
    httpx = importlib.import_module("httpx")
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE)
    context = _contexts[origin.partition(":")[0]]
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits, http2=False)


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
        _transport("http:")  # what httpx imports with its first transport, it would otherwise import on the event loop
    if base_url.startswith("https:") and "https" not in _contexts:
        _contexts["https"] = httpx.create_ssl_context(trust_env=False)


class OwnClient:
    """What is used of an `httpx.AsyncClient`, over the connections of the event loop. To be used while somebody holds
    them."""

    def build_request(self, method: str, url: str, *, content: bytes, headers: Any, timeout: Any) -> Any:
        """The request. `timeout`: connect, read, write, pool."""
        extensions = {"timeout": dict(zip(("connect", "read", "write", "pool"), timeout, strict=True))}
        httpx = importlib.import_module("httpx")
        return httpx.Request(method, _parsed(url), content=content, headers=headers, extensions=extensions)

    async def send(self, request: Any, *, stream: bool, follow_redirects: bool) -> Any:
        """The response, of which the body is to be read. No redirect is followed."""
        assert stream
        assert not follow_redirects
        pool, url = pool_of_loop(), request.url
        origin = f"{url.scheme}://{url.netloc.decode()}"
        transport = pool.take(origin)
        try:
            response = await transport.handle_async_request(request)
        except BaseException:
            await close([transport])
            raise
        return _Borrowed(response, pool, origin, transport)


@functools.lru_cache(maxsize=256)
def _parsed(url: str) -> Any:
    """The URL as httpx wants it: 40 us of the 1,000 of a call, if each parses the same one."""
    return importlib.import_module("httpx").URL(url)


class _Borrowed:
    """A response that gives its connection back when it is closed."""

    __slots__ = ("_origin", "_pool", "_response", "_transport", "aiter_bytes", "headers", "status_code")

    def __init__(self, response: Any, pool: Pool, origin: str, transport: Any) -> None:
        self._response = response
        self._pool = pool
        self._origin = origin
        self._transport = transport
        self.status_code = response.status_code
        self.headers = response.headers
        self.aiter_bytes = response.aiter_bytes

    async def aclose(self) -> None:
        """Close it; the transport ends a connection of which not everything was read."""
        await self._response.aclose()
        await self._pool.give_back(self._origin, self._transport)


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
