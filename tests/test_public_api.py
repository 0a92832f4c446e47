"""The names that users import, and that each says what it is for."""

from __future__ import annotations

import inspect
import types
from importlib import metadata, resources

import pytest

import kairos_async

NAMES = """
Action Attempt AttemptStatus Budget BudgetExceeded ConfigError Contract DEFAULT_SENSITIVE_PATTERNS EdgeProof Estimate
Event EventLevel ExecutionError Failure FailureAction FailureKind FailurePolicy FieldError ForeachPolicy Gate Hook
Inputs ItemComplete ItemFail ItemOutcome ItemOutcomes JSONValue KAIROS_DEFAULTS KairosError LLMCall LLMDelta LLMJudge
Label Limiter ModelAuthError ModelError ModelFilterError ModelLengthError ModelQuotaError ModelRateLimitError
ModelRefusalError ModelRequestError ModelResponseError ModelStopError ModelTimeoutError ModelTruncatedError
ModelUnavailableError PlanError PlanReplaced Planner PolicyError Proof Proven Refuted Replan ReplanRequest Reservation
SKIP Schema ScopeError ScopeReport SecretOutput SecurityError State StateError StateLimits StateStore Step StepCancel
StepComplete StepContext StepContracts StepEstimate StepFail StepResult StepRetry StepSkip StepStart StepStatus
StepTimeoutError TaskGraph TokenUsage Unknown UntrustedText Usage ValidationComplete ValidationError ValidationFail
ValidationResult ValidationStart Workflow WorkflowComplete WorkflowResult WorkflowStart WorkflowStatus all_of
compile_contract current_step gate redact_sensitive sanitize_exception sanitize_path sanitize_retry_context step
untrusted
""".split()  # noqa: SIM905 - a list would be sixty lines
"""A new name is added here and to the changelog; one that is taken away breaks somebody's program."""


def public_names() -> dict[str, object]:
    """Return what `kairos_async` offers, its own submodules left out."""
    return {
        name: value
        for name, value in vars(kairos_async).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def test_public_names() -> None:
    """No name comes or goes unnoticed."""
    assert sorted(public_names()) == sorted(NAMES)


LATE_NAMES = "CallbackSink ConsoleSink FileSink JSONLinesSink LogLevel RunLog RunLogger".split()  # noqa: SIM905
"""What the package offers of its outer ring; imported when it is used."""


def test_late_names() -> None:
    """They are the outer ring's own, are listed, documented, and no others are there."""
    for name in LATE_NAMES:
        value = getattr(kairos_async, name)
        assert value.__module__.startswith("kairos_async.observe")
        assert inspect.getdoc(value)
        assert undocumented_members(value) == []
    assert sorted(kairos_async._LATE_NAMES) == LATE_NAMES
    assert set(LATE_NAMES) <= set(dir(kairos_async))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kairos_async.nothing


def test_a_star_import_gives_the_public_names_and_no_others() -> None:
    """Late ones too; no module that the package itself imports."""
    given: dict[str, object] = {}
    exec("from kairos_async import *", given)
    del given["__builtins__"]
    assert sorted(given) == sorted([*NAMES, *LATE_NAMES])


def undocumented_members(cls: type) -> list[str]:
    """Return the public methods and properties that a class defines itself and nobody documents."""
    kinds = (types.FunctionType, classmethod, staticmethod, property)
    own = [name for name, value in vars(cls).items() if isinstance(value, kinds) and not name.startswith("_")]
    return [name for name in own if not inspect.getdoc(getattr(cls, name))]


def test_every_public_class_and_method_is_documented() -> None:
    """Inherited docstrings count; what Python's own classes document is not ours to repeat."""
    undocumented = []
    for name, value in public_names().items():
        if not callable(value) or not getattr(value, "__module__", "").startswith("kairos_async"):
            continue
        if not inspect.getdoc(value):
            undocumented.append(name)
        if inspect.isclass(value):
            undocumented += [f"{name}.{member}" for member in undocumented_members(value)]
    assert undocumented == []


def test_the_version_is_that_of_the_distribution() -> None:
    """It stands in one place."""
    assert kairos_async.__version__ == metadata.version("kairos-async")


def test_type_checkers_are_told_to_look() -> None:
    """The marker file of PEP 561 is part of the package."""
    assert resources.files(kairos_async).joinpath("py.typed").is_file()
