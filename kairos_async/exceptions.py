"""The whole error tree.

KairosError
├── ConfigError            a wrong argument, found when the object is made
│   └── PolicyError        a failure policy that cannot work
├── PlanError              the graph of a workflow or of a re-plan is not valid
├── ExecutionError         a step's action failed, or a run as a whole
│   └── StepTimeoutError   an attempt, a step or a run was not done in its time
├── ValidationError        data broke a contract
├── StateError             a value or an access that the state store refuses
│   └── ScopeError         a read or a write outside what the step declared
└── SecurityError          a boundary that would have been crossed

Errors inside a step never escape `Workflow.run()`: they become data in its result. `retryable` says whether the same
call can succeed when it is made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from kairos_async._types import FieldError


class KairosError(Exception):
    """The base of every error that this library raises on purpose."""

    retryable: ClassVar[bool] = True


class ConfigError(KairosError):
    """An argument is not valid. Raised when a step, policy, contract or workflow is made; never retried."""

    retryable = False


class PolicyError(ConfigError):
    """A failure policy cannot work, such as one whose fallback is to retry again."""


class PlanError(KairosError):
    """A graph is not valid. `problems` has a sentence for each thing that is wrong, all found in one pass."""

    retryable = False

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        self.subject = subject
        self.problems: tuple[str, ...] = tuple(problems)
        if len(self.problems) == 1:
            text = f"{subject}: {self.problems[0]}"
        else:
            text = f"{subject} has {len(self.problems)} problems:\n" + "\n".join(f"  - {p}" for p in self.problems)
        super().__init__(text)


class ExecutionError(KairosError):
    """A run failed (from `WorkflowResult.raise_for_status`), or a step's action ended in a way that is no result."""


class StepTimeoutError(ExecutionError):
    """Something was not done in its time. `limit` is in seconds; `abandoned` says that a thread still runs it."""

    def __init__(self, subject: str, limit: float, *, abandoned: bool = False) -> None:
        self.subject = subject
        self.limit = limit
        self.abandoned = abandoned
        ending = "; its thread cannot be stopped and was abandoned" if abandoned else ""
        super().__init__(f"{subject} did not finish within {limit:g} s{ending}")


class ValidationError(KairosError):
    """Data broke a contract. `errors` names each broken rule and never holds the data itself."""

    def __init__(self, subject: str, errors: Iterable[FieldError]) -> None:
        self.subject = subject
        self.errors: tuple[FieldError, ...] = tuple(errors)
        shown = "; ".join(error.message for error in self.errors[:5])
        more = f" (and {len(self.errors) - 5} more)" if len(self.errors) > 5 else ""
        super().__init__(f"{subject}: {shown}{more}")


class StateError(KairosError):
    """The state store refuses a value (not JSON, too large, too deep) or an access (no such key, a closed context)."""


class ScopeError(StateError):
    """A step reads or writes what it did not declare. Never retried: the same code asks the same again."""

    retryable = False


class SecurityError(KairosError):
    """Going on would cross a boundary that the library keeps. Never retried."""

    retryable = False
