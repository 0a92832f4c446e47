"""The governor: how fast, and how many at once, the models of a process are asked.

One lane for each provider and model. A lane has a bucket for requests and one for tokens, filled at the pace that the
provider allows; a window for how many calls are under way while that pace is not known; a pause that the provider asked
for; and a circuit breaker. Calls that have to wait stand in one queue for each lane. The first of them sleeps until its
turn, the others until they are first: there is no task of the governor's own that could die or be forgotten.

aiolimiter was not taken: it runs on asyncio alone, takes nothing back, serves the smallest request first, and the two
buckets of a lane have to be taken from together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Final

import anyio
import anyio.lowlevel

from kairos_async.adapters._buckets import RateLimit as RateLimit
from kairos_async.adapters._buckets import is_positive
from kairos_async.adapters._lane import Lane
from kairos_async.exceptions import ConfigError, ModelRateLimitError, ModelUnavailableError


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
        if limits is not None and not isinstance(limits, Mapping):
            raise ConfigError(f"Governor: limits={limits!r} must be a dict of RateLimits by 'provider/model'.")
        self._limits = dict(limits or {})
        for key, limit in self._limits.items():
            if not isinstance(key, str) or not isinstance(limit, RateLimit):
                raise ConfigError(f"Governor: limits has {key!r}: {limit!r}; it takes RateLimits by 'provider/model'.")
        if type(failures) is not int or failures < 1:
            raise ConfigError(f"Governor: failures={failures!r} must be a whole number >= 1.")
        for name, seconds in (("cooldown", cooldown), ("patience", patience)):
            if not is_positive(seconds):
                raise ConfigError(f"Governor: {name}={seconds!r} must be a finite number of seconds > 0.")
        self.failures = failures
        self.cooldown = float(cooldown)
        self.patience = float(patience)
        self._lanes: dict[tuple[str, str], Lane] = {}
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
            lane = self._lanes[provider, model] = Lane(self, provider, model, limit)
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

    def __init__(self, lane: Lane, tokens: int, urgency: tuple[float, int]) -> None:
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
        used = 0 if isinstance(error, ModelRateLimitError) else self.used
        lane.settle(self._sent_at, self._tokens, self._taken, used)
        if self.headers:
            lane.learn(self.headers)
        if isinstance(error, ModelRateLimitError):
            lane.refused(self._sent_at, error.retry_after)
        elif isinstance(error, ModelUnavailableError):
            lane.failed(self._sent_at, error.retry_after)
        elif error is None or isinstance(error, Exception):
            lane.succeeded(self._sent_at, self._taken if self.used is None else self.used)
        lane.leave()
