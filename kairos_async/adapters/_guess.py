"""What a provider that tells nothing of its limits seems to allow: what it took until it refused, and when it takes
more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

_ENOUGH: Final = 5
_HALF: Final = 0.5
"""A guess needs so many calls that were taken. From fewer it is known only that there were too many: half of them."""


_LONG: Final = 0.5
_SHORT: Final = 0.25
"""Of a period: what is taken in less than a short time is chance, if there is a count over a long one."""
_SHORTEST: Final = 1e-3
"""Seconds, for what divides by a time."""


class Limits(NamedTuple):
    """Of a period."""

    requests: float
    tokens: float


@dataclass(slots=True)
class _Counted:
    """Calls that were sent since a time, without those that were refused, and their tokens as far as they are known."""

    since: float
    requests: int = 0
    tokens: float = 0.0


class Guess:
    """Counts what was taken, and guesses from it.

    Calls that are under way count: a provider judges them when they come. So the count is right at the first refusal,
    when all that is allowed in a minute may have been sent in its first second.
    """

    __slots__ = ("_basis", "_before", "_counted", "_measured", "_period")

    def __init__(self, now: float, period: float) -> None:
        self._period = period
        self._counted = _Counted(now)
        self._basis: _Counted | None = None
        self._before: tuple[_Counted, Limits] | None = None
        self._measured = False

    def sent(self, tokens: float) -> None:
        """A call goes out that may use so many tokens."""
        self._counted.requests += 1
        self._counted.tokens += tokens

    def settled(self, sent_at: float, more: float) -> None:
        """A call used so many more tokens than it was thought to."""
        if (counted := self._of(sent_at)) is not None:
            counted.tokens += more

    def _of(self, sent_at: float) -> _Counted | None:
        """Where a call was counted."""
        return self._counted if sent_at >= self._counted.since else self._basis

    def refused(self, sent_at: float) -> None:
        """A call was not taken."""
        if (counted := self._of(sent_at)) is not None:
            counted.requests -= 1

    def first(self, until: float, last: Limits | None) -> Limits | None:
        """What a period allows, after a refusal behind which no call is sent before `until`; None: not known.

        What was taken since the last refusal is what the provider takes in the time until it takes more. In a short
        time that is more or less by chance: then it counts with what was taken before, if that was over a long one. And
        next to nothing tells that `last`, the last guess, was too high, however it came about: it is halved, but not
        below what was taken before it, as the limit of a whole period.
        """
        self._before = None if self._basis is None or last is None else (self._basis, last)
        self._basis, self._counted = self._counted, _Counted(until)
        self._measured = True
        return self.again(until)

    def again(self, until: float) -> Limits | None:
        """The same, after a further refusal among calls that were under way at the first one."""
        self._counted.since = until
        found = self._basis
        if found is None or not self._measured:
            return None
        if self._before is None:
            return self._average(found, until) if found.requests >= _ENOUGH else None
        whole, last = self._before
        known = found.since - whole.since >= _LONG * self._period
        if found.requests >= _ENOUGH and not (known and until - found.since < _SHORT * self._period):
            return self._average(found, until)
        whole.requests += found.requests
        whole.tokens += found.tokens
        self._basis, self._before = whole, None
        if until - whole.since >= _LONG * self._period:
            return self._average(whole, until)
        self._measured = False
        return Limits(max(last.requests * _HALF, whole.requests), max(last.tokens * _HALF, whole.tokens))

    def _average(self, counted: _Counted, until: float) -> Limits:
        share = self._period / max(until - counted.since, _SHORTEST)
        return Limits(counted.requests * share, counted.tokens * share)

    def next_period(self) -> float:
        """When a whole period is over since the first call of those from which a guess is made now."""
        few = self._counted.requests < _ENOUGH and self._basis is not None
        return (self._basis if few and self._basis else self._counted).since + self._period
