"""Waiting and calling again. This is the only user of tenacity, and it is entered only after a first failure.

The n-th retry waits `retry_delay * retry_backoff ** (n - 1)` seconds plus jitter, as `FailurePolicy` documents.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_any, wait_exponential
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from kairos_async._types import MISSING, JSONValue, Missing
from kairos_async.failure import Failure, FailureAction, FailureKind, FailurePolicy

T = TypeVar("T")


class AttemptFailed(Exception):
    """An attempt failed. It carries the failure as data and what the policy wants; the cause is not kept.

    `retry_after` is what the cause asked for, in seconds. `replacement` is an output that a custom handler gave.
    """

    def __init__(
        self,
        failure: Failure,
        action: FailureAction,
        retry_after: float = 0.0,
        replacement: JSONValue | Missing = MISSING,
    ) -> None:
        super().__init__(failure.error_message)
        self.failure = failure
        self.action = action
        self.retry_after = retry_after
        self.replacement = replacement


async def retry(
    first: AttemptFailed,
    attempt: Callable[[], Awaitable[T]],
    policy: FailurePolicy,
    *,
    announce: Callable[[AttemptFailed, float], None],
    pause: Callable[[float], Awaitable[None]],
    out_of_time: Callable[[float], bool],
) -> T:
    """Call `attempt` again until it succeeds, its failure wants something else, or the retries are used up.

    Args:
        first: the failure of the attempt that was made already.
        attempt: makes one attempt; raises AttemptFailed.
        policy: says how often, and how long to wait.
        announce: told of each failure that is followed by another attempt, with the seconds until then.
        pause: waits for so many seconds.
        out_of_time: whether waiting for so many seconds would pass the step's deadline.

    Raises:
        AttemptFailed: the last failure.
    """
    pending: AttemptFailed | None = first

    async def replay_then_attempt() -> T:
        nonlocal pending
        if pending is not None:
            known, pending = pending, None
            raise known
        return await attempt()

    def before_sleep(state: RetryCallState) -> None:
        announce(_failed(state), state.upcoming_sleep)

    retrying = AsyncRetrying(
        retry=retry_if_exception(_wants_retry),
        wait=_Wait(policy),
        stop=stop_any(stop_after_attempt(1 + policy.max_retries), _Stop(out_of_time)),
        before_sleep=before_sleep,
        sleep=pause,
        reraise=True,
    )
    return await retrying(replay_then_attempt)


def _wants_retry(error: BaseException) -> bool:
    return isinstance(error, AttemptFailed) and error.action is FailureAction.RETRY


def _failed(state: RetryCallState) -> AttemptFailed:
    failed = state.outcome.exception() if state.outcome else None
    assert isinstance(failed, AttemptFailed)
    return failed


class _Stop(stop_base):
    """Stops when the next attempt would start too late. tenacity's own stops read the wall clock."""

    def __init__(self, out_of_time: Callable[[float], bool]) -> None:
        self._out_of_time = out_of_time

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._out_of_time(retry_state.upcoming_sleep)


class _Wait(wait_base):
    def __init__(self, policy: FailurePolicy) -> None:
        self._policy = policy
        self._plain = wait_exponential(
            multiplier=policy.retry_delay, exp_base=policy.retry_backoff, max=policy.retry_max_delay
        )

    def __call__(self, retry_state: RetryCallState) -> float:
        # Without a delay tenacity is not asked: where backoff ** n overflows, it waits for the longest delay there is.
        failed = _failed(retry_state)
        if failed.failure.kind is FailureKind.VALIDATION or not self._policy.retry_delay:
            return failed.retry_after
        delay = self._plain(retry_state) * (1.0 + random.random() * self._policy.retry_jitter)
        return max(min(delay, self._policy.retry_max_delay), failed.retry_after)
