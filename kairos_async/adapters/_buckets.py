"""What a provider allows in a minute, and the bucket that fills at that pace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from kairos_async.exceptions import ConfigError

_SHARE: Final = 0.97
"""Of what is allowed, what is used. With the burst below, no minute has more requests in it than the limit says."""

_LATE: Final = 0.1
"""Seconds by which a timer of a busy machine may be late without a loss of pace."""

_BURST: Final = 1 / 240
"""Of a minute: what may be sent at once after a quiet time. Providers that divide their minute refuse more."""


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
        if not is_positive(self.period):
            raise ConfigError(f"RateLimit: period={self.period!r} must be a finite number of seconds > 0.")


class Bucket:
    """Fills at a pace; may be overdrawn by one large taker, for which the next ones then wait."""

    __slots__ = ("_at", "_level", "limit", "period", "scale")

    def __init__(self, limit: float, period: float, now: float) -> None:
        self.limit = limit
        self.period = period
        self.scale = 1.0
        self._at = now
        self._level = self._burst

    @property
    def pace(self) -> float:
        """A second."""
        return self.limit * _SHARE * self.scale / self.period

    @property
    def size(self) -> float:
        """What may be taken at once after a quiet time, and what flows while those who wait are woken late."""
        return self._burst + self.pace * _LATE

    @property
    def _burst(self) -> float:
        return max(1.0, self.limit * _BURST)

    def level(self, now: float) -> float:
        """What is in it now."""
        # What was given back stays beyond the size: it was waited for already, and calls that use little would else
        # lose to rounding what those that use much have to pay.
        if now > self._at:
            self._level = max(self._level, min(self.size, self._level + (now - self._at) * self.pace))
            self._at = now
        return self._level

    def delay(self, amount: float, now: float) -> float:
        """Seconds until so much can be taken, 0 if now."""
        missing = min(amount, self._burst) - self.level(now)
        return missing / self.pace if missing > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        """Take so much; less than 0 gives back."""
        self._level -= amount

    def empty_until(self, then: float) -> None:
        """Nothing is in it, and it begins to fill at this time: what follows comes at the pace, without a burst."""
        self._level, self._at = 0.0, then

    def at_most(self, level: float) -> None:
        """The provider says that no more than this is left."""
        self._level = min(self._level, level)


def is_positive(value: object) -> bool:
    """Whether it is a finite number > 0."""
    return type(value) in (int, float) and math.isfinite(value) and value > 0  # type: ignore[arg-type,operator]
