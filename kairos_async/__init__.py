"""Contract-enforced workflows for asyncio and trio, with automatic recovery.

    workflow = Workflow("hello", [Step("greet", greet), Step("shout", shout, depends_on=["greet"])])
    result = await workflow.run({"name": "Kairos"})

`docs/design.md` in the repository explains how it works.
"""

import importlib
import types
import typing

from kairos_async._types import FieldError as FieldError
from kairos_async._types import JSONValue as JSONValue
from kairos_async._types import TokenUsage as TokenUsage
from kairos_async.budget import Budget as Budget
from kairos_async.budget import Usage as Usage
from kairos_async.context import Inputs as Inputs
from kairos_async.context import State as State
from kairos_async.context import StepContext as StepContext
from kairos_async.context import current_step as current_step
from kairos_async.contracts import Contract as Contract
from kairos_async.contracts import LLMJudge as LLMJudge
from kairos_async.contracts import Proof as Proof
from kairos_async.contracts import Proven as Proven
from kairos_async.contracts import Refuted as Refuted
from kairos_async.contracts import Schema as Schema
from kairos_async.contracts import Unknown as Unknown
from kairos_async.contracts import ValidationResult as ValidationResult
from kairos_async.contracts import all_of as all_of
from kairos_async.contracts import compile_contract as compile_contract
from kairos_async.engine.replan import Planner as Planner
from kairos_async.engine.replan import ReplanRequest as ReplanRequest
from kairos_async.estimate import Estimate as Estimate
from kairos_async.estimate import StepEstimate as StepEstimate
from kairos_async.events import Event as Event
from kairos_async.events import EventLevel as EventLevel
from kairos_async.events import Hook as Hook
from kairos_async.events import ItemComplete as ItemComplete
from kairos_async.events import ItemFail as ItemFail
from kairos_async.events import LLMCall as LLMCall
from kairos_async.events import LLMDelta as LLMDelta
from kairos_async.events import PlanReplaced as PlanReplaced
from kairos_async.events import StepCancel as StepCancel
from kairos_async.events import StepComplete as StepComplete
from kairos_async.events import StepFail as StepFail
from kairos_async.events import StepRetry as StepRetry
from kairos_async.events import StepSkip as StepSkip
from kairos_async.events import StepStart as StepStart
from kairos_async.events import ValidationComplete as ValidationComplete
from kairos_async.events import ValidationFail as ValidationFail
from kairos_async.events import ValidationStart as ValidationStart
from kairos_async.events import WorkflowComplete as WorkflowComplete
from kairos_async.events import WorkflowStart as WorkflowStart
from kairos_async.exceptions import BudgetExceeded as BudgetExceeded
from kairos_async.exceptions import ConfigError as ConfigError
from kairos_async.exceptions import ExecutionError as ExecutionError
from kairos_async.exceptions import KairosError as KairosError
from kairos_async.exceptions import ModelAuthError as ModelAuthError
from kairos_async.exceptions import ModelError as ModelError
from kairos_async.exceptions import ModelFilterError as ModelFilterError
from kairos_async.exceptions import ModelLengthError as ModelLengthError
from kairos_async.exceptions import ModelQuotaError as ModelQuotaError
from kairos_async.exceptions import ModelRateLimitError as ModelRateLimitError
from kairos_async.exceptions import ModelRefusalError as ModelRefusalError
from kairos_async.exceptions import ModelRequestError as ModelRequestError
from kairos_async.exceptions import ModelResponseError as ModelResponseError
from kairos_async.exceptions import ModelStopError as ModelStopError
from kairos_async.exceptions import ModelTimeoutError as ModelTimeoutError
from kairos_async.exceptions import ModelTruncatedError as ModelTruncatedError
from kairos_async.exceptions import ModelUnavailableError as ModelUnavailableError
from kairos_async.exceptions import PlanError as PlanError
from kairos_async.exceptions import PolicyError as PolicyError
from kairos_async.exceptions import ScopeError as ScopeError
from kairos_async.exceptions import SecurityError as SecurityError
from kairos_async.exceptions import StateError as StateError
from kairos_async.exceptions import StepTimeoutError as StepTimeoutError
from kairos_async.exceptions import ValidationError as ValidationError
from kairos_async.failure import KAIROS_DEFAULTS as KAIROS_DEFAULTS
from kairos_async.failure import Failure as Failure
from kairos_async.failure import FailureAction as FailureAction
from kairos_async.failure import FailureKind as FailureKind
from kairos_async.failure import FailurePolicy as FailurePolicy
from kairos_async.failure import ForeachPolicy as ForeachPolicy
from kairos_async.flow import Gate as Gate
from kairos_async.flow import Label as Label
from kairos_async.flow import SecretOutput as SecretOutput
from kairos_async.limits import Limiter as Limiter
from kairos_async.outcomes import Attempt as Attempt
from kairos_async.outcomes import AttemptStatus as AttemptStatus
from kairos_async.outcomes import ItemOutcome as ItemOutcome
from kairos_async.outcomes import ItemOutcomes as ItemOutcomes
from kairos_async.outcomes import Replan as Replan
from kairos_async.outcomes import StepResult as StepResult
from kairos_async.outcomes import StepStatus as StepStatus
from kairos_async.outcomes import WorkflowResult as WorkflowResult
from kairos_async.outcomes import WorkflowStatus as WorkflowStatus
from kairos_async.plan import TaskGraph as TaskGraph
from kairos_async.reservation import Reservation as Reservation
from kairos_async.security import DEFAULT_SENSITIVE_PATTERNS as DEFAULT_SENSITIVE_PATTERNS
from kairos_async.security import UntrustedText as UntrustedText
from kairos_async.security import gate as gate
from kairos_async.security import redact_sensitive as redact_sensitive
from kairos_async.security import sanitize_exception as sanitize_exception
from kairos_async.security import sanitize_path as sanitize_path
from kairos_async.security import sanitize_retry_context as sanitize_retry_context
from kairos_async.security import untrusted as untrusted
from kairos_async.state import StateLimits as StateLimits
from kairos_async.state import StateStore as StateStore
from kairos_async.step import SKIP as SKIP
from kairos_async.step import Action as Action
from kairos_async.step import Step as Step
from kairos_async.step import step as step
from kairos_async.workflow import EdgeProof as EdgeProof
from kairos_async.workflow import ScopeReport as ScopeReport
from kairos_async.workflow import StepContracts as StepContracts
from kairos_async.workflow import Workflow as Workflow

if typing.TYPE_CHECKING:
    from kairos_async.observe import CallbackSink as CallbackSink
    from kairos_async.observe import ConsoleSink as ConsoleSink
    from kairos_async.observe import FileSink as FileSink
    from kairos_async.observe import JSONLinesSink as JSONLinesSink
    from kairos_async.observe import LogLevel as LogLevel
    from kairos_async.observe import RunLog as RunLog
    from kairos_async.observe import RunLogger as RunLogger

__version__ = "0.1.0"

_LATE_NAMES: typing.Final = {
    **dict.fromkeys(("CallbackSink", "ConsoleSink", "FileSink", "JSONLinesSink"), "kairos_async.observe"),
    **dict.fromkeys(("LogLevel", "RunLog", "RunLogger"), "kairos_async.observe"),
}
"""Names that are also offered here, by the module of the outer ring that has them. It is imported when one is used: the
core neither needs it nor pays for it."""

if not typing.TYPE_CHECKING:  # checkers take the imports above, and nothing that is worked out
    __all__ = sorted(
        {name for name, value in globals().items() if name[0] != "_" and not isinstance(value, types.ModuleType)}
        | _LATE_NAMES.keys()
    )


def __getattr__(name: str) -> typing.Any:
    if name not in _LATE_NAMES:
        raise AttributeError(f"module 'kairos_async' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE_NAMES})
