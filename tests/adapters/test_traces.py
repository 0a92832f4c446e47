"""A request says to which trace it belongs, if a hook of the run knows."""

from __future__ import annotations

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider

from kairos_async import Step, Workflow
from kairos_async.adapters.prompt import ask
from kairos_async.observe.otel import OpenTelemetry
from tests.adapters.providers import Provider


@pytest.mark.usefixtures("keys")
async def test_a_call_in_a_traced_step_carries_the_trace(provider: Provider) -> None:
    """With the span of its attempt; without a tracer there is no such header."""
    seen: list[httpx.Headers] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, json=provider.answer("fine"))

    adapter = provider.answering(handler)
    steps = [Step("a", ask("Hello", adapter))]
    await Workflow("w", steps, hooks=[OpenTelemetry(tracer_provider=TracerProvider())]).run()
    await Workflow("w", steps).run()
    assert seen[0]["traceparent"].startswith("00-")
    assert "traceparent" not in seen[1]
