"""A run as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing
from typing import Any, Final

import anyio
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from kairos_async._types import JSONValue
from kairos_async.events import Event, LLMDelta, StepComplete, WorkflowComplete
from kairos_async.exceptions import ConfigError, PlanError, StateError
from kairos_async.web._respond import INVALID, cancel_when_gone, problem, told
from kairos_async.workflow import Workflow

_SAFE: Final = frozenset(
    {"attempt", "attempts", "index", "item", "items", "done", "total", "duration_ms", "delay_s", "status", "steps"}
)
"""What events tell of a run's course, and nothing of what is in it."""


class EventStream(Response):
    """A response that runs the workflow and sends each event as it happens; `return EventStream(workflow, inputs)`.

    An event is `event: <event_type>` with JSON data: run_id, sequence, step (None for the run as a whole), and what the
    event tells of the run's course. Outputs, and the pieces of streamed answers, are sent for the steps that `show`
    names, redacted like all events. Errors are told as problem types, never in their own words. When the client goes
    away, the run is cancelled. Inputs that are not valid are answered with problem details.

    Args:
        workflow, inputs, timeout: as for `Workflow.run`.
        show: steps whose outputs the client may see; None: the one whose output is the run's.

    Raises:
        ConfigError: `show` is a single text.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        workflow: Workflow,
        inputs: Mapping[str, object],
        *,
        timeout: float | None = None,
        show: Collection[str] | None = None,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        if isinstance(show, str):
            raise ConfigError(f"EventStream: show={show!r} must be a list, such as show=[{show!r}].")
        self.status_code = 200
        self.background = background
        self._workflow = workflow
        self._inputs = inputs
        self._timeout = timeout
        self._show = frozenset((workflow.output_step,) if show is None else show)
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_when_gone, receive, tasks.cancel_scope)

            async def send_while_there(message: Message) -> None:
                try:
                    await send(message)
                except OSError:  # so servers may say that the client has gone away
                    tasks.cancel_scope.cancel()

            try:
                await self._answer(scope, receive, send_while_there)
            except Exception as error:  # raised below, since a task group would wrap it
                failed = error
            tasks.cancel_scope.cancel()
        if failed is not None:
            raise failed
        if self.background is not None:
            await self.background()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._workflow.stream(self._inputs, timeout=self._timeout)) as events:
            try:
                first = await anext(events)
            except (StateError, PlanError):
                await problem(*INVALID)(scope, receive, send)
            else:
                await self._send(send, first, events)

    async def _send(self, send: Send, first: Event, rest: AsyncIterator[Event]) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._line(first), "more_body": True})
        async for event in rest:
            await send({"type": "http.response.body", "body": self._line(event), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _line(self, event: Event) -> bytes:
        data: dict[str, Any] = {"run_id": event.run_id, "sequence": event.sequence, "step": event.step_id}
        data.update(self._facts(event))
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return f"event: {event.event_type}\nid: {event.sequence}\ndata: {text}\n\n".encode()

    def _facts(self, event: Event) -> dict[str, JSONValue]:
        facts = {name: value for name, value in event.data.items() if name in _SAFE}
        if event.step_id in self._show and isinstance(event, StepComplete):
            facts["output"] = event.data["output"]
        if event.step_id in self._show and isinstance(event, LLMDelta):
            facts["text"] = event.data["text"]
        if isinstance(event, WorkflowComplete) and event.data.get("error_type") is not None:
            status, kind, title = told(event.data["error_type"])
            facts["problem"] = {"type": f"urn:kairos:problem:{kind}", "title": title, "status": status}
        return facts
