"""The governor: how fast, and how many at once, the models of a process are asked.

One lane for each provider and model. A lane has a bucket for requests and one for tokens, filled at the pace that the
provider allows; a window for how many calls are under way while that pace is not known; a pause that the provider asked
for; and a circuit breaker. Calls that have to wait stand in one queue for each lane. The first of them sleeps until its
turn, the others until they are first: there is no task of the governor's own that could die or be forgotten.

aiolimiter was not taken: it runs on asyncio alone, takes nothing back, serves the smallest request first, and the two
buckets of a lane have to be taken from together or not at all.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import anyio
import anyio.lowlevel

from kairos_async.adapters._rate_headers import told_limits
from kairos_async.exceptions import ConfigError, ModelRateLimitError, ModelUnavailableError

_SHARE: Final = 0.97
"""Of what is allowed, what is used. With the burst below, no minute has more requests in it than the limit says."""

_BURST: Final = 1 / 240
"""Of a minute: what may be sent at once after a quiet time. Providers that divide their minute refuse more."""

_SLOWER: Final = 0.8
_SLOWEST: Final = 0.05
_FASTER: Final = 0.2
"""A 429 takes the pace to so much of itself, down to the slowest; a period without one gives some of it back."""

_LEARNING: Final = 0.2
"""How much the newest call counts in what is known of how many tokens calls use of those that they could."""

_FIRST_WINDOW: Final = 10.0
_FIRST_PAUSE: Final = 1.0
_LONGEST_GUESS: Final = 60.0
"""Seconds: a 429 that names no pause doubles the last one, from the first on, up to the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What a provider allows for one model. None: not known; then it is learned from the provider's answers.

    Args:
        requests: in a period.
        tokens: read and written, in a period.
        concurrency: calls under way at once.
        period: seconds; providers count in minutes.

    Raises:
        ConfigError: a number is not positive.
    """

    requests: int | None = None
    tokens: int | None = None
    concurrency: int | None = None
    period: float = 60.0

    def __post_init__(self) -> None:
        for name in ("requests", "tokens", "concurrency"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"RateLimit: {name}={value!r} must be a whole number >= 1, or None.")
        if not _is_positive(self.period):
            raise ConfigError(f"RateLimit: period={self.period!r} must be a finite number of seconds > 0.")


class Governor:
    """Keeps all calls of an event loop within what the providers allow: `async with Governor({...}):` around the runs.

    Enter it in an application's lifespan, or around a batch. Every model that an adapter of this library asks on this
    event loop meanwhile, in whatever run, goes through it. When calls have to wait, those of the steps with the longest
    remaining path go first, then those of the oldest run.

    Args:
        limits: what is known beforehand, by "provider/model", or by "provider" for each of its models by itself.
        failures: calls in a row that find a provider in trouble, after which a model is left alone for `cooldown`.
        cooldown: seconds; then one call tries whether it is well again.
        patience: seconds of pause that calls wait for here. A longer one is told to the steps as an error, with
            `retry_after`.

    Raises:
        ConfigError: an argument is not valid; or it is entered twice.
    """

    __slots__ = ("_before", "_entered", "_lanes", "_limits", "cooldown", "failures", "patience")

    def __init__(
        self,
        limits: Mapping[str, RateLimit] | None = None,
        *,
        failures: int = 5,
        cooldown: float = 30.0,
        patience: float = 120.0,
    ) -> None:
        self._limits = dict(limits or {})
        for key, limit in self._limits.items():
            if not isinstance(key, str) or not isinstance(limit, RateLimit):
                raise ConfigError(f"Governor: limits has {key!r}: {limit!r}; it takes RateLimits by 'provider/model'.")
        if type(failures) is not int or failures < 1:
            raise ConfigError(f"Governor: failures={failures!r} must be a whole number >= 1.")
        for name, seconds in (("cooldown", cooldown), ("patience", patience)):
            if not _is_positive(seconds):
                raise ConfigError(f"Governor: {name}={seconds!r} must be a finite number of seconds > 0.")
        self.failures = failures
        self.cooldown = float(cooldown)
        self.patience = float(patience)
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._entered = False
        self._before: Governor | None = None

    def __repr__(self) -> str:
        return f"<Governor of {len(self._lanes)} models>"

    async def __aenter__(self) -> Governor:
        if self._entered:
            raise ConfigError("A Governor is entered once at a time, on one event loop.")
        self._entered = True
        self._before = _current.get(None)
        _current.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.set(self._before)
        self._entered = False

    def admit(self, provider: str, model: str, tokens: int, urgency: tuple[float, int] = (0.0, 0)) -> Admission:
        """Hold a call: `async with governor.admit(...) as admission:`. Entering waits for its turn.

        Args:
            provider, model: whose lane.
            tokens: that the call may read and write at most, as far as it can be known.
            urgency: the remaining path in seconds, and the order of the run; see above.

        Raises:
            ModelUnavailableError: on entering; the circuit of this model is open.
            ModelRateLimitError: on entering; the provider asks for a pause that is longer than `patience`.
        """
        lane = self._lanes.get((provider, model))
        if lane is None:
            limit = self._limits.get(f"{provider}/{model}") or self._limits.get(provider) or RateLimit()
            lane = self._lanes[provider, model] = _Lane(self, provider, model, limit)
        return Admission(lane, tokens, urgency)


_current: Final[anyio.lowlevel.RunVar[Governor | None]] = anyio.lowlevel.RunVar("kairos_async_governor")


def current_governor() -> Governor | None:
    """The governor of this event loop, None if there is none."""
    return _current.get(None)


class Admission:
    """One call that a governor lets through. How it ended is seen from the exception that leaves it.

    Attributes:
        used: tokens that it consumed, to be set once they are known. None: not known, what was taken is kept.
        headers: of the provider's answer, lower case, from which limits are learned.
    """

    __slots__ = ("_lane", "_sent_at", "_taken", "_tokens", "_urgency", "headers", "used")

    def __init__(self, lane: _Lane, tokens: int, urgency: tuple[float, int]) -> None:
        self._lane = lane
        self._tokens = tokens
        self._urgency = urgency
        self._taken = 0.0
        self._sent_at = 0.0
        self.used: int | None = None
        self.headers: Mapping[str, str] = {}

    async def __aenter__(self) -> Admission:
        self._taken = await self._lane.enter(self._tokens, self._urgency)
        self._sent_at = anyio.current_time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lane = self._lane
        lane.settle(self._tokens, self._taken, 0 if isinstance(error, ModelRateLimitError) else self.used)
        if self.headers:
            lane.learn(self.headers)
        if isinstance(error, ModelRateLimitError):
            lane.refused(self._sent_at, error.retry_after)
        elif isinstance(error, ModelUnavailableError):
            lane.failed(self._sent_at, error.retry_after)
        elif error is None or isinstance(error, Exception):
            lane.succeeded(self._taken if self.used is None else self.used)
        lane.leave()


class _Bucket:
    """Fills at a pace; may be overdrawn by one large taker, for which the next ones then wait."""

    __slots__ = ("_at", "_level", "limit", "period", "scale")

    def __init__(self, limit: float, period: float, now: float) -> None:
        self.limit = limit
        self.period = period
        self.scale = 1.0
        self._at = now
        self._level = self.size

    @property
    def pace(self) -> float:
        """A second."""
        return self.limit * _SHARE * self.scale / self.period

    @property
    def size(self) -> float:
        """What may be taken at once after a quiet time."""
        return max(1.0, self.limit * _BURST)

    def level(self, now: float) -> float:
        """What is in it now."""
        self._level = min(self.size, self._level + (now - self._at) * self.pace)
        self._at = now
        return self._level

    def delay(self, amount: float, now: float) -> float:
        """Seconds until so much can be taken, 0 if now."""
        missing = min(amount, self.size) - self.level(now)
        return missing / self.pace if missing > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        """Take so much; less than 0 gives back."""
        self._level -= amount

    def at_most(self, level: float) -> None:
        """The provider says that no more than this is left."""
        self._level = min(self._level, level)


class _Waiting:
    """A call in the queue of its lane. `turn` is set when it has to look again; `gone`, when it waits no longer."""

    __slots__ = ("gone", "turn")

    def __init__(self) -> None:
        self.turn = anyio.Event()
        self.gone = False


class _Lane:
    """One model of one provider."""

    def __init__(self, governor: Governor, provider: str, model: str, limit: RateLimit) -> None:
        self.governor = governor
        self.provider = provider
        self.model = model
        self.limit = limit
        now = anyio.current_time()
        self.requests = None if limit.requests is None else _Bucket(limit.requests, limit.period, now)
        self.tokens = None if limit.tokens is None else _Bucket(limit.tokens, limit.period, now)
        self.ratio = 1.0  # of what calls used to what they could have used, by experience
        self.active = 0
        self.window = float(limit.concurrency or _FIRST_WINDOW)
        self.starting = limit.concurrency is None  # the window doubles with each round, until the first refusal
        self.slowed_at = -math.inf
        self.paused_until = -math.inf
        self.refusals = 0
        self.troubles = 0
        self.open_until = -math.inf
        self._waiting: list[tuple[float, int, int, _Waiting]] = []
        self._arrivals = itertools.count()

    async def enter(self, tokens: int, urgency: tuple[float, int]) -> float:
        """Wait for the turn of a call; returns the tokens that were taken for it."""
        self._refuse_if_pointless()
        if self._waiting or self._delay(tokens) > 0:
            await self._queue(tokens, urgency)
        return self._take(tokens)

    async def _queue(self, tokens: int, urgency: tuple[float, int]) -> None:
        waiting = _Waiting()
        remaining, order = urgency
        heapq.heappush(self._waiting, (-remaining, order, next(self._arrivals), waiting))
        try:
            while True:
                waiting.turn = anyio.Event()
                self._refuse_if_pointless()
                if self._first() is not waiting:
                    await waiting.turn.wait()
                elif (delay := self._delay(tokens)) > 0:
                    with anyio.move_on_after(delay):
                        await waiting.turn.wait()
                else:
                    return
        finally:
            waiting.gone = True
            if first := self._first():
                first.turn.set()

    def _first(self) -> _Waiting | None:
        while self._waiting and self._waiting[0][3].gone:
            heapq.heappop(self._waiting)
        return self._waiting[0][3] if self._waiting else None

    def _take(self, tokens: int) -> float:
        taken = tokens * self.ratio
        self.active += 1
        if self.requests is not None:
            self.requests.take(1)
        if self.tokens is not None:
            self.tokens.take(taken)
        return taken

    def _delay(self, tokens: int) -> float:
        """Seconds until a call may be sent; infinite if another one has to end first."""
        now = anyio.current_time()
        if self.active >= self._most_active():
            return math.inf
        delay = self.paused_until - now
        if self.requests is not None:
            delay = max(delay, self.requests.delay(1, now))
        if self.tokens is not None:
            delay = max(delay, self.tokens.delay(tokens * self.ratio, now))
        return delay

    def _most_active(self) -> float:
        if self.troubles >= self.governor.failures:
            return 1  # the circuit is half open: one call tries
        most = math.inf if self.limit.concurrency is None else self.limit.concurrency
        return most if self.requests is not None or self.tokens is not None else min(most, self.window)

    def _refuse_if_pointless(self) -> None:
        now = anyio.current_time()
        if (rest := self.open_until - now) > 0:
            raise ModelUnavailableError(
                self.provider, self.model, "not asked, because the last calls found it in trouble", retry_after=rest
            )
        if (rest := self.paused_until - now) > self.governor.patience:
            raise ModelRateLimitError(
                self.provider, self.model, "not asked, because it wants a long pause", retry_after=rest
            )

    def settle(self, tokens: int, taken: float, used: int | None) -> None:
        """Put the tokens right: what a call took beyond its use comes back, what it used beyond that is missing."""
        if used is None:
            return
        if self.tokens is not None:
            self.tokens.take(used - taken)
        if tokens and used:
            self.ratio += _LEARNING * (used / tokens - self.ratio)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take over what the provider says of its limits and of what is left."""
        now = anyio.current_time()
        told = told_limits(headers)
        for name in ("requests", "tokens"):
            limit, left = told.get(name, (None, None))
            bucket: _Bucket | None = getattr(self, name)
            if limit is not None and bucket is None:
                bucket = _Bucket(limit, self.limit.period, now)
                setattr(self, name, bucket)
            elif limit is not None and bucket is not None:
                bucket.limit = min(limit, getattr(self.limit, name) or limit)
            if left is not None and bucket is not None:
                bucket.at_most(left)

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """A 429: nobody is asked for a while, and then more slowly."""
        self.troubles = 0
        if sent_at >= self.slowed_at:  # else it was under way when the pace was taken down already
            self.refusals += 1
            self.slowed_at = anyio.current_time()
            self.starting = False
            self.window = max(1.0, min(self.window, self.active) * _SLOWER)
            for bucket in (self.requests, self.tokens):
                if bucket is not None:
                    bucket.scale = max(_SLOWEST, bucket.scale * _SLOWER)
        guess = min(_FIRST_PAUSE * 2.0 ** (self.refusals - 1), _LONGEST_GUESS)
        self._pause(guess if retry_after is None else retry_after)

    def failed(self, sent_at: float, retry_after: float | None) -> None:
        """The provider is in trouble."""
        if retry_after is not None:
            self._pause(retry_after)
        if sent_at < self.open_until:
            return  # it was under way when the circuit was opened
        self.troubles += 1
        if self.troubles >= self.governor.failures:
            self.open_until = anyio.current_time() + self.governor.cooldown
            self._wake_all()

    def succeeded(self, tokens: float) -> None:
        """The provider is well, and lets more through."""
        self.troubles = self.refusals = 0
        self.window += 1.0 if self.starting else 1.0 / self.window
        for bucket, amount in ((self.requests, 1.0), (self.tokens, tokens)):
            if bucket is not None:
                bucket.scale = min(1.0, bucket.scale + _FASTER * amount / bucket.limit)

    def leave(self) -> None:
        """A call has ended."""
        self.active -= 1
        if first := self._first():
            first.turn.set()

    def _pause(self, seconds: float) -> None:
        self.paused_until = max(self.paused_until, anyio.current_time() + seconds)
        if seconds > self.governor.patience:
            self._wake_all()

    def _wake_all(self) -> None:
        for *_, waiting in self._waiting:
            waiting.turn.set()


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value > 0  # type: ignore[arg-type,operator]
