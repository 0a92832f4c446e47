"""OpenTelemetry: spans and metrics of runs, through the API alone (extra `otel`).

    workflow = Workflow("report", steps, hooks=[OpenTelemetry()])

Where they go is the SDK's matter, and its configuration the application's. Without an SDK nothing is recorded.

Spans are children of each other without ever being made current where that would have to be undone: a run's context is
not attached at all, and an attempt's is attached in the attempt's own context variables, which end with it. So nothing
is detached in another context than the one it was attached in, whatever runs at the same time.

Names follow the semantic conventions for generative AI where these have one:
https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from kairos_async.context import OUTGOING, StepContext
from kairos_async.events import (
    Event,
    EventLevel,
    ItemComplete,
    ItemFail,
    LLMCall,
    PlanReplaced,
    StepCancel,
    StepComplete,
    StepFail,
    StepRetry,
    StepSkip,
    StepStart,
    ValidationFail,
    WorkflowComplete,
)

_Key = tuple[str, int | None]
"""A step, and the position of an item in a foreach."""

_PROVIDERS: Final = {"claude": "anthropic", "gemini": "gcp.gemini"}
"""Providers whose name in the conventions is another."""

_LONGEST: Final = 4_096
"""Characters of an output that become an attribute, if content is captured at all."""

_TRACEPARENT: Final = TraceContextTextMapPropagator()
"""What goes out is the trace, never the baggage: a provider of models is told nothing else of the application's."""


class OpenTelemetry:
    """A hook that makes spans and metrics of runs.

    Spans: `invoke_workflow NAME` for a run, a child of whatever is current where the run is started; `step NAME` for a
    step; `attempt NAME` for each call of its action, which is current inside of it; and `chat MODEL` for each call of a
    model by an adapter. The attempts of foreach items are linked to the step that made the list, or to the run if that
    was an input; an attempt that repeats another is linked to that one.

    Metrics: `kairos.run.duration` and `kairos.step.duration` (histograms, s), `kairos.step.retries`,
    `kairos.step.failures` (counters), `kairos.step.active` (how many are in flight), and the conventions'
    `gen_ai.client.operation.duration` (s) and `gen_ai.client.token.usage`.

    Everything is made of events, which are redacted. Outputs are recorded only on demand.

    Args:
        tracer_provider: None: the global one.
        meter_provider: None: the global one.
        capture_content: record each step's output, redacted and cut, as the attribute `kairos.step.output`.
    """

    kinds: Final = frozenset(
        {
            *(StepStart, StepComplete, StepFail, StepRetry, StepSkip, StepCancel, ItemComplete, ItemFail),
            *(ValidationFail, LLMCall, PlanReplaced, WorkflowComplete),
        }
    )

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        capture_content: bool = False,
    ) -> None:
        self.outputs = capture_content
        self._tracer = trace.get_tracer("kairos_async", tracer_provider=tracer_provider)
        self._meters = _Meters(metrics.get_meter("kairos_async", meter_provider=meter_provider))
        self._runs: dict[str, _Traced] = {}

    def __call__(self, event: Event) -> None:
        """Take an event."""
        run = self._runs.get(event.run_id)
        if run is not None and (take := _TAKEN.get(type(event))) is not None:
            take(run, event)

    @contextlib.asynccontextmanager
    async def lifespan(self, run_id: str, workflow: str) -> AsyncIterator[None]:
        """Hold the span of a run. It is current nowhere: an attached context must not outlive a `yield`."""
        run = self._runs[run_id] = _Traced(self._tracer, self._meters, workflow, run_id, self.outputs)
        try:
            yield
        finally:
            del self._runs[run_id]
            run.end()

    def enter_attempt(self, ctx: StepContext) -> None:
        """Begin the span of an attempt, and make it current in the attempt's context variables."""
        run = self._runs.get(ctx.run_id)
        if run is None:
            return
        current = trace.set_span_in_context(run.begin_attempt(ctx))
        # Never detached: the context variables in which it is set end with the attempt.
        otel_context.attach(current)
        headers: dict[str, str] = {}
        _TRACEPARENT.inject(headers, current)
        OUTGOING.set(headers)


class _Meters:
    """The instruments."""

    def __init__(self, meter: metrics.Meter) -> None:
        self.run_duration = meter.create_histogram("kairos.run.duration", "s", "How long runs take")
        self.step_duration = meter.create_histogram("kairos.step.duration", "s", "How long steps take, with retries")
        self.retries = meter.create_counter("kairos.step.retries", "{retry}", "Attempts that another one followed")
        self.failures = meter.create_counter("kairos.step.failures", "{step}", "Steps that failed for good")
        self.active = meter.create_up_down_counter("kairos.step.active", "{step}", "Steps in flight")
        self.call_duration = meter.create_histogram("gen_ai.client.operation.duration", "s", "Model calls")
        self.tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}", "Tokens of model calls")


class _Traced:
    """The open spans of one run."""

    def __init__(
        self, tracer: trace.Tracer, meters: _Meters, workflow: str, run_id: str, capture_content: bool
    ) -> None:
        self.tracer = tracer
        self.meters = meters
        self.labels: dict[str, AttributeValue] = {"gen_ai.workflow.name": workflow}
        self.capture_content = capture_content
        self.span = tracer.start_span(
            f"invoke_workflow {workflow}",
            attributes={
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": workflow,
                "kairos.run.id": run_id,
            },
        )
        self.steps: dict[str, trace.Span] = {}
        self.attempts: dict[_Key, trace.Span] = {}
        self._numbers: dict[_Key, int] = {}
        self._failed: dict[_Key, trace.SpanContext] = {}
        self._lists: dict[str, trace.SpanContext] = {}  # of foreach steps: what made their list
        self._ended: dict[str, trace.SpanContext] = {}

    def begin_step(self, event: Event) -> None:
        """A step begins."""
        name = _step(event)
        span = self.steps[name] = self._start(f"step {name}", self.span, {"kairos.step.name": name}, event.timestamp)
        self.meters.active.add(1, self.labels)
        if "items" in event.data:
            span.set_attribute("kairos.foreach.items", _number(event.data, "items"))
            self._lists[name] = self._ended.get(str(event.data.get("foreach")), self.span.get_span_context())

    def begin_attempt(self, ctx: StepContext) -> trace.Span:
        """An attempt begins. Called once more for what a sync action returns to be awaited: the span is the same."""
        key = ctx.step_id, ctx.index
        if key in self.attempts and self._numbers.get(key) == ctx.attempt:
            return self.attempts[key]
        links = []
        if ctx.index is not None and ctx.step_id in self._lists:
            links.append(trace.Link(self._lists[ctx.step_id], {"kairos.link": "list"}))
        if key in self._failed:
            links.append(trace.Link(self._failed.pop(key), {"kairos.link": "retry of"}))
        attributes: dict[str, AttributeValue] = {"kairos.step.name": ctx.step_id, "kairos.attempt": ctx.attempt}
        if ctx.index is not None:
            attributes["kairos.item"] = ctx.index
        parent = trace.set_span_in_context(self.steps.get(ctx.step_id, self.span))
        span = self.tracer.start_span(f"attempt {ctx.step_id}", parent, attributes=attributes, links=links)
        self.attempts[key] = span
        self._numbers[key] = ctx.attempt
        return span

    def retry(self, event: Event) -> None:
        """An attempt failed, and another follows."""
        key = _step(event), _position(event, "item")
        span = self.attempts.get(key)
        if span is not None:
            self._failed[key] = span.get_span_context()
        self._end_attempt(key, event)
        self.meters.retries.add(1, {**self.labels, "kairos.step.name": key[0], "error.type": _error_type(event)})

    def end_item(self, event: Event) -> None:
        """An item of a foreach has ended."""
        self._end_attempt((_step(event), _position(event, "index")), event)

    def end_step(self, event: Event) -> None:
        """A step has ended, in whatever way."""
        name = _step(event)
        self._end_attempt((name, None), event)
        span = self.steps.pop(name, None)
        if span is None:  # it never ran
            return
        span.set_attribute("kairos.step.status", event.event_type.removeprefix("step_"))
        if isinstance(event, StepSkip | StepCancel):
            span.set_attribute("kairos.step.reason", str(event.data.get("reason")))
        if self.capture_content and "output" in event.data:
            span.set_attribute("kairos.step.output", json.dumps(event.data["output"], ensure_ascii=False)[:_LONGEST])
        self._ended[name] = span.get_span_context()
        self._lists.pop(name, None)
        labels = {**self.labels, "kairos.step.name": name}
        if isinstance(event, StepFail):
            self.meters.failures.add(1, {**labels, "error.type": _error_type(event)})
        if "duration_ms" in event.data:
            self.meters.step_duration.record(_number(event.data, "duration_ms") / 1000, labels)
        self.meters.active.add(-1, self.labels)
        _close(span, event)

    def note(self, event: Event) -> None:
        """Something that belongs to the span of a step, or to the run's."""
        span = self.steps.get(_step(event), self.span)
        facts = {f"kairos.{key}": value for key, value in event.data.items() if isinstance(value, str | int | float)}
        span.add_event(event.event_type, facts, _nanoseconds(event.timestamp))

    def call(self, event: Event) -> None:
        """A model was called. The span is made when the call is over, with the time at which it began."""
        data = event.data
        provider, model = str(data.get("provider")), str(data.get("model"))
        usage = data.get("usage")
        seconds = _number(data, "latency_ms") / 1000
        facts: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDERS.get(provider, provider),
            "gen_ai.request.model": model,
        }
        if event.level is not EventLevel.INFO:
            facts["error.type"] = str(data.get("outcome"))
        tokens: dict[str, int] = {}
        if isinstance(usage, dict):
            tokens = {way: n for way in ("input", "output") if type(n := usage.get(f"{way}_tokens")) is int}
        key = _step(event), _position(event, "item")
        parent = self.attempts.get(key) or self.steps.get(key[0]) or self.span
        end = _nanoseconds(event.timestamp)
        span = self.tracer.start_span(
            f"chat {model}",
            trace.set_span_in_context(parent),
            trace.SpanKind.CLIENT,
            {**facts, **{f"gen_ai.usage.{way}_tokens": count for way, count in tokens.items()}},
            start_time=end - int(seconds * 1e9),
        )
        _close(span, event, "error.type" in facts)
        self.meters.call_duration.record(seconds, facts)
        for way, count in tokens.items():
            self.meters.tokens.record(count, {**facts, "gen_ai.token.type": way})

    def finish(self, event: Event) -> None:
        """The run has ended."""
        status = str(event.data.get("status"))
        self.span.set_attribute("kairos.run.status", status)
        self.span.set_attribute("kairos.llm_calls", _number(event.data, "llm_calls"))
        labels = {**self.labels, "kairos.run.status": status}
        self.meters.run_duration.record(_number(event.data, "duration_ms") / 1000, labels)
        if event.data.get("error_type"):
            _fail(self.span, event)

    def end(self) -> None:
        """End every span that is still open: attempts of threads that were abandoned, and the run's own."""
        for span in (*self.attempts.values(), *self.steps.values(), self.span):
            span.end()
        if self.steps:
            self.meters.active.add(-len(self.steps), self.labels)

    def _end_attempt(self, key: _Key, event: Event) -> None:
        span = self.attempts.pop(key, None)
        self._numbers.pop(key, None)
        if span is not None:
            _close(span, event)

    def _start(
        self, name: str, parent: trace.Span, attributes: Mapping[str, AttributeValue], moment: datetime
    ) -> trace.Span:
        within = trace.set_span_in_context(parent)
        return self.tracer.start_span(name, within, attributes=attributes, start_time=_nanoseconds(moment))


_TAKEN: Final[dict[type[Any], Callable[[_Traced, Event], None]]] = {
    StepStart: _Traced.begin_step,
    StepRetry: _Traced.retry,
    ItemComplete: _Traced.end_item,
    ItemFail: _Traced.end_item,
    StepComplete: _Traced.end_step,
    StepFail: _Traced.end_step,
    StepSkip: _Traced.end_step,
    StepCancel: _Traced.end_step,
    ValidationFail: _Traced.note,
    PlanReplaced: _Traced.note,
    LLMCall: _Traced.call,
    WorkflowComplete: _Traced.finish,
}


def _close(span: trace.Span, event: Event, failed: bool = False) -> None:
    """End a span with what an event says: failed if the event tells an error."""
    if failed:
        span.set_status(trace.StatusCode.ERROR)
    elif event.data.get("error_type"):
        _fail(span, event)
    span.end(_nanoseconds(event.timestamp))


def _fail(span: trace.Span, event: Event) -> None:
    span.set_attribute("error.type", _error_type(event))
    span.set_status(trace.StatusCode.ERROR, str(event.data.get("error_message") or ""))


def _error_type(event: Event) -> str:
    return str(event.data.get("error_type"))


def _step(event: Event) -> str:
    return event.step_id or ""


def _position(event: Event, key: str) -> int | None:
    value = event.data.get(key)
    return value if type(value) is int else None


def _number(data: Mapping[str, Any], key: str) -> Any:
    value = data.get(key)
    return value if type(value) in (int, float) else 0


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6) * 1000
