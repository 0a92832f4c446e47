"""Workflow: built and checked once, run as often and as concurrently as wanted."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import math
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from kairos_async._stream import stream_events
from kairos_async._types import JSONValue
from kairos_async.budget import Budget, checked_budget
from kairos_async.contracts import Contract, Proof, Unknown
from kairos_async.engine.replan import Planner
from kairos_async.engine.run import Run, RunConfig
from kairos_async.estimate import Estimate, estimate
from kairos_async.events import Event, Hook, each_once
from kairos_async.exceptions import ConfigError, PlanError, StateError
from kairos_async.failure import FailureAction, FailurePolicy, ForeachPolicy
from kairos_async.flow import SOURCES, Label, SecretOutput, as_labels
from kairos_async.limits import Limiter
from kairos_async.node import Node
from kairos_async.outcomes import StepStatus, WorkflowResult
from kairos_async.plan import TaskGraph, to_mermaid
from kairos_async.security import Redactor
from kairos_async.state import DEFAULT_LIMITS, StateLimits
from kairos_async.step import Step, explain_unknown_keywords

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StepContracts:
    """What a step's inputs must be, and what it must return."""

    input: Contract | None
    output: Contract | None


@dataclass(frozen=True, slots=True)
class EdgeProof:
    """What is known of one edge: whether all that `producer` returns passes the input contract of `consumer`."""

    producer: str
    consumer: str
    proof: Proof


@dataclass(frozen=True, slots=True)
class ScopeReport:
    """What a step was seen to read, its foreach's key included (`used`), and what it may read but did not (`unused`).

    `unrestricted` says that it has no read_keys; `used` is then what they could be.
    """

    used: frozenset[str]
    unused: frozenset[str]
    unrestricted: bool


@explain_unknown_keywords
class Workflow:
    """A named graph of steps with the rules for running it.

    Args:
        name: for people, logs and results; not empty.
        steps: in any order that reads well; the graph follows from what each step needs. Among steps that become
            ready at the same moment, the one declared first goes first.
        max_concurrency: attempts of one run that run at once; a `Limiter` bounds all runs that share it together;
            None: no limit.
        failure_policy: of steps that have none of their own; None: `KAIROS_DEFAULTS`.
        hooks: callables that get each event; see `kairos_async.events`.
        budget: what the model calls of a run may use; None: not limited. A run that would use more ends there, FAILED
            with `BudgetExceeded`, whatever the policies say.
        timeout: seconds for a run; None: no limit. A run that takes longer is FAILED.
        planner: asked for new steps when a policy says REPLAN; see `ReplanRequest`.
        output: the step whose output is `result.output`; None: the last declared step that no other step needs.
        on_secret_output: what happens to an output or write that carries a secret of the run (what was wrapped in
            `pydantic.SecretStr` or stored under a sensitive key) outside of a sensitive key of its own: "fail",
            "redact" or "allow"; see `SecretOutput`.
        input_labels: of `Label`, by input: "untrusted", "secret".
        sensitive_keys: words or globs for keys whose values are redacted, beside the defaults.
        state_limits: how much a run may store.

    Raises:
        ConfigError: an argument is not valid.
        PlanError: the graph is not valid; the message has every problem.
    """

    def __init__(
        self,
        name: str,
        steps: Iterable[Step],
        *,
        max_concurrency: int | Limiter | None = None,
        failure_policy: FailurePolicy | None = None,
        hooks: Iterable[Hook] = (),
        budget: Budget | None = None,
        timeout: float | None = None,
        planner: Planner | None = None,
        output: str | Step | None = None,
        sensitive_keys: Iterable[str] = (),
        on_secret_output: str = SecretOutput.FAIL,
        input_labels: Mapping[str, Iterable[str]] | None = None,
        state_limits: StateLimits = DEFAULT_LIMITS,
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"Workflow name {name!r} must be a str that is not empty.")
        self.name = name
        labels = _checked_labels(name, input_labels)
        policy = _checked_policy(name, failure_policy)
        self.graph = TaskGraph(
            _checked_steps(name, steps), subject=f"Workflow {name!r}", failure_policy=policy, input_labels=labels
        )
        self.timeout = _checked_timeout(name, timeout)
        self._config = RunConfig(
            workflow=name,
            graph=self.graph,
            concurrency=_checked_concurrency(name, max_concurrency),
            limits=_checked_limits(name, state_limits),
            hooks=(),
            planner=planner,
            output=self._checked_output(output),
            sensitive_keys=_checked_patterns(name, sensitive_keys),
            on_secret_output=_checked_secret_output(name, on_secret_output),
            budget=checked_budget(f"Workflow {name!r}", "budget", budget),
        )
        self._check_planner(planner)
        for hook in _listed(name, "hooks", hooks):
            self.add_hook(hook)

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r}: {len(self.graph)} steps>"

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, in the order of declaration."""
        return tuple(node.step for node in self.graph.nodes)

    @property
    def output_step(self) -> str:
        """The name of the step whose output is the run's: as declared, or the last one that no other step needs."""
        return self._config.output or next(node.name for node in reversed(self.graph.nodes) if not node.successors)

    def add_hook(self, hook: Hook) -> None:
        """Give the events of runs that start from now on to one more callable. One that has them already is not added.

        Raises:
            ConfigError: the hook is not callable, is a class, or is async; `workflow.stream()` is for consumers that
                await.
        """
        if not callable(hook):
            raise ConfigError(f"Workflow {self.name!r}: hook {hook!r} is not callable.")
        if isinstance(hook, type):
            way_out = f"give an object of it, {hook.__name__}()."
            raise ConfigError(f"Workflow {self.name!r}: hook {hook!r} is a class; {way_out}")
        if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
            raise ConfigError(
                f"Workflow {self.name!r}: hook {hook!r} is async, and hooks are called without await. "
                "Use `async for event in workflow.stream(inputs)`."
            )
        self._config = dataclasses.replace(self._config, hooks=tuple(each_once([*self._config.hooks, hook])))

    async def run(self, inputs: Mapping[str, object] | None = None, *, timeout: float | None = None) -> WorkflowResult:
        """Run all steps and return how they ended. Errors in steps are data in the result.

        Any number of runs of one workflow may be awaited together; they share nothing but a `Limiter`.

        Args:
            inputs: the run's initial state, JSON values by key.
            timeout: seconds for this run, instead of the workflow's; None: the workflow's.

        Raises:
            StateError: an input is not JSON, or is too large.
            PlanError: an input has the name of a step, or a foreach has no key to go over.
            ConfigError: the timeout is not valid; or the `Limiter` is in use on another event loop, or has no slot
                beside those of the steps that call this.
            ExecutionError: somebody cancelled a task of the run itself, and not the one that awaits it.
            BaseException: the caller's own cancellation, after every task of the run has ended.
        """
        return await self._prepare(inputs, timeout, None).execute()

    def run_sync(self, inputs: Mapping[str, object] | None = None, *, timeout: float | None = None) -> WorkflowResult:
        """`run`, for a script: starts an event loop, runs, and ends the loop.

        Raises:
            ConfigError: an event loop is already running in this thread; there, `await workflow.run(...)`.
        """
        if _in_event_loop():
            raise ConfigError(
                f"Workflow {self.name!r}: run_sync() was called where an event loop is running. "
                "Use `await workflow.run(...)` there, or run_sync() in another thread."
            )
        return anyio.run(functools.partial(self.run, inputs, timeout=timeout))

    def stream(
        self, inputs: Mapping[str, object] | None = None, *, timeout: float | None = None
    ) -> AsyncGenerator[Event, None]:
        """Run, and yield each event as it happens: `async for event in workflow.stream(inputs)`.

        The last event is the `WorkflowComplete`. Leaving the loop early cancels the run. The arguments and what is
        raised are those of `run`.
        """

        async def execute(hook: Hook) -> object:
            return await self._prepare(inputs, timeout, hook).execute()

        return stream_events(execute)

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        return to_mermaid(self.graph)

    @property
    def contracts(self) -> dict[str, StepContracts]:
        """The contracts of each step that has any."""
        return {
            node.name: StepContracts(node.input_contract, node.output_contract)
            for node in self.graph.nodes
            if node.input_contract or node.output_contract
        }

    def to_json_schema(self) -> dict[str, JSONValue]:
        """All contracts as JSON Schemas: `{step: {"input": schema, "output": schema}}`, with those that a step has.

        The output of a foreach step is described for one item.
        """
        schemas: dict[str, JSONValue] = {}
        for name, contracts in self.contracts.items():
            named = {"input": contracts.input, "output": contracts.output}
            schemas[name] = {side: contract.json_schema() for side, contract in named.items() if contract is not None}
        return schemas

    def check(self) -> tuple[EdgeProof, ...]:
        """Compare what each step returns with what the steps that need it accept, without running anything.

        One `EdgeProof` for each edge: `Proven`, `Refuted` with a value that the one returns and the other refuses, or
        `Unknown` with the reason, which is also what an edge without contracts on both ends gets.
        """
        return tuple(
            EdgeProof(producer.name, consumer.name, _prove_edge(producer, consumer))
            for consumer in self.graph.nodes
            for producer in (self.graph.nodes[need] for need in consumer.needs)
        )

    def estimate(
        self, inputs: Mapping[str, object] | None = None, *, items: Mapping[str, int] | None = None
    ) -> Estimate:
        """What a run with these inputs may use of models at most: calls, tokens, dollars. Nothing is run.

        It counts every retry that the policies allow, every item, and plans of the same size for re-plans. A prompt is
        taken for a token each two bytes, an answer for its `max_tokens`.

        Args:
            inputs: as for `run`.
            items: how many items a foreach step goes over at most, by its name, where only a step will tell.

        Raises:
            ConfigError: `items` names no foreach step, or has no whole number.
        """
        return estimate(
            self.graph,
            inputs or {},
            items or {},
            planner=self._config.planner is not None,
            subject=f"Workflow {self.name!r}",
        )

    def with_durations(self, result: WorkflowResult) -> Workflow:
        """The same workflow, with the durations that a run measured as `expected_seconds` of steps without a hint.

        Scarce slots then go to the step with the longest remaining path.
        """
        measured = {
            name: done.duration_ms / 1000
            for name, done in result.step_results.items()
            if done.status is StepStatus.COMPLETED
        }
        return self._rebuilt([step.with_expected_seconds(measured.get(step.name)) for step in self.steps])

    def with_max_concurrency(self, max_concurrency: int | Limiter | None) -> Workflow:
        """The same workflow with another limit of attempts that run at once.

        Raises:
            ConfigError: the limit is not valid.
        """
        twin = copy.copy(self)
        limit = _checked_concurrency(self.name, max_concurrency)
        twin._config = dataclasses.replace(self._config, concurrency=limit)
        return twin

    def check_scopes(self) -> dict[str, ScopeReport]:
        """What each step may read beyond what it has read, over all runs of this workflow object so far.

        Steps that have not run, and steps that are granted nothing more than they use, are left out. A report is a
        hint, not a proof: a step may read more another time.
        """
        reports = {}
        for node in self.graph.nodes:
            if not node.has_run:
                continue
            used = frozenset(self.graph.observed.get(node.name, ())) | ({node.foreach} if node.foreach else set())
            if node.reads is None or node.reads - used:
                unused = frozenset[str]() if node.reads is None else node.reads - used
                reports[node.name] = ScopeReport(used=used, unused=unused, unrestricted=node.reads is None)
        return reports

    def _rebuilt(self, steps: list[Step]) -> Workflow:
        config = self._config
        return Workflow(
            self.name,
            steps,
            max_concurrency=config.concurrency,
            failure_policy=self.graph.failure_policy,
            hooks=config.hooks,
            budget=config.budget,
            timeout=self.timeout,
            planner=config.planner,
            output=config.output,
            sensitive_keys=config.sensitive_keys,
            on_secret_output=config.on_secret_output,
            input_labels=self.graph.input_labels,
            state_limits=config.limits,
        )

    def _prepare(self, inputs: Mapping[str, object] | None, timeout: float | None, hook: Hook | None) -> Run:
        given = {} if inputs is None else inputs
        if not isinstance(given, Mapping):
            raise StateError(f"The inputs of workflow {self.name!r} are a {type(given).__name__}, not a mapping.")
        if problems := self.graph.missing_inputs(given):
            raise PlanError(f"A run of workflow {self.name!r}", problems)
        limit = self.timeout if timeout is None else _checked_timeout(self.name, timeout)
        config = self._config if hook is None else self._config.with_hook(hook)
        return Run(config, given, limit)

    def _checked_output(self, output: str | Step | None) -> str | None:
        name = output.name if isinstance(output, Step) else output
        if name is not None and name not in self.graph.index:
            raise ConfigError(f"Workflow {self.name!r}: output={name!r} is not one of its steps.")
        return name

    def _check_planner(self, planner: Planner | None) -> None:
        if planner is not None and not callable(planner):
            raise ConfigError(f"Workflow {self.name!r}: planner {planner!r} is not callable.")
        for node in self.graph.nodes if planner is None else ():
            if FailureAction.REPLAN in node.policy.actions:
                raise ConfigError(
                    f"Workflow {self.name!r}: the policy of step {node.name!r} says REPLAN, and there is no planner. "
                    "Give the workflow planner=callable(request)."
                )


def _prove_edge(producer: Node, consumer: Node) -> Proof:
    from kairos_async.contracts.proof import prove  # a tenth of the package's import, for those who check edges

    contract = consumer.input_contract
    if contract is None or producer.name not in (contract.fields or ()):
        return Unknown(f"step {consumer.name!r} has no input contract for {producer.name!r}")
    if producer.output_contract is None:
        return Unknown(f"step {producer.name!r} has no output contract")
    partial = producer.step.foreach_policy is ForeachPolicy.ALLOW_PARTIAL
    return prove(
        producer.output_contract,
        contract,
        key=producer.name,
        many=producer.foreach is not None,
        holes=partial or FailureAction.SKIP in producer.policy.actions,
    )


def _in_event_loop() -> bool:
    """Whether a loop runs in this thread: a task of it, or a callback, of which anyio knows nothing."""
    asyncio: Any = sys.modules.get("asyncio")
    for running in (anyio.lowlevel.current_token, getattr(asyncio, "get_running_loop", None)):
        with contextlib.suppress(RuntimeError):
            if running is not None and running() is not None:
                return True
    return False


def _listed(workflow: str, argument: str, given: Iterable[_T]) -> list[_T]:
    if not isinstance(given, Iterable):
        way_out = f"{argument}=[{given!r}]"
        raise ConfigError(f"Workflow {workflow!r}: {argument}={given!r} must be a list, such as {way_out}.")
    return list(given)


def _checked_steps(workflow: str, steps: Iterable[Step]) -> list[Step]:
    listed = _listed(workflow, "steps", steps)
    for entry in listed:
        if not isinstance(entry, Step):
            raise ConfigError(f"Workflow {workflow!r}: steps has {entry!r}, which is no Step.")
    return listed


def _checked_policy(workflow: str, policy: FailurePolicy | None) -> FailurePolicy | None:
    if policy is not None and not isinstance(policy, FailurePolicy):
        raise ConfigError(f"Workflow {workflow!r}: failure_policy={policy!r} must be a FailurePolicy.")
    return policy


def _checked_timeout(workflow: str, timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if type(timeout) not in (int, float) or not math.isfinite(timeout) or timeout <= 0:
        raise ConfigError(f"Workflow {workflow!r}: timeout={timeout!r} must be a finite number of seconds > 0.")
    return float(timeout)


def _checked_concurrency(workflow: str, limit: int | Limiter | None) -> int | Limiter | None:
    if limit is None or isinstance(limit, Limiter) or (type(limit) is int and limit >= 1):
        return limit
    raise ConfigError(
        f"Workflow {workflow!r}: max_concurrency={limit!r} must be a whole number >= 1, a Limiter, or None."
    )


def _checked_secret_output(workflow: str, given: str) -> SecretOutput:
    if given not in SecretOutput.__members__.values():
        choices = [choice.value for choice in SecretOutput]
        raise ConfigError(f"Workflow {workflow!r}: on_secret_output={given!r} is not one of {choices}.")
    return SecretOutput(given)


def _checked_patterns(workflow: str, patterns: Iterable[str]) -> tuple[str, ...]:
    if isinstance(patterns, str):
        raise ConfigError(f"sensitive_keys={patterns!r} must be a list, such as [{patterns!r}].")
    listed = tuple(_listed(workflow, "sensitive_keys", patterns))
    Redactor(listed)
    return listed


def _checked_labels(workflow: str, given: Mapping[str, Iterable[str]] | None) -> dict[str, frozenset[Label]]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(
            f"Workflow {workflow!r}: input_labels={given!r} must be a dict of lists by input, such as "
            "{'mail': ['untrusted']}."
        )
    return {
        key: as_labels(f"Workflow {workflow!r}, input {key!r}", labels, SOURCES)
        for key, labels in (given or {}).items()
    }


def _checked_limits(workflow: str, limits: StateLimits) -> StateLimits:
    if not isinstance(limits, StateLimits):
        raise ConfigError(f"Workflow {workflow!r}: state_limits={limits!r} must be StateLimits.")
    return limits
