"""What a running action holds: its context, and through it the scoped views of the run's state.

A context has no reference to the store. The module keeps one table from open contexts to what they may reach; ending
an attempt removes its entry, and with it everything that the context could do. Copies of a context and contexts kept
beyond their attempt are therefore dead, not by a check that could be forgotten but for want of an entry.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, Protocol, TypeAlias, TypeVar, overload

from kairos_async._types import MISSING, JSONValue, Missing
from kairos_async.account import Account, Spender, count_calls
from kairos_async.events import Event, EventLevel, Hook
from kairos_async.exceptions import BudgetExceeded, ScopeError, StateError
from kairos_async.logs import bound_logger
from kairos_async.reservation import Reservation, reserve_call
from kairos_async.security import Redactor
from kairos_async.state import StateStore, key_size, read_copy, store_copy

_Default = TypeVar("_Default")

_NAMED: Final = 10
"""Keys that a message names at most."""


Ending: TypeAlias = Callable[[], Awaitable[object]]
"""What a run awaits at its end."""


class Grant(Protocol):
    """What a step may read and write, and where it stands in the graph. `None` means: not restricted."""

    @property
    def name(self) -> str: ...
    @property
    def reads(self) -> frozenset[str] | None: ...
    @property
    def writes(self) -> frozenset[str] | None: ...

    remaining: float

    def observe(self, key: str) -> None:
        """Note that the action has read a key."""

    def upstream(self, step: str) -> bool:
        """Whether the step of this name is upstream."""

    def providers(self, key: str) -> tuple[str, ...]:
        """The steps that declare that they produce the key: as their name, or in write_keys."""

    def is_step(self, key: str) -> bool:
        """Whether the key is the name of a step."""

    def downstream(self, step: str) -> bool:
        """Whether the step of this name is downstream."""

    def writes_later(self, key: str) -> bool:
        """Whether this step, or one downstream of it, declares to write the key."""


class Services(Spender, Protocol):
    """What the contexts of one run share."""

    @property
    def run_id(self) -> str: ...
    @property
    def workflow(self) -> str: ...
    @property
    def order(self) -> int: ...
    @property
    def store(self) -> StateStore: ...
    @property
    def redactor(self) -> Redactor: ...
    @property
    def hooks(self) -> tuple[Hook, ...]: ...

    @property
    def thread(self) -> int: ...

    endings: list[Ending]

    def emit(self, kind: type[Event], step: str | None, level: EventLevel, data: dict[str, JSONValue]) -> None:
        """Redact the data, build the event, and give it to the hooks."""


class Scope:
    """What one attempt may reach, and what it has written so far: buffered, for its commit."""

    __slots__ = ("account", "index", "log", "node", "number", "refused", "run", "size", "sizes", "written")

    def __init__(self, run: Services, node: Grant) -> None:
        self.run = run
        self.account: Account = run.account
        self.refused: BudgetExceeded | None = None
        self.node = node
        self.number = 1
        self.index: int | None = None
        self.written: dict[str, JSONValue] | None = None
        self.sizes: dict[str, int] | None = None
        self.size = 0
        self.log: Any = None

    def renew(self) -> None:
        """Forget what was written: the next attempt starts from the state before the step."""
        self.written = self.sizes = self.log = self.refused = None
        self.size = 0

    @property
    def outer(self) -> Services:
        """Who spends on behalf of whom: the attempt for its run."""
        return self.run


OPEN: Final[dict[StepContext, Scope]] = {}
"""What each open context may reach. The engine puts a context in as its attempt begins, and takes it out as it ends:
that is the end of all that the context, and the views taken from it, could do."""

SPENDER: Final[contextvars.ContextVar[Services | None]] = contextvars.ContextVar("kairos_async_run", default=None)
"""The run in which the caller runs, be it as an action, a planner or a handler."""

CURRENT: Final[contextvars.ContextVar[StepContext | None]] = contextvars.ContextVar("kairos_async_step", default=None)
"""The context of the attempt in which the caller runs. Set by the engine for each attempt; dead once it has ended."""


OUTGOING: Final[contextvars.ContextVar[Mapping[str, str] | None]] = contextvars.ContextVar("kairos_async_outgoing")
"""Headers for the HTTP requests of the attempt in which the caller runs, such as `traceparent`. A tracing hook's."""


def outgoing_headers() -> Mapping[str, str]:
    """The headers with which requests of the current attempt say to which trace they belong; empty without a tracer.

    For model adapters and other clients that know nothing of the tracer: `{**outgoing_headers(), **own_headers}`.
    """
    return OUTGOING.get(None) or {}


def current_step() -> StepContext | None:
    """The context of the attempt in which the caller runs, None outside of one.

    For code that an action calls without giving it `ctx`, such as a model adapter; also in the threads and tasks that
    the action starts.
    """
    context = CURRENT.get()
    return context if context in OPEN else None


def current_spender() -> Spender | None:
    """On whose account the caller makes model calls: of the attempt in which it runs, or of the run; None outside."""
    context = CURRENT.get()
    return SPENDER.get() if context is None else OPEN.get(context, SPENDER.get())


def current_urgency() -> tuple[float, int]:
    """Where the caller stands among those who want the same: its remaining path in seconds, its run's order."""
    context, run = CURRENT.get(), SPENDER.get()
    scope = None if context is None else OPEN.get(context)
    return (0.0 if scope is None else scope.node.remaining), (0 if run is None else run.order)


def report(context: StepContext, kind: type[Event], level: EventLevel, data: dict[str, JSONValue]) -> None:
    """Emit an event of the run, on behalf of the step whose context this is. To be called on the event loop's thread.

    Raises:
        StateError: the attempt has ended.
    """
    scope = _scope(context)
    if scope.run.hooks:
        scope.run.emit(kind, scope.node.name, level, data)


def at_end_of_run(context: StepContext, ending: Ending) -> None:
    """Have the run await `ending()` once, after its last step has ended: for what its steps share, such as connections.

    It is awaited on a cancellation too, shielded, so it has to bound what it waits for; what it raises becomes one of
    the result's warnings. To be called on the event loop's thread; see `on_thread_of_run`.

    Raises:
        StateError: the attempt has ended.
    """
    _scope(context).run.endings.append(ending)


def on_thread_of_run(context: StepContext) -> bool:
    """Whether the caller is on the event loop's thread, and not in the worker thread of a sync action."""
    return _scope(context).run.thread == threading.get_ident()


def keep_secret(context: StepContext, value: str) -> None:
    """Have a value redacted from whatever leaves the run, as if it had been stored under a sensitive key."""
    _scope(context).run.redactor.register(value)


def holds_secret(data: JSONValue) -> bool:
    """Whether a secret of the run in which the caller runs, or any kind of credential, is recognised in the data."""
    run = SPENDER.get()
    redactor = Redactor() if run is None else run.redactor
    return redactor.redact(data) != data


def _scope(context: StepContext) -> Scope:
    # A subclass could say that it equals another step's context.
    scope = OPEN.get(context) if type(context) is StepContext else None
    if scope is None:
        raise StateError(
            f"The context of step {context.step_id!r}, attempt {context.attempt}, is closed: the attempt has ended. "
            "Return what later steps need instead of writing it afterwards."
        )
    return scope


class StepContext:
    """What an action gets: `async def action(ctx: StepContext) -> ...`.

    Attributes:
        step_id: the step's name.
        run_id: of this run; 32 hexadecimal digits.
        attempt: counts the calls of this action from 1.
        item: the foreach item, a copy; None outside of a foreach.
        index: the item's position from 0; None outside of a foreach.
        retry_context: None at the first attempt; then what the contract says of the failed one, as JSON data that
            holds nothing of the failed output and no text of an exception.

    A context is dead once its attempt has ended: using it raises `StateError`.
    """

    __slots__ = ("attempt", "index", "item", "retry_context", "run_id", "step_id")

    def __init__(
        self,
        step_id: str,
        run_id: str,
        attempt: int,
        item: Any = None,
        index: int | None = None,
        retry_context: dict[str, JSONValue] | None = None,
    ) -> None:
        self.step_id = step_id
        self.run_id = run_id
        self.attempt = attempt
        self.item = item
        self.index = index
        self.retry_context = retry_context

    def __repr__(self) -> str:
        item = "" if self.index is None else f", item {self.index}"
        return f"<StepContext of step {self.step_id!r}{item}, attempt {self.attempt}>"

    @property
    def inputs(self) -> Inputs:
        """The run's inputs and what upstream steps produced, as far as the step may read; read-only."""
        return Inputs(self)

    @property
    def state(self) -> State:
        """The same values, and the step's own writes."""
        return State(self)

    @property
    def log(self) -> Any:
        """A structlog logger bound to run, workflow, step, attempt and item. What it is given is redacted first."""
        scope = _scope(self)
        if scope.log is None:
            scope.log = bound_logger(_log_facts(scope), scope.run.redactor)
        return scope.log

    def count_llm_calls(self, n: int = 1) -> None:
        """Count `n` model calls towards `result.usage` and the budgets, before they are made. Adapters do it.

        Raises:
            ConfigError: `n` is not a whole number of at least 0, or a budget limits tokens or costs: use `llm_call`.
            BudgetExceeded: a budget does not allow for them; then none of them is counted.
        """
        count_calls(_scope(self), n)

    increment_llm_calls = count_llm_calls

    def llm_call(self, *, tokens: int | None = None, cost_usd: float | Decimal | None = None) -> Reservation:
        """Hold a model call that is not made by an adapter of this library, to be used with `async with`.

            async with ctx.llm_call(tokens=2000) as call:
                answer = await client.ask(...)
                call.settle(input_tokens=answer.read, output_tokens=answer.written)

        Entering waits while calls under way have reserved what this one needs. A call that is not settled is charged
        with all that it reserved.

        Args:
            tokens: that it may read and write at most; None: not known, which a budget that limits tokens refuses.
            cost_usd: what it may cost at most; None: not known, which a budget that limits costs refuses.

        Raises:
            ConfigError: a number is not valid, or one that a budget needs is missing.
            BudgetExceeded: on entering; the call must not be made.
        """
        return reserve_call(_scope(self), tokens, cost_usd)


class Inputs(Mapping[str, JSONValue]):
    """The values that a step may read, as a read-only mapping. Each access gives a copy.

    `inputs[key]` raises KeyError for a key that is not there, and ScopeError for one that the step may not read.
    """

    __slots__ = ("_context",)

    def __init__(self, context: StepContext) -> None:
        self._context = context

    def __getitem__(self, key: str) -> Any:
        value = _read(_scope(self._context), key)
        if value is MISSING:
            error = KeyError(key)
            error.add_note(_not_there(self._context, key, [*self]))
            raise error
        return read_copy(value)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of the key, or the default if it is not there.

        Raises:
            ScopeError: the step may not read the key (with a default too).
        """
        value = _read(_scope(self._context), key)
        return default if value is MISSING else read_copy(value)

    def __iter__(self) -> Iterator[str]:
        return iter(_readable(_scope(self._context)))

    def __len__(self) -> int:
        return len(_readable(_scope(self._context)))

    def __contains__(self, key: object) -> bool:
        return _has(_scope(self._context), key)

    def __repr__(self) -> str:
        return f"<Inputs of step {self._context.step_id!r}: {', '.join(self)}>"


class State:
    """The values that a step may read, with its own writes. Everything read is a copy."""

    __slots__ = ("_context",)

    def __init__(self, context: StepContext) -> None:
        self._context = context

    @overload
    def get(self, key: str) -> Any: ...
    @overload
    def get(self, key: str, default: _Default) -> Any | _Default: ...
    def get(self, key: str, default: object = MISSING) -> Any:
        """The value of the key, or the default if it is not there.

        Raises:
            ScopeError: the step may not read the key (with a default too).
            StateError: the key is not there and no default was given.
        """
        scope = _scope(self._context)
        own = scope.written
        value = own[key] if own is not None and key in own else _read(scope, key)
        if value is not MISSING:
            return read_copy(value)
        if default is MISSING:
            raise StateError(_not_there(self._context, key, self.keys()))
        return default

    def set(self, key: str, value: object) -> None:
        """Write a value. It is stored when the attempt succeeds; until then only this attempt sees it.

        Raises:
            ScopeError: the key is not in the step's write_keys, or is the name of a step.
            StateError: the value is not JSON, or too large.
        """
        _write(self._context, key, value)

    def has(self, key: str) -> bool:
        """Whether `get(key)` gives a value. False for a key that the step may not read."""
        scope = _scope(self._context)
        own = type(key) is str and scope.written is not None and key in scope.written
        return own or _has(scope, key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.has(key)

    def keys(self) -> list[str]:
        """The keys for which `get` gives a value, sorted."""
        scope = _scope(self._context)
        return sorted({*_readable(scope), *(scope.written or ())})

    def __repr__(self) -> str:
        return f"<State of step {self._context.step_id!r}: {', '.join(self.keys())}>"


def _read(scope: Scope, key: str) -> JSONValue | Missing:
    grant = scope.node
    _check_key(grant, key)
    if grant.reads is not None and key not in grant.reads:
        raise ScopeError(
            f"Unauthorized read: key {key!r} is not in the declared read_keys of step {grant.name!r}: "
            f"{sorted(grant.reads)}."
        )
    grant.observe(key)
    value = scope.run.store.read(key, grant.upstream)
    if value is not MISSING or grant.writes_later(key):
        return value
    if (providers := grant.providers(key)) and not any(map(grant.upstream, providers)):
        way_out = f"Add depends_on=[{providers[0]!r}] or read_keys=[{key!r}] to step {grant.name!r}."
        if providers[0] == grant.name or grant.downstream(providers[0]):  # that edge would be a cycle
            way_out = f"Read {key!r} in a step that runs after {providers[0]!r}."
        raise ScopeError(
            f"Step {grant.name!r} reads {key!r}, which step {providers[0]!r} produces, but does not run after it. "
            f"{way_out}"
        )
    return value


def _not_there(context: StepContext, key: str, known: list[str]) -> str:
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return (
        f"Step {context.step_id!r} reads key {key!r}, which neither the inputs nor a step upstream of it gave. It can "
        f"read {known[:_NAMED]}{more}; `get(key, default)` allows for a missing key."
    )


def _has(scope: Scope, key: object) -> bool:
    grant = scope.node
    if type(key) is not str or (grant.reads is not None and key not in grant.reads):
        return False
    grant.observe(key)
    return scope.run.store.read(key, grant.upstream) is not MISSING


def _readable(scope: Scope) -> list[str]:
    grant = scope.node
    if grant.reads is None:
        return sorted(scope.run.store.keys(grant.upstream))
    return [key for key in sorted(grant.reads) if scope.run.store.read(key, grant.upstream) is not MISSING]


def _write(context: StepContext, key: str, value: object) -> None:
    scope = _scope(context)
    grant = scope.node
    _check_key(grant, key)
    if grant.writes is not None and key not in grant.writes:
        raise ScopeError(
            f"Unauthorized write: key {key!r} is not in the declared write_keys of step {grant.name!r}: "
            f"{sorted(grant.writes)}."
        )
    if grant.is_step(key):
        raise ScopeError(
            f"Step {grant.name!r} writes {key!r}, which is the name of a step: its value is what that step returns. "
            "Write to a key of another name."
        )
    limits = scope.run.store.limits
    if scope.written is None or scope.sizes is None:
        scope.written, scope.sizes = {}, {}
    written, sizes = scope.written, scope.sizes  # this attempt's: the copy may take longer than the attempt has
    copied, size = store_copy(value, limits.value_bytes, f"Step {grant.name!r}, write to {key!r}")
    _scope(context)
    size += key_size(key, f"Step {grant.name!r}:")
    total = scope.size + size - sizes.get(key, 0)
    if total > limits.total_bytes:
        raise StateError(f"Step {grant.name!r} writes more than the {limits.total_bytes} bytes that a run may store.")
    scope.size = total
    sizes[key] = size
    written[key] = copied
    scope.run.redactor.register_sensitive_parts(copied, key)


def _check_key(grant: Grant, key: object) -> None:
    if type(key) is not str:
        raise ScopeError(f"Step {grant.name!r} uses a key of type {type(key).__name__}; keys are plain str.")


def log_facts(context: StepContext) -> dict[str, Any]:
    """What a line of a log says of where it comes from: run_id, workflow, step, attempt, and item in a foreach.

    Raises:
        StateError: the attempt has ended.
    """
    return _log_facts(_scope(context))


def _log_facts(scope: Scope) -> dict[str, Any]:
    run = scope.run
    facts = {"run_id": run.run_id, "workflow": run.workflow, "step": scope.node.name, "attempt": scope.number}
    return facts if scope.index is None else {**facts, "item": scope.index}
