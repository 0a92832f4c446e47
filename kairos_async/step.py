"""What users declare: a step, its action, and `SKIP`."""

from __future__ import annotations

import copy
import difflib
import enum
import functools
import inspect
import math
import re
import types
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeAlias, TypeVar, overload, runtime_checkable

from kairos_async._types import MISSING
from kairos_async.budget import Budget, checked_budget
from kairos_async.context import StepContext
from kairos_async.contracts import Contract, compile_contract
from kairos_async.contracts.returns import is_model, return_annotation
from kairos_async.exceptions import ConfigError
from kairos_async.failure import FailurePolicy, ForeachPolicy
from kairos_async.flow import as_gate, as_labels


class _Skip(enum.Enum):
    SKIP = object()  # no value that state would take for an output

    def __repr__(self) -> str:
        return "SKIP"


SKIP: Final = _Skip.SKIP
"""An action returns it to skip its own step: nothing is stored, dependents run without its output."""

Action: TypeAlias = Callable[[StepContext], Any]
"""Sync actions run in a worker thread, async ones on the event loop. What they return is the step's output."""


@runtime_checkable
class BindableAction(Protocol):
    """An action that says what it reads and is told its step's contract, such as a prompt for a model.

    Attributes:
        reads: keys without which it cannot run, such as the placeholders of a template; "item" is none of them. They
            are the step's `read_keys`, with what its foreach and its input contract name, unless it has others.
    """

    @property
    def reads(self) -> frozenset[str]: ...

    def bind(self, contract: Contract | None) -> Action:
        """The action of a step with this output contract.

        Raises:
            ConfigError: it cannot ask for what the contract says.
        """


NO_KEYS: Final[frozenset[str]] = frozenset()
"""One for all: Python makes a new empty frozenset each time, and the garbage collector looks at every one."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_T = TypeVar("_T")


def explain_unknown_keywords(cls: type[_T]) -> type[_T]:
    """Make the class say which keyword it does not know and which one was meant, instead of a bare TypeError.

    Type checkers go on seeing the real signature, which a `**unknown` parameter would hide from them.
    """
    plain = cls.__init__
    known = frozenset(inspect.signature(plain).parameters) - {"self"}

    @functools.wraps(plain)
    def init(self: _T, *args: Any, **kwargs: Any) -> None:
        if not kwargs.keys() <= known:
            wrong = min(kwargs.keys() - known)
            name = args[0] if args else kwargs.get("name")
            close = difflib.get_close_matches(wrong, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(sorted(known))}."
            raise ConfigError(f"{cls.__name__} {name!r} has no parameter {wrong!r}. {hint}")
        plain(self, *args, **kwargs)

    setattr(cls, "__init__", init)  # noqa: B010 - a plain assignment is what type checkers refuse here
    return cls


@explain_unknown_keywords
class Step:
    """One node of a workflow: an action with what it needs, what it returns, and what happens when it fails.

    Args:
        name: letters, digits, `_` and `-`; unique in its workflow. The output is stored under it.
        action: called with a `StepContext`; sync (in a worker thread) or async.
        depends_on: steps, or their names, that must have ended before this one starts.
        foreach: a state key or a step whose value is a list: the action runs once for each item, concurrently, and
            the output is the list of outputs in the items' order.
        foreach_policy: what the failure of an item means.
        max_concurrency: items of this foreach that are under way at once; None: only the workflow's limit.
        parallel: False means that no other `parallel=False` step of the run is active beside this one.
        timeout: seconds for one attempt; None: no limit.
        total_timeout: seconds for the whole step with all its attempts, delays and items; None: no limit.
        budget: what the model calls of the step may use, all attempts and items together; None: only the workflow's
            limits it. When it is used up, the step fails and is not retried.
        item_budget: the same for each item of this foreach.
        input_contract: what the step's inputs must be: a `Schema`, a Pydantic model, any annotation that Pydantic
            understands, a JSON Schema dict, or rules; see `compile_contract`. Its fields are keys of `ctx.inputs`.
        output_contract: what the action must return (for a foreach, for each item), in the same forms. The validated
            value is stored. "annotation": what the action's return annotation says.
        read_keys: the complete list of keys that the step may read; None: the inputs and everything upstream. A key
            that is a step, or that a step declares to write, also makes that step a dependency.
        write_keys: the keys that the step may write with `ctx.state.set`; None: not restricted.
        failure_policy: None: the workflow's.
        expected_seconds: a hint. With hints, scarce slots go to the step with the longest remaining path.
        labels: of `Label`: what the step brings in ("untrusted", "secret") or does ("irreversible", "external").
        gate: of `Gate`: "approval" or "declassifier" if what the step returns counts as checked; labels end here. They
            also end at a step whose output contract allows no free text.

    Raises:
        ConfigError: an argument is not valid; the message names step, argument and rule.
    """

    __slots__ = (
        "action",
        "budget",
        "depends_on",
        "expected_seconds",
        "failure_policy",
        "foreach",
        "foreach_policy",
        "gate",
        "input_contract",
        "item_budget",
        "labels",
        "max_concurrency",
        "name",
        "output_contract",
        "parallel",
        "placeholders",
        "read_keys",
        "timeout",
        "total_timeout",
        "write_keys",
    )

    def __init__(
        self,
        name: str,
        action: Action,
        *,
        depends_on: Iterable[str | Step] = (),
        foreach: str | Step | None = None,
        foreach_policy: ForeachPolicy = ForeachPolicy.REQUIRE_ALL,
        max_concurrency: int | None = None,
        parallel: bool = True,
        timeout: float | None = None,
        total_timeout: float | None = None,
        budget: Budget | None = None,
        item_budget: Budget | None = None,
        input_contract: object = None,
        output_contract: object = None,
        read_keys: Iterable[str | Step] | None = None,
        write_keys: Iterable[str] | None = None,
        failure_policy: FailurePolicy | None = None,
        expected_seconds: float | None = None,
        labels: Iterable[str] = (),
        gate: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"Step name {name!r} is not valid: use letters, digits, '_' and '-', at least one.")
        self.name = name
        self.action = _checked_action(name, action)
        self.depends_on = _names(name, "depends_on", depends_on)
        self.foreach = None if foreach is None else _names(name, "foreach", (foreach,))[0]
        self.foreach_policy = _one_of(name, "foreach_policy", foreach_policy, ForeachPolicy)
        if max_concurrency is not None and (type(max_concurrency) is not int or max_concurrency < 1):
            raise ConfigError(
                f"Step {name!r}: max_concurrency={max_concurrency!r} must be a whole number >= 1 or None."
            )
        if max_concurrency is not None and foreach is None:
            raise ConfigError(f"Step {name!r}: max_concurrency bounds the items of a foreach, and it has no foreach.")
        self.max_concurrency = max_concurrency
        if type(parallel) is not bool:
            raise ConfigError(f"Step {name!r}: parallel={parallel!r} must be True or False.")
        self.parallel = parallel
        self.timeout = _seconds(name, "timeout", timeout)
        self.total_timeout = _seconds(name, "total_timeout", total_timeout)
        self.budget = checked_budget(f"Step {name!r}", "budget", budget)
        self.item_budget = checked_budget(f"Step {name!r}", "item_budget", item_budget)
        if item_budget is not None and foreach is None:
            raise ConfigError(f"Step {name!r}: item_budget limits the items of a foreach, and it has no foreach.")
        self.input_contract = _compiled(name, "input_contract", input_contract)
        self.output_contract = _compiled(name, "output_contract", _annotated(name, action, output_contract))
        self.read_keys = None if read_keys is None else _keys(name, "read_keys", read_keys)
        self.write_keys = None if write_keys is None else _keys(name, "write_keys", write_keys)
        self.placeholders = NO_KEYS
        # Asking a protocol takes longer than all the rest of a step, and a plain function is none.
        if type(action) is not types.FunctionType and isinstance(action, BindableAction):
            self._bind(action)
        if failure_policy is not None and not isinstance(failure_policy, FailurePolicy):
            raise ConfigError(f"Step {name!r}: failure_policy={failure_policy!r} must be a FailurePolicy.")
        self.failure_policy = failure_policy
        self.labels = as_labels(f"Step {name!r}", labels)
        self.gate = as_gate(f"Step {name!r}", gate)
        self.expected_seconds = _seconds(name, "expected_seconds", expected_seconds, least=0.0)

    def __repr__(self) -> str:
        return f"<Step {self.name!r}>"

    def _bind(self, action: BindableAction) -> None:
        try:
            self.action = _checked_action(self.name, action.bind(self.output_contract))
        except ConfigError as error:
            raise ConfigError(f"Step {self.name!r}: {error}") from error
        self.placeholders = frozenset(_names(self.name, "action.reads", sorted(action.reads)))
        if self.read_keys is None:
            fields = self.input_contract.fields or () if self.input_contract else ()
            self.read_keys = self.placeholders.union(fields, (self.foreach,) if self.foreach else ())

    def with_expected_seconds(self, seconds: float | None) -> Step:
        """The same step with this hint, if it has none of its own."""
        if seconds is None or self.expected_seconds is not None:
            return self
        twin = copy.copy(self)
        twin.expected_seconds = seconds
        return twin


def _checked_action(step: str, action: object) -> Action:
    if not callable(action):
        raise ConfigError(
            f"Step {step!r}: its action {action!r} is not callable. Pass the function, without calling it."
        )
    if inspect.isgeneratorfunction(action) or inspect.isasyncgenfunction(action):
        raise ConfigError(f"Step {step!r}: its action yields. An action returns its output, once.")
    return action


def _names(step: str, argument: str, given: Iterable[str | Step]) -> tuple[str, ...]:
    if isinstance(given, (str, Step)) or not isinstance(given, Iterable):
        raise ConfigError(f"Step {step!r}: {argument}={given!r} must be a list, such as {argument}=[{given!r}].")
    names = []
    for entry in given:
        key = entry.name if isinstance(entry, Step) else entry
        if type(key) is not str or not key:
            raise ConfigError(f"Step {step!r}: {argument} has {entry!r}; it takes names (str) and steps.")
        names.append(key)
    return tuple(dict.fromkeys(names))


def _keys(step: str, argument: str, given: Iterable[str | Step]) -> frozenset[str]:
    return _key_set(_names(step, argument, given))


@functools.lru_cache(maxsize=16)
def _key_set(names: tuple[str, ...]) -> frozenset[str]:
    """One set for steps that declare the same keys, as those of a layer do: it takes 700 bytes for 10 of them."""
    return frozenset(names) or NO_KEYS


def _one_of(step: str, argument: str, value: object, kind: type[ForeachPolicy]) -> ForeachPolicy:
    if isinstance(value, str) and value in kind.__members__.values():
        return kind(value)
    raise ConfigError(f"Step {step!r}: {argument}={value!r} is not one of {', '.join(map(str, kind.__members__))}.")


def _seconds(step: str, argument: str, value: object, least: float | None = None) -> float | None:
    if value is None:
        return None
    valid = type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    if not valid or (value <= 0 if least is None else value < least):  # type: ignore[operator]
        bound = "> 0" if least is None else f">= {least:g}"
        raise ConfigError(f"Step {step!r}: {argument}={value!r} must be a finite number of seconds {bound}, or None.")
    return float(value)  # type: ignore[arg-type]


def _annotated(step: str, action: Action, spec: object) -> object:
    if not (isinstance(spec, str) and spec == "annotation"):
        return spec
    try:
        found = return_annotation(action)
    except ConfigError as error:
        raise ConfigError(f"Step {step!r}: {error}") from None
    if found is MISSING:
        raise ConfigError(f"Step {step!r}: output_contract='annotation', and its action has no return annotation.")
    return found


def _compiled(step: str, argument: str, spec: object) -> Contract | None:
    if spec is None:
        return None
    try:
        return compile_contract(spec)
    except ConfigError as error:
        raise ConfigError(f"Step {step!r}: {argument}: {error}") from error


def is_async(action: Action) -> bool:
    """Whether calling the action gives a coroutine: a coroutine function, a partial of one, or such a `__call__`."""
    while isinstance(action, functools.partial):
        action = action.func
    return inspect.iscoroutinefunction(action) or inspect.iscoroutinefunction(getattr(action, "__call__", None))  # noqa: B004


@overload
def step(action: Action, /) -> Step: ...
@overload
def step(*, name: str | None = None, **declared: Any) -> Callable[[Action], Step]: ...
def step(action: Action | None = None, /, *, name: str | None = None, **declared: Any) -> Any:
    """Make a function a step: `@step`, or `@step(depends_on=[...], ...)` with the keywords of `Step`.

    The step's name is the function's, unless `name` is given. A return annotation that is a Pydantic model is the
    output contract, unless `output_contract` is given. The function itself stays reachable as `.action`.

    Raises:
        ConfigError: as `Step`.
    """

    def make(function: Action) -> Step:
        called = name or _function_name(function)
        if "output_contract" in declared:
            return Step(called, function, **declared)
        try:
            found = return_annotation(function)
        except ConfigError as error:
            raise ConfigError(f"Step {called!r}: {error}") from None
        return Step(called, function, output_contract=found if is_model(found) else None, **declared)

    return make if action is None else make(action)


def _function_name(action: object) -> str:
    if not callable(action):
        raise ConfigError(
            f"@step goes on a function, and {action!r} is none. A step with a name of its own is @step(name='a')."
        )
    found = getattr(action, "__name__", None)
    if found is None:
        raise ConfigError(f"@step: {action!r} has no __name__; give the step a name with @step(name=...).")
    return str(found)
