"""A run as a trace: spans of the run, its steps, attempts and model calls, printed as a tree, and the metrics.

    python examples/otel.py        (needs opentelemetry-sdk)

The library uses the API alone. This script does what an application does: it chooses an SDK and where things go, here
into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kairos_async import EventLevel, FailurePolicy, LLMCall, Step, StepContext, Workflow
from kairos_async.context import outgoing_headers, report
from kairos_async.observe.otel import OpenTelemetry


async def topics(ctx: StepContext) -> list[str]:
    """Return what the next step goes over."""
    return ["bees", "tea"]


async def ask(ctx: StepContext) -> str:
    """Stand in for a model: the first topic's first attempt fails. An adapter reports its calls in the same way."""
    await anyio.sleep(0.01)
    failed = ctx.attempt == 1 and ctx.index == 0
    usage: dict[str, Any] = {"input_tokens": 12, "output_tokens": 30, "total_tokens": 42}
    facts: dict[str, Any] = {"provider": "claude", "model": "example", "attempt": ctx.attempt, "item": ctx.index}
    outcome = {"outcome": "RateLimitError" if failed else "ok", "latency_ms": 10.0, "usage": {} if failed else usage}
    report(ctx, LLMCall, EventLevel.WARN if failed else EventLevel.INFO, {**facts, **outcome})
    if failed:
        raise ConnectionError("slow down")
    return f"about {ctx.item}, asked with traceparent {outgoing_headers()['traceparent'][:2]}-..."


def show(spans: Sequence[ReadableSpan], parent: int | None, depth: int = 0) -> None:
    """Print the spans below a parent, as a tree."""
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        if span.context is not None and (span.parent.span_id if span.parent else None) == parent:
            attributes = span.attributes or {}
            error = f"  failed: {attributes['error.type']!s}" if "error.type" in attributes else ""
            links = f"  linked to {len(span.links)}" if span.links else ""
            print(f"{'  ' * depth}{span.name}{error}{links}")
            show(spans, span.context.span_id, depth + 1)


async def main() -> None:
    """Run inside a span of the application's own, and print what was recorded."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    hook = OpenTelemetry(tracer_provider=tracers, meter_provider=MeterProvider([reader]))
    policy = FailurePolicy(max_retries=1, retry_delay=0.01)
    workflow = Workflow(
        "report",
        [Step("topics", topics), Step("ask", ask, foreach="topics", failure_policy=policy)],
        hooks=[hook],
    )
    with trace.use_span(tracers.get_tracer("application").start_span("GET /report"), end_on_exit=True):
        result = await workflow.run()
    print(result.output)
    show(exporter.get_finished_spans(), None)
    data: Any = reader.get_metrics_data()
    for scope in data.resource_metrics[0].scope_metrics:
        for metric in scope.metrics:
            total = sum(getattr(point, "sum", getattr(point, "value", 0)) for point in metric.data.data_points)
            print(f"{metric.name}: {total:.3g} {metric.unit}")


if __name__ == "__main__":
    anyio.run(main)
