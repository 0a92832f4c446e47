"""One model of one provider, as the governor sees it: its pace, its queue, its pauses, its circuit breaker."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping
from typing import Final, Protocol

import anyio

from kairos_async.adapters._buckets import Bucket, RateLimit
from kairos_async.adapters._guess import Guess, Limits
from kairos_async.adapters._rate_headers import told_limits
from kairos_async.exceptions import ModelRateLimitError, ModelUnavailableError

_SLOWER: Final = 0.9
_SLOWEST: Final = 0.05
_FASTER: Final = 0.2
"""A 429 takes the pace to so much of itself, down to the slowest; a period without one gives some of it back."""

_FASTER_BY_GUESS: Final = 0.03
"""Where the pace is a guess, a period without a 429 makes it so much faster than it was."""

_HALF: Final = 0.5
"""Of the calls under way, where a refusal tells nothing more."""

_LEARNING: Final = 0.2
"""How much the newest call counts in what is known of how many tokens calls use of those that they could."""

_FIRST_WINDOW: Final = 10.0
_START: Final = 1 / 30
"""Of a period: in so much of it, until the first refusal, no more calls go out than went out before, beyond a first
window."""

_LATE: Final = 0.05
"""Seconds by which a timer may be late without a loss of that."""

_FIRST_PAUSE: Final = 1 / 60
_LONGER: Final = 3.0
"""Of a period: a 429 that names no pause makes the last one so many times longer, from the first on, up to a period."""


class Rules(Protocol):
    """What holds for all lanes of a governor; see `Governor`."""

    failures: int
    cooldown: float
    patience: float


class _Waiting:
    """A call in the queue of its lane. `turn` is set when it has to look again; `gone`, when it waits no longer."""

    __slots__ = ("gone", "turn")

    def __init__(self) -> None:
        self.turn = anyio.Event()
        self.gone = False


class Lane:
    """One model of one provider."""

    def __init__(self, rules: Rules, provider: str, model: str, limit: RateLimit) -> None:
        self.rules = rules
        self.provider = provider
        self.model = model
        self.limit = limit
        now = anyio.current_time()
        self.requests = None if limit.requests is None else Bucket(limit.requests, limit.period, now)
        self.tokens = None if limit.tokens is None else Bucket(limit.tokens, limit.period, now)
        self.ratio = 1.0  # of what calls used to what they could have used, by experience
        self.active = 0
        self.window = float(limit.concurrency or _FIRST_WINDOW)
        self.starting = limit.concurrency is None  # the window doubles with each round, until the first refusal
        self.slowed_at = -math.inf
        self.guess = Guess(now, limit.period)
        self.probing = False  # whether one call has to be taken before others are sent
        self.sent = 0
        self.next_at = -math.inf
        self.guessed: set[str] = set()  # "requests" and "tokens", where the pace is a guess
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
        self.guess.sent(taken)
        self._start_slowly()
        return taken

    def _start_slowly(self) -> None:
        """While nothing is known, send in a second no more than were sent before: when the first refusal comes, few
        more are under way that will be refused, too."""
        if self.requests is None and self.tokens is None and self.limit.concurrency is None:
            self.sent += 1
            now = anyio.current_time()
            self.next_at = max(self.next_at, now - _LATE) + (
                self.limit.period * _START / self.sent if self.sent >= _FIRST_WINDOW else 0.0
            )

    def _delay(self, tokens: int) -> float:
        """Seconds until a call may be sent; infinite if another one has to end first."""
        now = anyio.current_time()
        if self.active >= self._most_active():
            return math.inf
        delay = max(self.paused_until, self.next_at) - now
        if self.requests is not None:
            delay = max(delay, self.requests.delay(1, now))
        if self.tokens is not None:
            delay = max(delay, self.tokens.delay(tokens * self.ratio, now))
        return delay

    def _most_active(self) -> float:
        if self.troubles >= self.rules.failures or self.probing:
            return 1  # one call tries: the circuit is half open, or nobody knows whether the pause was long enough
        most = math.inf if self.limit.concurrency is None else self.limit.concurrency
        return most if self.requests is not None or self.tokens is not None else min(most, self.window)

    def _refuse_if_pointless(self) -> None:
        now = anyio.current_time()
        if (rest := self.open_until - now) > 0:
            raise ModelUnavailableError(
                self.provider, self.model, "not asked, because the last calls found it in trouble", retry_after=rest
            )
        if (rest := self.paused_until - now) > self.rules.patience:
            raise ModelRateLimitError(
                self.provider, self.model, "not asked, because it wants a long pause", retry_after=rest
            )

    def settle(self, sent_at: float, tokens: int, taken: float, used: int | None) -> None:
        """Put the tokens right: what a call took beyond its use comes back, what it used beyond that is missing."""
        if used is None:
            return
        if self.tokens is not None:
            self.tokens.take(used - taken)
        self.guess.settled(sent_at, used - taken)
        if tokens and used:
            self.ratio += _LEARNING * (used / tokens - self.ratio)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take over what the provider says of its limits and of what is left."""
        now = anyio.current_time()
        told = told_limits(headers)
        for name in ("requests", "tokens"):
            limit, left = told.get(name, (None, None))
            bucket: Bucket | None = getattr(self, name)
            if limit is not None and (bucket is None or name in self.guessed):
                bucket = Bucket(limit, self.limit.period, now)
                setattr(self, name, bucket)
                self.guessed.discard(name)
            elif limit is not None and bucket is not None:
                bucket.limit = min(limit, getattr(self.limit, name) or limit)
            if left is not None and bucket is not None:
                bucket.at_most(left)

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """A 429: nobody is asked for a while, and then more slowly."""
        self.troubles = 0
        self.guess.refused(sent_at)
        first = sent_at >= self.slowed_at  # else it was under way when the pace was taken down already
        if first:
            self.refusals += 1
            self.slowed_at = anyio.current_time()
            if retry_after is None:
                retry_after = self._guessed_pause()
                self.probing = True
        if retry_after is not None:
            self._pause(retry_after)
        if self.requests is None or "requests" in self.guessed:
            self._guess_pace(first)
        elif first:
            for bucket in (self.requests, self.tokens):
                if bucket is not None:
                    bucket.scale = max(_SLOWEST, bucket.scale * _SLOWER)

    def _guessed_pause(self) -> float:
        """Seconds; after a whole period what was taken before counts no longer, so that there is no need to wait on."""
        pause = self.limit.period * min(_FIRST_PAUSE * _LONGER ** (self.refusals - 1), 1.0)
        rest = self.guess.next_period() - anyio.current_time()
        return min(pause, rest) if rest > 0 else pause

    def _guess_pace(self, first: bool) -> None:
        """With nothing told, the pace is a guess."""
        before = Limits(self.requests.limit, self.tokens.limit) if self.requests and self.tokens else None
        found = self.guess.first(self.paused_until, before) if first else self.guess.again(self.paused_until)
        if found is not None:
            self._pace_at("requests", found.requests)
            self._pace_at("tokens", found.tokens)
        elif first:
            self.starting = False
            self.window = max(1.0, min(self.window, self.active) * _HALF)

    def _pace_at(self, name: str, limit: float) -> None:
        bucket: Bucket | None = getattr(self, name)
        if bucket is None:
            self.guessed.add(name)
            bucket = Bucket(limit, self.limit.period, anyio.current_time())
            setattr(self, name, bucket)
        if name in self.guessed:
            bucket.limit = max(1.0, limit)
            bucket.empty_until(self.paused_until)

    def failed(self, sent_at: float, retry_after: float | None) -> None:
        """The provider is in trouble."""
        if retry_after is not None:
            self._pause(retry_after)
        if sent_at < self.open_until:
            return  # it was under way when the circuit was opened
        self.troubles += 1
        if self.troubles >= self.rules.failures:
            self.open_until = anyio.current_time() + self.rules.cooldown
            self._wake_all()

    def succeeded(self, sent_at: float, tokens: float) -> None:
        """The provider is well, and lets more through."""
        self.troubles = self.refusals = 0
        self.probing = self.probing and sent_at < self.slowed_at
        self.window += 1.0 if self.starting else 1.0 / self.window
        for name, bucket, amount in (("requests", self.requests, 1.0), ("tokens", self.tokens, tokens)):
            if bucket is None:
                continue
            if name in self.guessed:
                bucket.limit += _FASTER_BY_GUESS * amount
            else:
                bucket.scale = min(1.0, bucket.scale + _FASTER * amount / bucket.limit)

    def leave(self) -> None:
        """A call has ended."""
        self.active -= 1
        if first := self._first():
            first.turn.set()

    def _pause(self, seconds: float) -> None:
        self.paused_until = max(self.paused_until, anyio.current_time() + seconds)
        if seconds > self.rules.patience:
            self._wake_all()

    def _wake_all(self) -> None:
        for *_, waiting in self._waiting:
            waiting.turn.set()
