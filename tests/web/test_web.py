"""Workflows behind HTTP: awaited, streamed, cancelled with their client, and silent about what is inside."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import fastapi
import pydantic
import pytest
from starlette.types import Message

from kairos_async import (
    Budget,
    ConfigError,
    FailureAction,
    FailurePolicy,
    ModelUnavailableError,
    Step,
    StepContext,
    Workflow,
)
from kairos_async.adapters.governor import Governor, RateLimit, current_governor
from kairos_async.adapters.prompt import ask
from kairos_async.web import EventStream, lifespan, respond
from tests.budgets.models import FakeModel, FakeStream
from tests.engine.tools import NO_RETRY, others, raises, returns

SECRET = "a word that no client may see"


class Body(pydantic.BaseModel):
    """What clients send."""

    name: str = "Kairos"


def app_for(workflow: Workflow, **options: Any) -> fastapi.FastAPI:
    """Return an application with one endpoint that awaits, and one that streams."""
    app = fastapi.FastAPI(**options)

    @app.post("/run")
    async def run(body: Body, request: fastapi.Request) -> fastapi.Response:
        return await respond(request, workflow, body.model_dump())

    @app.post("/events")
    async def events(body: Body) -> fastapi.Response:
        return EventStream(workflow, body.model_dump())

    return app


class Client:
    """Sends one request to an application, as a server would, and goes away when told to."""

    def __init__(self, app: fastapi.FastAPI, path: str, body: object) -> None:
        self.app = app
        self.gone = anyio.Event()
        self.sent: list[Message] = []
        self.sent_at: list[float] = []
        self._body: bytes | None = json.dumps(body).encode()
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(b"content-type", b"application/json")],
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 9),
        }

    async def receive(self) -> Message:
        """What the server hears of the client."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """What the application sends."""
        self.sent.append(message)
        self.sent_at.append(anyio.current_time())

    async def run(self) -> None:
        """Let the application work until it is done."""
        await self.app(self.scope, self.receive, self.send)

    @property
    def status(self) -> int:
        """Of the answer."""
        return int(self.sent[0]["status"])

    @property
    def text(self) -> str:
        """Of the answer."""
        return b"".join(message.get("body", b"") for message in self.sent[1:]).decode()

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The server-sent events of the answer."""
        found = re.findall(r"event: (\w+)\nid: \d+\ndata: (.*)\n\n", self.text)
        return [(kind, json.loads(data)) for kind, data in found]


async def ask_app(app: fastapi.FastAPI, path: str, body: object) -> Client:
    """Send a request and wait for the answer."""
    client = Client(app, path, body)
    with anyio.fail_after(1000):
        await client.run()
    return client


async def greet(ctx: StepContext) -> str:
    """Take a second for a greeting."""
    await anyio.sleep(1)
    return f"Hello, {ctx.inputs['name']}!"


async def shout(ctx: StepContext) -> str:
    """Take another one for a louder one."""
    await anyio.sleep(1)
    return str(ctx.inputs["greet"]).upper()


HELLO = Workflow("hello", [Step("greet", greet), Step("shout", shout, depends_on=["greet"])])


async def test_an_endpoint_that_awaits() -> None:
    """The output, and the id under which logs have the run."""
    client = await ask_app(app_for(HELLO), "/run", {"name": "Ada"})
    answer = json.loads(client.text)
    assert (client.status, answer["output"]) == (200, "HELLO, ADA!")
    assert re.fullmatch("[0-9a-f]{32}", answer["run_id"])


async def test_an_endpoint_that_streams() -> None:
    """Each event when it happens; of outputs, only the run's own."""
    client = await ask_app(app_for(HELLO), "/events", {"name": "Ada"})
    assert dict(client.sent[0]["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"
    kinds = [kind for kind, _ in client.events]
    assert kinds == [
        *("workflow_start", "step_start", "step_complete", "step_start", "step_complete", "workflow_complete")
    ]
    outputs = [data.get("output") for _, data in client.events]
    assert outputs == [None, None, None, None, "HELLO, ADA!", None]
    assert [data["sequence"] for _, data in client.events] == [1, 2, 3, 4, 5, 6]
    first = client.sent_at[0]
    assert [round(at - first) for at in client.sent_at[1:7]] == [0, 0, 1, 1, 2, 2]


async def test_pieces_of_answers_are_streamed() -> None:
    """For the steps that the client may see."""

    class Slow(FakeStream):
        async def __anext__(self) -> str:
            await anyio.sleep(1)
            return f"{await super().__anext__()} "

    class Streaming(FakeModel):
        @asynccontextmanager
        async def stream(self, prompt: Any, /, **more: Any) -> AsyncIterator[Any]:
            yield Slow(await self.call(prompt, **more))

    steps = [
        Step("draft", ask("{name}", Streaming("hidden words"), stream=True)),
        Step("final", ask("{draft}", Streaming("shown words"), stream=True)),
    ]
    client = await ask_app(app_for(Workflow("w", steps)), "/events", {})
    deltas = [data.get("text") for kind, data in client.events if kind == "llm_delta"]
    assert deltas == [None, None, "shown ", "words "]
    assert "hidden" not in client.text


def test_what_is_shown_is_a_list_and_a_lifespan_takes_a_governor() -> None:
    """A name alone would show the steps that its letters name."""
    with pytest.raises(ConfigError, match=r"show='answer' must be a list, such as show=\['answer'\]"):
        EventStream(Workflow("w", [Step("a", returns(1))]), {}, show="answer")
    with pytest.raises(ConfigError, match=r"lifespan\(3\) takes a Governor"):
        lifespan(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/run", "/events"])
async def test_a_client_that_goes_away_cancels_its_run(path: str) -> None:
    """Its calls to models too, at once, and nothing of it is left."""
    model, before = FakeModel(takes=100), others()
    app = app_for(Workflow("w", [Step("a", ask("{name}", model), failure_policy=NO_RETRY)]))
    client = Client(app, path, {})
    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        await anyio.sleep(5)
        client.gone.set()
    assert anyio.current_time() - started == pytest.approx(5)
    assert (model.sent, model.ended) == (1, 0)
    assert not others() - before
    if path == "/run":
        assert client.status == 499


@pytest.mark.parametrize("after", [0, 1, 2, 4])
async def test_a_client_whose_server_refuses_to_send_has_gone_away(after: int) -> None:
    """As ASGI lets it: the run of a stream is cancelled, and nothing is raised."""
    client, sent, before = Client(app_for(HELLO), "/events", {}), 0, others()

    async def send(message: Message) -> None:
        nonlocal sent
        if sent == after:
            raise OSError("gone")
        sent += 1

    started = anyio.current_time()
    await client.app(client.scope, client.receive, send)
    assert anyio.current_time() - started == after // 3
    assert not others() - before


async def test_an_error_of_the_endpoint_is_raised_as_it_is() -> None:
    """For the application's own handlers."""
    app = fastapi.FastAPI()

    @app.post("/events")
    async def events() -> fastapi.Response:
        return EventStream(HELLO, {}, timeout=-1)

    @app.exception_handler(ConfigError)
    async def explain(request: fastapi.Request, error: ConfigError) -> fastapi.Response:
        return fastapi.responses.JSONResponse({"mine": True}, 500)

    assert (await ask_app(app, "/events", {})).text == '{"mine":true}'


@pytest.mark.parametrize("path", ["/run", "/events"])
async def test_a_wrapped_secret_in_an_output_stays_hidden(path: str) -> None:
    """The rest of the output is there."""
    workflow = Workflow("w", [Step("a", returns({"key": pydantic.SecretStr("hunter-2-hunter"), "n": 1}))])
    client = await ask_app(app_for(workflow), path, {})
    assert client.status == 200
    assert '"output":{"key":"[REDACTED]","n":1}' in client.text


FAILURES = {
    "an error": (raises(ValueError(SECRET)), 500, "failed"),
    "a model": (raises(ModelUnavailableError("openai", SECRET, "in trouble")), 502, "model-unavailable"),
    "the budget": (lambda ctx: ctx.count_llm_calls(9), 503, "budget-exceeded"),
    "the time": (returns("late", after=99), 504, "timeout"),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_problems_tell_nothing_of_what_is_inside(failure: str) -> None:
    """A type, a status, the run's id; for the endpoint that awaits and for the one that streams."""
    action, status, kind = FAILURES[failure]

    async def act(ctx: StepContext) -> Any:
        found = action(ctx)
        return None if found is None else await found

    aborting = FailurePolicy(max_retries=0, fallback_action=FailureAction.ABORT)
    workflow = Workflow("w", [Step("inside", act)], failure_policy=aborting, budget=Budget(llm_calls=1), timeout=9)
    client = await ask_app(app_for(workflow), "/run", {})
    body = json.loads(client.text)
    assert (client.status, body["status"], body["type"]) == (status, status, f"urn:kairos:problem:{kind}")
    assert dict(client.sent[0]["headers"])[b"content-type"] == b"application/problem+json"
    assert sorted(body) == ["run_id", "status", "title", "type"]

    streamed = await ask_app(app_for(workflow), "/events", {})
    final, data = streamed.events[-1]
    assert (final, streamed.status) == ("workflow_complete", 200)
    assert data["problem"] == {"type": body["type"], "title": body["title"], "status": status}
    for text in (client.text, streamed.text):
        assert SECRET not in text
        assert "Error" not in text


@pytest.mark.parametrize("path", ["/run", "/events"])
async def test_inputs_that_are_not_valid(path: str) -> None:
    """A problem of the client's, before anything runs."""
    client = await ask_app(app_for(Workflow("w", [Step("name", returns(1))])), path, {})
    assert (client.status, json.loads(client.text)["type"]) == (422, "urn:kairos:problem:invalid-inputs")


async def test_the_lifespan_holds_the_governor() -> None:
    """For all requests of the application, which are other tasks than its lifespan."""
    governor = Governor({"openai": RateLimit(requests=60)})
    model = FakeModel(takes=0)
    app = app_for(Workflow("w", [Step("a", ask("{name}", model))]), lifespan=lifespan(governor))
    started = anyio.current_time()
    async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
        assert current_governor() is governor
        for _ in range(4):
            tasks.start_soon(ask_app, app, "/run", {})
    assert current_governor() is None
    assert model.sent == 4
    assert anyio.current_time() - started == pytest.approx(3 / 0.97)
