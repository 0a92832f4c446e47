"""Answers that are kept: `cached(model, MemoryCache())` asks a model once for the same question.

A question is kept as a keyed hash of all that is sent, never as text. An answer is kept as it is, since it has to be
given out again, but not one in which a secret of the run or a known kind of credential is recognised. Only whole
answers that ended by themselves are kept; one that its step refused is dropped when the step asks again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, Protocol

import anyio.to_thread

from kairos_async._types import MISSING, JSONValue, TokenUsage
from kairos_async.adapters.model import (
    ModelAdapter,
    ModelRequest,
    ModelResponse,
    ModelStream,
    Prompt,
    StopReason,
    as_request,
    checked,
)
from kairos_async.context import current_step, holds_secret
from kairos_async.contracts.contract import JSONSchema
from kairos_async.exceptions import ConfigError

_FREE: Final = TokenUsage(input_tokens=0, output_tokens=0, estimated_cost_usd=0.0)
_REMEMBERED: Final = 10_000
"""Steps and items under way of which it is known what they were given."""


class ResponseCache(Protocol):
    """Where answers are kept, by key."""

    @property
    def secret(self) -> bytes:
        """With which keys are hashed, so that nobody can look for a question without it."""

    async def get(self, key: str) -> str | None:
        """What is kept under the key."""

    async def put(self, key: str, answer: str) -> None:
        """Keep an answer."""

    async def drop(self, key: str) -> None:
        """Forget an answer."""


class MemoryCache:
    """The newest answers of this process.

    Args:
        entries: that are kept at most; the one that was not used for longest goes first.
        ttl: seconds that an answer is kept; None: no limit.
        clock: seconds since the epoch.

    Raises:
        ConfigError: a number is not positive.
    """

    def __init__(
        self, entries: int = 1000, ttl: float | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.entries, self.ttl = _checked(entries, ttl)
        self.secret: Final = secrets.token_bytes(16)
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<MemoryCache: {len(self._kept)} answers>"

    async def get(self, key: str) -> str | None:
        """See `ResponseCache.get`."""
        kept = self._kept.get(key)
        if kept is None or (self.ttl is not None and kept[0] + self.ttl <= self._clock()):
            return None
        self._kept.move_to_end(key)
        return kept[1]

    async def put(self, key: str, answer: str) -> None:
        """See `ResponseCache.put`."""
        self._kept[key] = (self._clock(), answer)
        self._kept.move_to_end(key)
        if len(self._kept) > self.entries:
            self._kept.popitem(last=False)

    async def drop(self, key: str) -> None:
        """See `ResponseCache.drop`."""
        self._kept.pop(key, None)


class SQLiteCache:
    """Answers in a file, for all processes of this machine that open it. Only its owner may read it.

    Args:
        path: of the file; made if it is not there.
        entries: that are kept at most; the oldest go first.
        ttl: seconds that an answer is kept; None: no limit.
        clock: seconds since the epoch.

    Raises:
        ConfigError: a number is not positive, or the file cannot be opened or is something else.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        entries: int = 100_000,
        ttl: float | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.entries, self.ttl = _checked(entries, ttl)
        self.path: Final = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        problem = ""
        try:
            self.path.touch(mode=0o600)
            self._file = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=30)
            self.secret: Final = self._open()
        except (OSError, sqlite3.Error) as error:
            problem = type(error).__name__
        if problem:
            raise ConfigError(f"SQLiteCache: {str(self.path)!r} cannot be used as a cache ({problem}).")

    def __repr__(self) -> str:
        return f"<SQLiteCache {self.path.name!r}>"

    def _open(self) -> bytes:
        self._file.execute("pragma journal_mode = wal")
        self._file.execute("create table if not exists hashing (one integer primary key check (one = 1), secret blob)")
        self._file.execute("insert or ignore into hashing values (1, ?)", (secrets.token_bytes(16),))
        self._file.execute("create table if not exists answers (key text primary key, at real, answer text)")
        self._file.execute("create index if not exists by_age on answers (at)")
        found: bytes = self._file.execute("select secret from hashing").fetchone()[0]
        return found

    async def get(self, key: str) -> str | None:
        """See `ResponseCache.get`."""
        oldest = -1.0 if self.ttl is None else self._clock() - self.ttl
        rows = await self._run("select answer from answers where key = ? and at > ?", key, oldest)
        return rows[0][0] if rows else None

    async def put(self, key: str, answer: str) -> None:
        """See `ResponseCache.put`."""
        await self._run("insert or replace into answers values (?, ?, ?)", key, self._clock(), answer)
        # One too many is taken away for each that is added; the count is of an index and cheap.
        await self._run(
            "delete from answers where key in (select key from answers order by at limit max(0, "
            "(select count(*) from answers) - ?))",
            self.entries,
        )

    async def drop(self, key: str) -> None:
        """See `ResponseCache.drop`."""
        await self._run("delete from answers where key = ?", key)

    async def _run(self, statement: str, *values: object) -> list[Any]:
        """Execute in a worker thread, one at a time: a file is slow, and locks of other processes take long."""

        def execute() -> list[Any]:
            with self._lock, closing(self._file.execute(statement, values)) as cursor:
                return cursor.fetchall()

        return await anyio.to_thread.run_sync(execute)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


class CachedModel:
    """See `cached`."""

    def __init__(self, model: ModelAdapter, cache: ResponseCache) -> None:
        if not (hasattr(model, "call") and hasattr(model, "stream")):
            raise ConfigError(f"cached() takes an adapter, such as OpenAIAdapter(...); it got {model!r}.")
        self.inner: Final = model
        self.cache: Final = cache
        self._given: OrderedDict[tuple[str, str, int | None], tuple[int, list[str]]] = OrderedDict()

    @property
    def provider(self) -> str:
        """Of the model behind."""
        return self.inner.provider

    @property
    def model(self) -> str:
        """The model behind."""
        return self.inner.model

    def __repr__(self) -> str:
        return f"<cached {self.inner!r}>"

    def shape(self, schema: JSONSchema | None) -> None:
        """Raise ConfigError if the model cannot be asked for answers of this schema."""
        if (shape := getattr(self.inner, "shape", None)) is not None:
            shape(schema)

    def check_options(self, options: Mapping[str, JSONValue]) -> None:
        """Raise ConfigError if the model does not take these options."""
        if (check := getattr(self.inner, "check_options", None)) is not None:
            check(options)

    async def call(
        self,
        prompt: Prompt,
        /,
        *,
        contract: object = None,
        max_tokens: int | None = None,
        options: Mapping[str, JSONValue] | None = None,
    ) -> ModelResponse:
        """See `ModelAdapter.call`. A kept answer has used nothing, and says so in `metadata["cached"]`."""
        request = as_request(prompt, contract=contract, max_tokens=max_tokens, options=options)
        key = await self._key(request)
        kept = await self._kept(key)
        if kept is not None:
            return await checked(kept, request)
        response = await self.inner.call(request)
        await self._keep(key, response)
        return response

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
        """See `ModelAdapter.stream`. A kept answer comes in one piece."""
        request = as_request(prompt, contract=contract, max_tokens=max_tokens, options=options)
        key = await self._key(request)
        kept = await self._kept(key)
        if kept is not None:
            yield _Kept(await checked(kept, request))
            return
        async with self.inner.stream(request) as stream:
            kept_too = _Keeping(stream, self, key)
            yield kept_too

    async def _key(self, request: ModelRequest) -> str:
        """The hash of all that is sent. What the attempt before was given for it is dropped: it was refused."""
        sent = [
            *(self.inner.provider, self.inner.model, str(getattr(self.inner, "base_url", ""))),
            [[message.role, *message.parts] for message in request.messages],
            *(request.schema, request.max_tokens or getattr(self.inner, "max_tokens", None)),
            dict(request.options),
        ]
        text = json.dumps(sent, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        key = hmac.new(self.cache.secret, text.encode(), hashlib.sha256).hexdigest()
        step = current_step()
        if step is not None:
            place = (step.run_id, step.step_id, step.index)
            attempt, given = self._given.pop(place, (step.attempt, []))
            if attempt != step.attempt:
                for refused in given:
                    await self.cache.drop(refused)
                given = []
            given.append(key)
            self._given[place] = (step.attempt, given)
            if len(self._given) > _REMEMBERED:
                self._given.popitem(last=False)
        return key

    async def _kept(self, key: str) -> ModelResponse | None:
        text = await self.cache.get(key)
        try:
            kept: dict[str, Any] = json.loads(text or "null") or {}
            return ModelResponse(
                text=kept["text"],
                model=kept["model"],
                provider=kept["provider"],
                usage=_FREE,
                latency_ms=0.0,
                parsed=kept.get("parsed", MISSING),
                metadata={**kept["metadata"], "cached": True},
            )
        except (ValueError, KeyError, TypeError, AttributeError):  # nothing is kept, or nothing of ours
            return None

    async def _keep(self, key: str, response: ModelResponse) -> None:
        if response.stop is not StopReason.END or response.tool_calls:
            return
        answer: dict[str, JSONValue] = {
            "text": response.text,
            "model": response.model,
            "provider": response.provider,
            "metadata": dict(response.metadata),
        }
        if response.parsed is not MISSING:
            answer["parsed"] = response.parsed
        if not holds_secret(answer):
            await self.cache.put(key, json.dumps(answer))


class _Kept:
    """An answer that is there already, as a stream."""

    def __init__(self, response: ModelResponse) -> None:
        self.response: Final = response
        self.text = ""

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if self.text == self.response.text:
            raise StopAsyncIteration
        self.text = self.response.text
        return self.text


class _Keeping:
    """A stream that is kept once it has come to its end."""

    def __init__(self, stream: ModelStream, owner: CachedModel, key: str) -> None:
        self._stream = stream
        self._pieces = aiter(stream)
        self._owner = owner
        self._key = key

    @property
    def text(self) -> str:
        return self._stream.text

    @property
    def response(self) -> ModelResponse:
        return self._stream.response

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            await self._owner._keep(self._key, self._stream.response)
            raise


def cached(model: ModelAdapter, cache: ResponseCache) -> CachedModel:
    """An adapter that asks the model once for the same question, and gives the kept answer after that.

    The same question: provider, model, base URL, messages, schema, greatest length and options are the same. A kept
    answer costs nothing and counts as no call. Values that a template fences are in marks that differ from run to run,
    so that such prompts are never the same.

    Raises:
        ConfigError: `model` is no adapter.
    """
    return CachedModel(model, cache)


def _checked(entries: int, ttl: float | None) -> tuple[int, float | None]:
    if type(entries) is not int or entries < 1:
        raise ConfigError(f"A cache of {entries!r} entries is not possible; it must be a whole number >= 1.")
    if ttl is not None and (type(ttl) not in (int, float) or not ttl > 0):
        raise ConfigError(f"A cache with ttl={ttl!r} is not possible; it must be a number of seconds > 0, or None.")
    return entries, ttl
