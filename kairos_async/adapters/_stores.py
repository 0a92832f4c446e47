"""Where answers are kept: in memory, or in a file; see `cache.py`."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol

import anyio.to_thread

from kairos_async.exceptions import ConfigError


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
    """Answers in a file, for all processes of this machine that open it.

    Args:
        path: of the file; made if it is not there, and then for its owner alone to read. One that is there keeps its
            permissions.
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
        try:
            return self._prepare()
        except sqlite3.Error:
            self._file.close()
            raise

    def _prepare(self) -> bytes:
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


def _checked(entries: int, ttl: float | None) -> tuple[int, float | None]:
    if type(entries) is not int or entries < 1:
        raise ConfigError(f"A cache of {entries!r} entries is not possible; it must be a whole number >= 1.")
    if ttl is not None and (type(ttl) not in (int, float) or not ttl > 0):
        raise ConfigError(f"A cache with ttl={ttl!r} is not possible; it must be a number of seconds > 0, or None.")
    return entries, ttl
