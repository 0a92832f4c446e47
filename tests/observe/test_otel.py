"""OpenTelemetry: spans and metrics as the SDK's own exporters see them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from opentelemetry import baggage, metrics, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kairos_async import SKIP, EventLevel, LLMCall, Step, StepContext, Workflow, context
from kairos_async.context import outgoing_headers
from kairos_async.observe.otel import OpenTelemetry
from tests.engine.tools import NO_RETRY, flaky, output_of, raises, retrying, returns, run


class Collected:
    """A hook whose spans and metrics stay in memory."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self.hook = OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Return the spans that have ended, those of one name if it is given."""
        return [span for span in self.exporter.get_finished_spans() if name is None or span.name == name]

    def span(self, name: str) -> Any:
        """Return the one span of this name."""
        (span,) = self.spans(name)
        return span

    def parent_of(self, span: Any) -> str | None:
        """Return the name of a span's parent."""
        if span.parent is None:
            return None
        return next(each.name for each in self.spans() if each.context.span_id == span.parent.span_id)

    def points(self) -> dict[str, list[Any]]:
        """Return the data points of each metric."""
        data: Any = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def collected() -> Iterator[Collected]:
    """Make a hook for one test."""
    made = Collected()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


async def test_the_spans_of_a_run(collected: Collected) -> None:
    """Run, step, attempt; parents, attributes, status."""
    failing = Step("c", raises(LookupError("nothing there")), failure_policy=NO_RETRY, depends_on=["b"])
    result = await run(
        Step("a", returns(1)), Step("b", returns(SKIP), depends_on=["a"]), failing, hooks=[collected.hook]
    )
    names = [span.name for span in collected.spans()]
    assert names == ["attempt a", "step a", "attempt b", "step b", "attempt c", "step c", "invoke_workflow w"]
    root = collected.span("invoke_workflow w")
    assert root.attributes == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "w",
        "kairos.run.id": result.run_id,
        "kairos.run.status": "failed",
        "kairos.llm_calls": 0,
        "error.type": "LookupError",
    }
    parents = {span.name: collected.parent_of(span) for span in collected.spans()}
    assert parents == {
        **{f"attempt {step}": f"step {step}" for step in "abc"},
        **{f"step {step}": "invoke_workflow w" for step in "abc"},
        "invoke_workflow w": None,
    }
    assert {span.context.trace_id for span in collected.spans() if span.context} == {root.context.trace_id}
    assert collected.span("step b").attributes["kairos.step.status"] == "skip"
    for name in ("attempt c", "step c", "invoke_workflow w"):
        span = collected.span(name)
        assert span.status.status_code is trace.StatusCode.ERROR
        assert (span.attributes["error.type"], span.status.description) == ("LookupError", "nothing there")
    assert collected.span("step a").status.is_unset


async def test_retries_are_spans_that_know_what_they_repeat(collected: Collected) -> None:
    """A link to the failed attempt, which has its error."""
    await run(Step("a", flaky(2), failure_policy=retrying(2, 1)), hooks=[collected.hook])
    first, second, third = collected.spans("attempt a")
    assert [span.attributes["kairos.attempt"] for span in (first, second, third) if span.attributes] == [1, 2, 3]
    assert [link.context.span_id for link in third.links] == [second.context.span_id]
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert first.status.status_code is second.status.status_code is trace.StatusCode.ERROR
    assert third.status.is_unset


async def test_items_are_linked_to_what_made_their_list(collected: Collected) -> None:
    """The step before, or the run if the list was an input."""
    await run(
        Step("list", returns([1, 2])),
        Step("each", returns(1), foreach="list"),
        Step("given", returns(1), foreach="items", depends_on=["each"]),
        inputs={"items": [1]},
        hooks=[collected.hook],
    )
    made, root = collected.span("step list"), collected.span("invoke_workflow w")
    items = collected.spans("attempt each")
    assert {span.attributes["kairos.item"] for span in items if span.attributes} == {0, 1}
    for span in items:
        assert collected.parent_of(span) == "step each"
        assert [link.context.span_id for link in span.links] == [made.context.span_id]
    (given,) = collected.spans("attempt given")
    assert [link.context.span_id for link in given.links] == [root.context.span_id]
    assert collected.span("step each").attributes["kairos.foreach.items"] == 2


async def ask(ctx: StepContext) -> str:
    """Report a call of a model, as an adapter does, and one that failed."""
    usage: dict[str, Any] = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    data: dict[str, Any] = {"provider": "claude", "model": "m-1", "attempt": ctx.attempt, "latency_ms": 250.0}
    context.report(ctx, LLMCall, EventLevel.INFO, {**data, "outcome": "ok", "usage": usage})
    none: dict[str, Any] = {"input_tokens": None, "output_tokens": None}
    context.report(ctx, LLMCall, EventLevel.WARN, {**data, "outcome": "RateLimitError", "usage": none})
    return "answer"


async def test_calls_of_models_follow_the_conventions(collected: Collected) -> None:
    """Client spans inside the attempt, as long as the call took; tokens and duration as metrics."""
    await run(Step("a", ask), hooks=[collected.hook])
    good, bad = collected.spans("chat m-1")
    assert good.kind is trace.SpanKind.CLIENT
    assert good.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "m-1",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
    }
    assert collected.parent_of(good) == collected.parent_of(bad) == "attempt a"
    assert good.end_time is not None
    assert good.start_time is not None
    assert good.end_time - good.start_time == 250_000_000
    assert (bad.attributes or {})["error.type"] == "RateLimitError"
    assert bad.status.status_code is trace.StatusCode.ERROR
    points = collected.points()
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in points["gen_ai.client.token.usage"]}
    assert tokens == {"input": 10, "output": 5}
    assert sum(point.count for point in points["gen_ai.client.operation.duration"]) == 2
    assert sum(point.sum for point in points["gen_ai.client.operation.duration"]) == 0.5


async def test_the_metrics_of_a_run(collected: Collected) -> None:
    """Durations in seconds, retries, failures, and a gauge that is back at zero."""
    seen: list[int] = []

    async def look(ctx: StepContext) -> None:
        seen.append(sum(point.value for point in collected.points()["kairos.step.active"]))

    await run(
        Step("a", flaky(1, takes=2), failure_policy=retrying(1, 0)),
        Step("b", look, depends_on=["a"]),
        Step("c", raises(ValueError), depends_on=["b"], failure_policy=NO_RETRY),
        hooks=[collected.hook],
    )
    points = collected.points()
    durations = {point.attributes["kairos.step.name"]: point.sum for point in points["kairos.step.duration"]}
    assert durations == {"a": 4, "b": 0, "c": 0}
    (failure,), (retry,) = points["kairos.step.failures"], points["kairos.step.retries"]
    assert (failure.value, failure.attributes["error.type"]) == (1, "ValueError")
    assert (retry.value, retry.attributes["kairos.step.name"]) == (1, "a")
    assert [(point.sum, point.attributes["kairos.run.status"]) for point in points["kairos.run.duration"]] == [
        (4, "failed")
    ]
    assert seen == [1]
    assert [point.value for point in points["kairos.step.active"]] == [0]


@pytest.mark.real_time
async def test_the_trace_goes_in_and_out(collected: Collected) -> None:
    """The caller's span is the parent; inside a step, async or in a thread, the attempt's is current and propagated."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    caller = baggage.set_baggage("tenant", "private-name", propagate.extract({"traceparent": traceparent}))

    def look(ctx: StepContext) -> list[Any]:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        inner = collected.tracers.get_tracer("user").start_span(f"user in {ctx.step_id}")
        inner.end()
        return [carrier["traceparent"], dict(outgoing_headers()), baggage.get_baggage("tenant")]

    async def look_async(ctx: StepContext) -> list[Any]:
        return look(ctx)

    def returns_awaitable(ctx: StepContext) -> Any:
        return look_async(ctx)

    workflow = Workflow(
        "w",
        [Step("a", look), Step("b", look_async), Step("c", returns_awaitable)],
        hooks=[collected.hook],
    )
    token = otel_context.attach(caller)
    try:
        result = await workflow.run()
    finally:
        otel_context.detach(token)
    root = collected.span("invoke_workflow w")
    assert f"{root.context.trace_id:032x}" == traceparent[3:35]
    assert f"{root.parent.span_id:016x}" == traceparent[36:52]
    for step in "abc":
        attempt = collected.span(f"attempt {step}")
        out, headers, tenant = output_of(result, step)
        assert out == f"00-{root.context.trace_id:032x}-{attempt.context.span_id:016x}-01"
        assert headers == {"traceparent": out}  # baggage is the application's own
        assert tenant == "private-name"
        assert collected.parent_of(collected.span(f"user in {step}")) == f"attempt {step}"
    assert outgoing_headers() == {}
    assert not trace.get_current_span().get_span_context().is_valid


async def test_no_secret_is_in_any_attribute() -> None:
    """Redacted as events are; outputs only on demand."""
    secret = "correct-horse-battery"
    for capture in (False, True):
        collected = Collected(capture_content=capture)

        async def act(ctx: StepContext) -> dict[str, str]:
            return {"token": secret, "echo": f"it is {secret}", "plain": "words"}

        await run(
            Step("a", act),
            Step("b", raises(ValueError(f"refused {secret}")), depends_on=["a"], failure_policy=retrying(1, 0)),
            inputs={"password": secret},
            on_secret_output="allow",
            hooks=[collected.hook],
        )
        told = "".join(span.to_json() for span in collected.spans()) + repr(collected.points())
        assert secret not in told
        assert "refused [REDACTED]" in told
        assert ("words" in told) is capture


async def test_a_cancelled_run_leaves_no_span_open(collected: Collected) -> None:
    """Each is ended, with what happened to it."""
    with anyio.move_on_after(5):
        await run(Step("a", returns(1, after=60)), hooks=[collected.hook])
    assert [span.name for span in collected.spans()] == ["attempt a", "step a", "invoke_workflow w"]
    assert collected.span("step a").attributes["kairos.step.reason"] == "the run was cancelled"
    assert collected.span("invoke_workflow w").attributes["kairos.run.status"] == "cancelled"
    assert [point.value for point in collected.points()["kairos.step.active"]] == [0]


async def test_a_thousand_runs_at_once_detach_nothing_where_it_was_not_attached(
    collected: Collected, caplog: pytest.LogCaptureFixture
) -> None:
    """The API would log an error for each; every attempt is in its own run's trace."""
    seen: list[tuple[str, int]] = []

    async def act(ctx: StepContext) -> None:
        await anyio.sleep(1)
        seen.append((ctx.run_id, trace.get_current_span().get_span_context().trace_id))

    workflow = Workflow("w", [Step("a", act)], hooks=[collected.hook])

    async def stream() -> None:
        async for _ in workflow.stream():
            await anyio.lowlevel.checkpoint()

    with caplog.at_level(logging.WARNING):
        async with anyio.create_task_group() as tasks:
            for number in range(1_000):
                tasks.start_soon(stream if number % 2 else workflow.run)
    assert caplog.records == []
    roots = {span.attributes["kairos.run.id"]: span.context.trace_id for span in collected.spans("invoke_workflow w")}  # type: ignore[index]
    assert len(roots) == len(set(roots.values())) == 1_000
    assert len(seen) == 1_000
    assert all(roots[run_id] == trace_id for run_id, trace_id in seen)
    assert len(collected.spans()) == 3_000


async def test_without_an_sdk_nothing_happens() -> None:
    """The API alone records nothing and costs no configuration."""
    assert not isinstance(metrics.get_meter_provider(), MeterProvider)
    result = await run(Step("a", ask), hooks=[OpenTelemetry()])
    assert (result.status, result.warnings) == ("complete", ())


def test_loops_in_threads_share_a_hook(collected: Collected) -> None:
    """Each run has its own spans."""
    workflow = Workflow("w", [Step("a", returns(1))], hooks=[collected.hook])
    threads = [threading.Thread(target=workflow.run_sync) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(collected.spans("invoke_workflow w")) == len(collected.spans("attempt a")) == 4
