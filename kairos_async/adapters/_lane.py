"""One model of one provider, as the governor sees it: its pace, its queue, its pauses, its circuit breaker."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping
from typing import Final, Protocol

import anyio

from kairos_async.adapters._buckets import Bucket, RateLimit
from kairos_async.adapters._rate_headers import told_limits
from kairos_async.exceptions import ModelRateLimitError, ModelUnavailableError

_SLOWER: Final = 0.9
_SLOWEST: Final = 0.05
_FASTER: Final = 0.2
"""A 429 takes the pace to so much of itself, down to the slowest; a period without one gives some of it back."""

_FASTER_BY_GUESS: Final = 0.05
"""Where the pace is a guess, a period without a 429 makes it so much faster than it was."""

_ENOUGH: Final = 5
_HALF: Final = 0.5
"""A guess needs so many accepted calls; from fewer it is known only that there were far too many."""

_LEARNING: Final = 0.2
"""How much the newest call counts in what is known of how many tokens calls use of those that they could."""

_FIRST_WINDOW: Final = 10.0
_FIRST_PAUSE: Final = 1.0
_LONGEST_GUESS: Final = 60.0
"""Seconds: a 429 that names no pause doubles the last one, from the first on, up to the longest."""


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
        self.guessed = False  # whether the pace of requests is a guess from refusals
        self.accepted = 0  # since `counted_from`
        self.counted_from = now
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
        if self.troubles >= self.rules.failures:
            return 1  # the circuit is half open: one call tries
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
            bucket: Bucket | None = getattr(self, name)
            if limit is not None and (bucket is None or (self.guessed and name == "requests")):
                bucket = Bucket(limit, self.limit.period, now)
                setattr(self, name, bucket)
                self.guessed = self.guessed and name != "requests"
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
            guess = min(_FIRST_PAUSE * 2.0 ** (self.refusals - 1), _LONGEST_GUESS)
            self._slow_down(guess if retry_after is None else retry_after)
        if retry_after is not None:
            self._pause(retry_after)

    def _slow_down(self, pause: float) -> None:
        self._pause(pause)
        if self.requests is None or self.guessed:
            self._guess_pace(pause)
        else:
            for bucket in (self.requests, self.tokens):
                if bucket is not None:
                    bucket.scale = max(_SLOWEST, bucket.scale * _SLOWER)
        self.accepted = 0
        self.counted_from = self.paused_until

    def _guess_pace(self, pause: float) -> None:
        """With nothing told, the pace is what was accepted in the time until more will be."""
        now = anyio.current_time()
        seconds = max(0.0, now - self.counted_from) + pause
        if self.accepted >= _ENOUGH and seconds:
            if self.requests is None:
                self.requests = Bucket(1, self.limit.period, now)
            self.requests.limit = max(1.0, self.accepted / seconds * self.limit.period)
            self.guessed = True
        elif self.requests is not None:
            self.requests.limit = max(1.0, self.requests.limit * _HALF)
        else:
            self.starting = False
            self.window = max(1.0, min(self.window, self.active) * _HALF)

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

    def succeeded(self, tokens: float) -> None:
        """The provider is well, and lets more through."""
        self.troubles = self.refusals = 0
        self.accepted += 1
        self.window += 1.0 if self.starting else 1.0 / self.window
        if self.guessed and self.requests is not None:
            self.requests.limit += _FASTER_BY_GUESS
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
        if seconds > self.rules.patience:
            self._wake_all()

    def _wake_all(self) -> None:
        for *_, waiting in self._waiting:
            waiting.turn.set()
