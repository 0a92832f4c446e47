"""What happens when a step fails: the policy that users declare, and the failure as data."""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

from kairos_async._types import FieldError, JSONValue
from kairos_async.exceptions import PolicyError


class FailureAction(enum.StrEnum):
    """What to do with a step that failed."""

    RETRY = "retry"
    """Call the action again, at most `max_retries` times; then `fallback_action`."""
    REPLAN = "replan"
    """Ask the workflow's planner for steps that replace the part which has not run."""
    SKIP = "skip"
    """Mark the step SKIPPED; its dependents run without its output, or are skipped if they need it."""
    ABORT = "abort"
    """End the run: cancel what is running, skip the rest, keep what is finished."""
    CUSTOM = "custom"
    """Ask `custom_handler`."""


class FailureKind(enum.StrEnum):
    """What went wrong, as far as a policy cares."""

    EXECUTION = "execution"
    """The action raised."""
    VALIDATION = "validation"
    """The input or the output broke its contract."""
    TIMEOUT = "timeout"
    """The attempt was not done in its time. Policies treat it as an execution failure."""


class ForeachPolicy(enum.StrEnum):
    """What the failure of one item means for its foreach step."""

    REQUIRE_ALL = "require_all"
    """All items run; one that fails for good fails the step."""
    ALLOW_PARTIAL = "allow_partial"
    """All items run; the output has None in the places of those that failed."""
    FAIL_FAST = "fail_fast"
    """The first item that fails for good cancels the others and fails the step."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure as data: sanitised, and without a reference to the exception it was made from.

    `attempt` counts calls from 1. `item` is the index within a foreach, None outside of one. `errors` has the broken
    rules of a contract. `retryable` is False for errors that the same call can only repeat.
    """

    step: str
    kind: FailureKind
    error_type: str
    error_message: str
    attempt: int
    item: int | None = None
    errors: tuple[FieldError, ...] = ()
    retryable: bool = True


HandlerAnswer: TypeAlias = FailureAction | JSONValue
CustomHandler: TypeAlias = Callable[[Failure], HandlerAnswer | Awaitable[HandlerAnswer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicy:
    """How failures of a step are handled. The most specific whole policy wins: step, workflow, `KAIROS_DEFAULTS`.

    The n-th retry starts after `retry_delay * retry_backoff ** (n - 1)` seconds, lengthened by a random share of up to
    `retry_jitter` of itself and capped at `retry_max_delay`; never earlier than a `retry_after` (seconds) that the
    exception carries as an attribute. A contract failure is retried at once: waiting mends no answer.

    Args:
        on_validation_fail: action when the input or output breaks its contract.
        on_execution_fail: action when the step's action raises or runs out of time.
        max_retries: calls after the first one; 3 means up to 4 attempts, 0 means no retry.
        max_replans: plans that may be asked for in one run.
        retry_with_feedback: whether the next attempt gets `ctx.retry_context`; if not, it is None.
        retry_delay: seconds before the first retry.
        retry_backoff: factor from one delay to the next, at least 1.
        retry_jitter: 0.25 means that up to a quarter is added to each delay, at random; 0 means none.
        retry_max_delay: seconds that no delay exceeds, a `retry_after` excepted.
        fallback_action: action when the retries or re-plans are used up, or cannot help. RETRY is refused.
        custom_handler: asked on CUSTOM with the `Failure`; returns a `FailureAction` or a replacement output. Sync
            (called in a worker thread) or async. For a foreach it is asked about each item that fails, and about the
            whole if that fails by itself: there is no list, say, or two items wrote one key. Then a replacement is a
            list, each entry of which passes the output contract, and RETRY aborts. Not part of `to_dict()`.

    Raises:
        PolicyError: a number is negative or not finite, an action is unknown, CUSTOM is used without a handler, or
            `retry_with_feedback` is no bool.
    """

    on_validation_fail: FailureAction = FailureAction.RETRY
    on_execution_fail: FailureAction = FailureAction.RETRY
    max_retries: int = 2
    max_replans: int = 2
    retry_with_feedback: bool = True
    retry_delay: float = 0.5
    retry_backoff: float = 2.0
    retry_jitter: float = 0.25
    retry_max_delay: float = 60.0
    fallback_action: FailureAction = FailureAction.ABORT
    custom_handler: CustomHandler | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("on_validation_fail", "on_execution_fail", "fallback_action"):
            object.__setattr__(self, name, _as_action(name, getattr(self, name)))
        for name in ("max_retries", "max_replans"):
            _require_count(name, getattr(self, name))
        for name, least in (("retry_delay", 0), ("retry_backoff", 1), ("retry_jitter", 0), ("retry_max_delay", 0)):
            _require_number(name, getattr(self, name), least)
        if type(self.retry_with_feedback) is not bool:
            raise PolicyError(f"retry_with_feedback={self.retry_with_feedback!r} must be True or False.")
        if self.fallback_action is FailureAction.RETRY:
            raise PolicyError("fallback_action=RETRY would retry for ever. Raise max_retries instead.")
        if self.custom_handler is not None and not callable(self.custom_handler):
            raise PolicyError(f"custom_handler={self.custom_handler!r} is not callable.")
        if FailureAction.CUSTOM in self.actions and self.custom_handler is None:
            raise PolicyError("A policy that uses FailureAction.CUSTOM needs custom_handler=callable(failure).")

    @property
    def actions(self) -> frozenset[FailureAction]:
        """Every action that this policy names."""
        return frozenset((self.on_validation_fail, self.on_execution_fail, self.fallback_action))

    def action_for(self, kind: FailureKind) -> FailureAction:
        """The action for a failure of this kind; a timeout counts as an execution failure."""
        return self.on_validation_fail if kind is FailureKind.VALIDATION else self.on_execution_fail

    def to_dict(self) -> dict[str, JSONValue]:
        """The policy as JSON data, without the handler. A policy that uses CUSTOM needs its handler set again."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "custom_handler"}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, custom_handler: CustomHandler | None = None) -> FailurePolicy:
        """The policy from what `to_dict` gave.

        Raises:
            PolicyError: a key is unknown, or a value is not valid.
        """
        known = {f.name for f in fields(cls)} - {"custom_handler"}
        if unknown := sorted(set(data) - known):
            raise PolicyError(f"FailurePolicy has no field {unknown[0]!r}. Known fields: {sorted(known)}.")
        return replace(cls(), **data, custom_handler=custom_handler)


def _as_action(name: str, value: object) -> FailureAction:
    if isinstance(value, str) and value in FailureAction.__members__.values():
        return FailureAction(value)
    choices = ", ".join(f"FailureAction.{action.name}" for action in FailureAction)
    raise PolicyError(f"{name}={value!r} is not one of {choices}.")


def _require_count(name: str, value: object) -> None:
    if type(value) is not int or value < 0:
        raise PolicyError(f"{name}={value!r} must be a whole number of at least 0.")


def _require_number(name: str, value: object, least: int) -> None:
    if type(value) not in (int, float) or not math.isfinite(value) or value < least:  # type: ignore[arg-type,operator]
        raise PolicyError(f"{name}={value!r} must be a finite number of at least {least}.")


KAIROS_DEFAULTS = FailurePolicy()
"""The policy of a step when neither it nor its workflow has one: up to 2 retries, then ABORT."""
