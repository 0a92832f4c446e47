"""A provider that counts requests and tokens a minute, and refuses what is beyond; with it, what it saw."""

from __future__ import annotations

from collections import deque

import anyio

from kairos_async.adapters.governor import Governor
from kairos_async.exceptions import ModelRateLimitError, ModelUnavailableError


class Window:
    """What came in the last `period` seconds."""

    def __init__(self, limit: float, period: float) -> None:
        self.limit = limit
        self.period = period
        self.seen: deque[tuple[float, float]] = deque()
        self.total = 0.0

    def left(self, now: float) -> float:
        """How much may come now."""
        while self.seen and self.seen[0][0] <= now - self.period:
            self.total -= self.seen.popleft()[1]
        return self.limit - self.total

    def take(self, now: float, amount: float) -> None:
        """Count what came."""
        self.seen.append((now, amount))
        self.total += amount

    def free_at(self, amount: float, now: float) -> float:
        """When so much may come."""
        left = self.left(now)
        for at, taken in self.seen:
            if left >= amount:
                break
            left += taken
            now = at + self.period
        return now


class Provider:
    """Takes calls through a governor, as an adapter would make them."""

    def __init__(
        self,
        requests: float = 1e9,
        tokens: float = 1e9,
        *,
        period: float = 60.0,
        takes: float = 1.0,
        uses: int = 100,
        says_when: bool = True,
        tells_limits: bool = False,
        way: float = 0.0,
    ) -> None:
        self.requests = Window(requests, period)
        self.tokens = Window(tokens, period)
        self.takes = takes
        self.uses = uses
        self.says_when = says_when
        self.tells_limits = tells_limits
        self.way = way
        self.sent_at: list[float] = []
        self.rejected = 0
        self.paused_until = 0.0
        self.violations = 0
        self.broken = False
        self.active = self.peak = 0

    async def answer(self) -> dict[str, str]:
        """Answer one request, or raise what a client makes of the refusal."""
        now = anyio.current_time()
        self.sent_at.append(now)
        self.violations += now < self.paused_until
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            await (anyio.sleep(self.way) if self.way else anyio.lowlevel.checkpoint())
            if self.broken:
                raise ModelUnavailableError("test", "m", "broken", status=500)
            self._admit(anyio.current_time())
            await anyio.sleep(self.takes)
        finally:
            self.active -= 1
        if not self.tells_limits:
            return {}
        return {
            "x-ratelimit-limit-requests": str(self.requests.limit),
            "x-ratelimit-remaining-requests": str(self.requests.left(anyio.current_time())),
        }

    def _admit(self, now: float) -> None:
        short = [(w, n) for w, n in ((self.requests, 1.0), (self.tokens, self.uses)) if w.left(now) < n]
        if short:
            self.rejected += 1
            free = max(window.free_at(amount, now) for window, amount in short)
            self.paused_until = max(self.paused_until, free)
            wait = free - now if self.says_when else None
            raise ModelRateLimitError("test", "m", "too much", status=429, retry_after=wait)
        self.requests.take(now, 1)
        self.tokens.take(now, self.uses)

    async def call(
        self, governor: Governor, *, tokens: int = 100, urgency: tuple[float, int] = (0.0, 0), retries: int = 9
    ) -> None:
        """Make one call, again when it was refused."""
        for left in reversed(range(retries + 1)):
            try:
                async with governor.admit("test", "m", tokens, urgency) as admission:
                    admission.headers = await self.answer()
                    admission.used = self.uses
                return
            except ModelRateLimitError as error:
                if not left:
                    raise
                await anyio.sleep(error.retry_after or 0)

    async def fan(self, governor: Governor, calls: int, tokens: int = 100) -> float:
        """Make so many calls at once; return the seconds until the last one is answered."""
        started = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(calls):
                tasks.start_soon(lambda: self.call(governor, tokens=tokens))
        return anyio.current_time() - started
