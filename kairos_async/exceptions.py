"""The whole error tree.

KairosError
├── ConfigError            a wrong argument, found when the object is made
│   └── PolicyError        a failure policy that cannot work
├── PlanError              the graph of a workflow or of a re-plan is not valid
├── ExecutionError         a step's action failed, or a run as a whole
│   ├── StepTimeoutError   an attempt, a step or a run was not done in its time
│   ├── BudgetExceeded     a run, a step or an item has used what its budget allows
│   └── ModelError         a model gave no answer that can be used
│       ├── ModelRequestError         its provider refuses the request
│       │   ├── ModelAuthError        for its key
│       │   └── ModelQuotaError       for want of money or of a monthly quota
│       ├── ModelUnavailableError     its provider cannot be reached or is in trouble
│       │   ├── ModelRateLimitError   or wants fewer requests
│       │   └── ModelTimeoutError     or is too slow
│       ├── ModelResponseError        the answer is malformed or too large
│       │   └── ModelTruncatedError   or ended before its end
│       └── ModelStopError            the model stopped before it had answered
│           ├── ModelRefusalError     by its own refusal
│           ├── ModelFilterError      by its provider's filter
│           └── ModelLengthError      by the limit on the length of its answer
├── ValidationError        data broke a contract
├── StateError             a value or an access that the state store refuses
│   └── ScopeError         a read or a write outside what the step declared
└── SecurityError          a boundary that would have been crossed

Errors inside a step never escape `Workflow.run()`: they become data in its result. `retryable` says whether the same
call can succeed when it is made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from kairos_async._types import FieldError, TokenUsage


class KairosError(Exception):
    """The base of every error that this library raises on purpose."""

    retryable: bool = True


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


class BudgetExceeded(ExecutionError):
    """What a budget allows is used up, and the next model call was not made. Never retried.

    The budget of a run ends the run, whatever the policies say. `scope` is "run", "step" or "item"; `resource` is
    "llm_calls", "tokens", "cost_usd" or "seconds"; `taken` is what was used or reserved of the `limit` when `wanted`
    more was asked for.
    """

    retryable = False

    def __init__(
        self,
        subject: str,
        scope: str,
        resource: str,
        limit: float | Decimal,
        taken: float | Decimal = 0,
        wanted: float | Decimal = 0,
    ) -> None:
        self.subject = subject
        self.scope = scope
        self.resource = resource
        self.limit = limit
        self.taken = taken
        self.wanted = wanted
        if resource == "seconds":
            text = f"the budget of {limit:g} seconds is used up"
        else:
            text = f"the budget of {resource}={limit} does not allow for {wanted} more, {taken} are taken"
        super().__init__(f"{subject}: {text}")


class ModelError(ExecutionError):
    """A model gave no answer that can be used. It never holds a key, a part of the prompt or what the provider said.

    `problem` says what is wrong in words of this library. `status` is the HTTP status, None if there was no answer.
    `retry_after` is in seconds, None if the provider did not say. `usage` is what the call consumed as far as it is
    known: a refusal is paid for, too. `request_id` is the provider's, for its support.
    """

    def __init__(
        self,
        provider: str,
        model: str,
        problem: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        usage: TokenUsage | None = None,
        request_id: str | None = None,
    ) -> None:
        self.provider = provider
        self.model = model
        self.problem = problem
        self.status = status
        self.retry_after = retry_after
        self.usage = usage
        self.request_id = request_id
        code = "" if status is None else f" (HTTP {status})"
        wait = "" if retry_after is None else f"; it asks for a pause of {retry_after:g} s"
        super().__init__(f"Model {model!r} of {provider}: {problem}{code}{wait}")


class ModelRequestError(ModelError):
    """The provider refuses the request as it is: an unknown model, a parameter, a schema, too long a prompt."""

    retryable = False


class ModelAuthError(ModelRequestError):
    """The provider does not take the key, or the key may not use the model."""


class ModelQuotaError(ModelRequestError):
    """The account has no money or no quota left; waiting for seconds does not help."""


class ModelUnavailableError(ModelError):
    """The provider cannot be reached or is in trouble. The same request can succeed later."""


class ModelRateLimitError(ModelUnavailableError):
    """The provider wants fewer requests or tokens a minute."""


class ModelTimeoutError(ModelUnavailableError):
    """The provider did not connect, answer or go on in time."""


class ModelResponseError(ModelError):
    """The answer is not what the provider's format says, or is too large."""


class ModelTruncatedError(ModelResponseError):
    """The answer ended before its end: what came so far is not the answer."""


class ModelStopError(ModelError):
    """The model stopped before it had answered."""


class ModelRefusalError(ModelStopError):
    """The model refuses to answer."""

    retryable = False


class ModelFilterError(ModelStopError):
    """The provider's filter held back the prompt or the answer."""

    retryable = False


class ModelLengthError(ModelStopError):
    """The answer reached its greatest length before its end."""


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
