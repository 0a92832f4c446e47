"""A run for a request: awaited, cancelled when the client goes away, answered as JSON or as problem details."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from kairos_async._types import JSONValue
from kairos_async.adapters import prices
from kairos_async.adapters._connections import connections
from kairos_async.adapters.governor import Governor
from kairos_async.exceptions import ConfigError, KairosError, PlanError, StateError
from kairos_async.outcomes import WorkflowResult, WorkflowStatus
from kairos_async.security import REDACTED, redact_sensitive
from kairos_async.workflow import Workflow

GONE: Final = 499
"""The status in logs for a client that went away; nobody receives it."""

INVALID: Final = (422, "invalid-inputs", "The inputs are not valid.")
_FAILED: Final = (500, "failed", "The workflow failed.")
_FAILURES: Final = {
    "BudgetExceeded": (503, "budget-exceeded", "The request needs more than a run may use."),
    "StepTimeoutError": (504, "timeout", "The workflow was not done in its time."),
    "ModelRateLimitError": (503, "busy", "A model has no capacity at the moment."),
    "ModelUnavailableError": (502, "model-unavailable", "A model cannot be reached."),
    "ModelTimeoutError": (504, "model-timeout", "A model did not answer in time."),
    "ModelRefusalError": (422, "refused", "A model refuses to answer."),
    "ValidationError": (502, "invalid-answer", "No answer kept its contract."),
}
"""What a client is told, by the class of the error that ended a run: in words of ours, never in the error's."""


def lifespan(governor: Governor | None = None) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """The lifespan of an application: one pool of connections to models, and one governor, for all its runs.

    For more than that, write your own and enter this one in it: `async with lifespan(governor)(app):`.

    Raises:
        ConfigError: `governor` is none.
    """
    if governor is not None and not isinstance(governor, Governor):
        raise ConfigError(f"lifespan({governor!r}) takes a Governor, or nothing.")

    @asynccontextmanager
    async def open_until_shutdown(app: Any) -> AsyncIterator[None]:
        await anyio.to_thread.run_sync(_get_ready)
        async with connections(), governor or nullcontext():
            yield

    return open_until_shutdown


def _get_ready() -> None:
    """Do what the first run would have to do, so that no request waits for it: load prices, compile patterns.

    What there is then stays as long as the process. The garbage collector need not go through it again and again, which
    takes an eighth of a second each time and stops the event loop.
    """
    prices.prepare()
    redact_sensitive({"a key": "a text that is long enough, with a word=value in it"})
    gc.collect()
    gc.freeze()


async def run_for(
    request: Request, workflow: Workflow, inputs: Mapping[str, object], *, timeout: float | None = None
) -> WorkflowResult:
    """Run the workflow for a request, and cancel the run when its client goes away.

    Args:
        request: whose body has been read.
        workflow, inputs, timeout: as for `Workflow.run`.

    Raises:
        ClientDisconnect: the client went away; every task of the run has ended.
        StateError, PlanError: as `Workflow.run`.
    """
    result: WorkflowResult | None = None
    refused: KairosError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_when_gone, request.receive, tasks.cancel_scope)
        try:
            result = await workflow.run(inputs, timeout=timeout)
        except KairosError as error:  # of the inputs; raised below, since a task group would wrap it
            refused = error
        tasks.cancel_scope.cancel()
    if refused is not None:
        raise refused
    if result is None:
        raise ClientDisconnect
    return result


async def cancel_when_gone(receive: Callable[[], Any], scope: anyio.CancelScope) -> None:
    """Cancel the scope when the server says that the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def respond(
    request: Request, workflow: Workflow, inputs: Mapping[str, object], *, timeout: float | None = None
) -> Response:
    """As `run_for`; the response has the run's id and its output, or the problem in the form of RFC 9457.

    Of a `pydantic.SecretStr` in the output, the client gets `[REDACTED]`.
    A client that went away gets nothing, and the log of the server has the status 499.
    """
    try:
        result = await run_for(request, workflow, inputs, timeout=timeout)
    except ClientDisconnect:
        return Response(status_code=GONE)
    except (StateError, PlanError):
        return problem(*INVALID)
    if result.status is WorkflowStatus.COMPLETE:
        return _Answer({"run_id": result.run_id, "output": result.output})
    return problem(*told(result.error_type), run_id=result.run_id)


class _Answer(JSONResponse):
    """JSON of what state holds."""

    def render(self, content: Any) -> bytes:
        """Write it; wrapped secrets are all of it that JSON has no form for."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=lambda _: REDACTED).encode()


def told(error_type: object) -> tuple[int, str, str]:
    """What a client is told of an error: status, type and title."""
    return _FAILURES.get(str(error_type), _FAILED)


def problem(status: int, kind: str, title: str, *, run_id: str | None = None) -> Response:
    """Problem details (RFC 9457). Of a run they have nothing but its id, under which logs and stored runs have more."""
    body: dict[str, JSONValue] = {"type": f"urn:kairos:problem:{kind}", "title": title, "status": status}
    if run_id is not None:
        body["run_id"] = run_id
    return JSONResponse(body, status, media_type="application/problem+json")
