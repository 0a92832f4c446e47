"""`ctx.log`: bound to where it is, redacted before anything of the host's sees it, and nobody else's configuration."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
import structlog
from pydantic import SecretStr

from kairos_async import Step, StepContext, Workflow
from tests.engine.tools import output_of, retrying, run

SECRET = "Zq7-hidden-9xK"


class Written(list[str]):
    """A logger that keeps the lines it is given."""

    def msg(self, line: str) -> None:
        """Keep a line."""
        self.append(line)

    debug = info = warning = error = critical = exception = msg

    def parsed(self) -> list[dict[str, Any]]:
        """Return the lines as data."""
        return [json.loads(line) for line in self]


@pytest.fixture
def lines() -> Iterator[Written]:
    """Configure structlog as a service does, with tracebacks and JSON; give what it writes."""
    written = Written()
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
        logger_factory=lambda *args: written,
    )
    yield written
    structlog.configure(**before)


def logs(ctx: StepContext) -> None:
    """Log the secret in every place of a line."""
    secret = ctx.inputs["api_key"].get_secret_value()
    log = ctx.log
    log.info(f"text {secret}")
    log.info("value", value=secret, nested=[{"a": (secret,)}], wrapped=ctx.inputs["api_key"])
    log.info("key", **{f"k {secret}": 1})
    log.info("sensitive key", password="unknown-to-the-run", max_tokens=3)
    log.info("an object", error=ValueError(secret), thing=object())
    log.bind(bound=secret).warning("bound")
    log.new(again=secret).warning("new")
    log.info("positional %s", secret)


LINES = 8


def check(written: Written) -> None:
    """Check that no line has the secret, and that they say something all the same."""
    assert len(written) == LINES
    assert not [line for line in written if "hidden" in line or "unknown-to-the-run" in line]
    data = written.parsed()
    assert data[0]["event"] == "text [REDACTED]"
    assert (data[1]["value"], data[1]["nested"]) == ("[REDACTED]", [{"a": ["[REDACTED]"]}])
    assert (data[3]["password"], data[3]["max_tokens"]) == ("[REDACTED]", 3)
    assert data[4]["error"] == "ValueError: [REDACTED]"


async def test_what_is_logged_is_redacted(lines: Written) -> None:
    """Texts, values, keys, bound values, objects; by key, and by what the run knows."""

    async def act(ctx: StepContext) -> None:
        logs(ctx)

    await run(Step("a", act), inputs={"api_key": SecretStr(SECRET)})
    check(lines)


@pytest.mark.real_time
async def test_what_a_thread_logs_is_redacted(lines: Written) -> None:
    """In a sync step, and in a thread that it starts itself."""

    def act(ctx: StepContext) -> None:
        thread = threading.Thread(target=logs, args=[ctx])
        thread.start()
        thread.join()

    await run(Step("a", act), inputs={"api_key": SecretStr(SECRET)})
    check(lines)
    assert {(line.get("step"), line.get("attempt")) for line in lines.parsed()[:6]} == {("a", 1)}


EXCEPTIONS: dict[str, Callable[[Any, Exception], object]] = {
    "exception": lambda log, error: log.exception("failed"),
    "exc_info=True": lambda log, error: log.error("failed", exc_info=True),
    "exc_info=error": lambda log, error: log.error("failed", exc_info=error),
    "exc_info=tuple": lambda log, error: log.error("failed", exc_info=(type(error), error, error.__traceback__)),
}


@pytest.mark.parametrize("how", EXCEPTIONS)
async def test_a_logged_exception_is_cleaned(lines: Written, how: str) -> None:
    """Its class and message are there; no secret, no traceback, no source line, no directory."""

    async def act(ctx: StepContext) -> None:
        try:
            raise LookupError(f"nothing at /srv/data/{ctx.inputs['api_key'].get_secret_value()}")
        except LookupError as error:
            EXCEPTIONS[how](ctx.log, error)

    await run(Step("a", act), inputs={"api_key": SecretStr(SECRET)})
    assert len(lines) == 1
    for part in ("hidden", "Traceback", "raise ", "/srv", ".py"):
        assert part not in lines[0]
    assert "LookupError: nothing at [REDACTED]" in lines[0]


async def test_a_line_says_where_it_comes_from(lines: Written) -> None:
    """Run, step, attempt, and the item of a foreach; concurrent steps do not mix."""

    async def act(ctx: StepContext) -> str:
        await anyio.sleep(1)
        ctx.log.info("before")
        if ctx.attempt == 1 and ctx.index != 0:
            raise ValueError
        await anyio.sleep(1)
        ctx.log.info("after")
        return ctx.run_id

    policy = retrying(1, delay=0.0)
    steps = Step("a", act, failure_policy=policy), Step("each", act, foreach="items", failure_policy=policy)
    result = await run(*steps, inputs={"items": [1, 2]})
    data = lines.parsed()
    assert {line["run_id"] for line in data} == {output_of(result, "a")} == {result.run_id}
    told = sorted((line["step"], line.get("item", -1), line["attempt"], line["event"]) for line in data)
    assert told == [
        ("a", -1, 1, "before"),
        ("a", -1, 2, "after"),
        ("a", -1, 2, "before"),
        ("each", 0, 1, "after"),
        ("each", 0, 1, "before"),
        ("each", 1, 1, "before"),
        ("each", 1, 2, "after"),
        ("each", 1, 2, "before"),
    ]


async def test_a_line_cannot_claim_to_come_from_elsewhere(lines: Written) -> None:
    """What is bound wins over what the step says, and over what it sets on its context."""

    async def act(ctx: StepContext) -> None:
        ctx.run_id, ctx.step_id, ctx.attempt = "forged", "forged", 9
        ctx.log.info("x", run_id="forged", step="forged", attempt=9)
        ctx.log.bind(run_id="forged", step="forged").info("y", attempt=9)

    result = await run(Step("a", act))
    told = [(line["run_id"], line["step"], line["attempt"]) for line in lines.parsed()]
    assert told == [(result.run_id, "a", 1)] * 2


async def test_the_hosts_configuration_is_its_own(lines: Written) -> None:
    """Nothing is configured for the host, and its own loggers write as before; after a run, too."""
    before = {**structlog.get_config(), "processors": [*structlog.get_config()["processors"]]}

    async def act(ctx: StepContext) -> None:
        ctx.log.info("of the step")
        structlog.get_logger().info("of the host", password="shown")
        assert structlog.get_config() == before

    await run(Step("a", act))
    assert structlog.get_config() == before
    assert lines.parsed()[1] == {"event": "of the host", "level": "info", "password": "shown"}


def test_without_a_configuration_nothing_is_configured() -> None:
    """A run that logs leaves structlog as unconfigured as it was."""
    structlog.reset_defaults()

    async def act(ctx: StepContext) -> None:
        ctx.log.bind(a=1)

    Workflow("w", [Step("a", act)]).run_sync()
    assert not structlog.is_configured()


def bind_secret(ctx: StepContext) -> None:
    """Bind the secret to structlog's context variables, as value and as key, and log."""
    secret = ctx.inputs["api_key"].get_secret_value()
    structlog.contextvars.bind_contextvars(seen=f"x {secret}", password="unknown-to-the-run", **{f"k-{secret}": 1})
    ctx.log.info("bound")


async def test_context_variables_that_a_step_binds_are_redacted_in_its_lines(lines: Written) -> None:
    """The host's processors merge them after the first redaction."""

    async def act(ctx: StepContext) -> None:
        bind_secret(ctx)
        await anyio.sleep(1)
        ctx.log.info("again")

    await run(Step("a", act), inputs={"api_key": SecretStr(SECRET)})
    assert len(lines) == 2
    for line in lines.parsed():
        assert (line["seen"], line["password"], line["k-[REDACTED]"]) == ("x [REDACTED]", "[REDACTED]", 1)
    assert not [line for line in lines if "hidden" in line or "unknown-to-the-run" in line]


async def test_context_variables_that_a_step_binds_are_seen_by_no_other_step(lines: Written) -> None:
    """By none after it, beside it, in its own next attempt, in another item, in a thread, or by the caller."""
    seen: dict[tuple[object, ...], dict[str, Any]] = {}

    def note(ctx: StepContext, *when: object) -> None:
        seen[(ctx.step_id, ctx.index, ctx.attempt, *when)] = structlog.contextvars.get_contextvars()

    async def binds(ctx: StepContext) -> None:
        note(ctx)
        structlog.contextvars.bind_contextvars(leaked=f"{ctx.step_id} {ctx.index} {ctx.attempt}")
        await anyio.sleep(1)
        note(ctx, "later")
        if ctx.attempt == 1:
            raise ValueError

    def binds_in_thread(ctx: StepContext) -> None:
        note(ctx)
        structlog.contextvars.bind_contextvars(leaked="thread")

    policy = retrying(1, delay=0.0)
    structlog.contextvars.clear_contextvars()
    with structlog.contextvars.bound_contextvars(request="r1"):
        await run(
            Step("a", binds, failure_policy=policy),
            Step("beside", binds, failure_policy=policy),
            Step("after", binds, depends_on=["a"], failure_policy=policy),
            Step("each", binds, foreach="items", failure_policy=policy),
            Step("thread", binds_in_thread, depends_on=["a"]),
            Step("last", binds_in_thread, depends_on=["thread"]),
            inputs={"items": [1, 2]},
        )
        assert structlog.contextvars.get_contextvars() == {"request": "r1"}
    assert len(seen) == 22
    for (step, index, attempt, *when), variables in seen.items():
        assert variables == {"request": "r1"} | ({"leaked": f"{step} {index} {attempt}"} if when else {})


async def test_structlogs_own_defaults_show_no_traceback_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """They fetch the exception that is being handled after the first redaction, and print it with its lines."""
    before = structlog.get_config()
    structlog.reset_defaults()

    async def act(ctx: StepContext) -> None:
        bind_secret(ctx)
        try:
            raise LookupError(f"nothing at /srv/data/{ctx.inputs['api_key'].get_secret_value()}")
        except LookupError:
            ctx.log.exception("failed")

    await run(Step("a", act), inputs={"api_key": SecretStr(SECRET)})
    structlog.configure(**before)
    written = "".join(capsys.readouterr())
    assert "LookupError: nothing at [REDACTED]" in written
    for part in ("hidden", "unknown-to-the-run", "Traceback", "raise ", "/srv", ".py"):
        assert part not in written


@pytest.mark.parametrize("processors", [[], ["render"], ["render", "pass"]])
async def test_any_list_of_processors_of_the_host_works(processors: list[str]) -> None:
    """None at all, only a renderer, and a renderer that is not the last."""
    written = Written()
    before = structlog.get_config()
    known: dict[str, Any] = {"render": structlog.processors.JSONRenderer(), "pass": lambda _, __, event: event}
    structlog.configure(processors=[known[name] for name in processors], logger_factory=lambda *args: written)

    async def act(ctx: StepContext) -> None:
        bind_secret(ctx)
        ctx.log.info(f"text {ctx.inputs['api_key'].get_secret_value()}")

    kept: list[object] = []
    written.msg = lambda line=None, **event: kept.append(line or event)  # type: ignore[method-assign]
    written.info = written.msg  # type: ignore[method-assign]
    await run(Step("a", act), inputs={"api_key": SecretStr(SECRET)})
    structlog.configure(**before)
    assert len(kept) == 2
    assert "hidden" not in str(kept)
    assert "text [REDACTED]" in str(kept)


async def test_a_logger_of_the_standard_library_takes_arguments(lines: Written) -> None:
    """They are put into the text by a processor of the host's, and are redacted before that."""
    structlog.configure(
        processors=[structlog.stdlib.PositionalArgumentsFormatter(), structlog.processors.JSONRenderer()],
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    async def act(ctx: StepContext) -> None:
        ctx.log.info("%s has %s", "eve", ctx.inputs["api_key"].get_secret_value())

    result = await run(Step("a", act), inputs={"api_key": SecretStr(SECRET)})
    result.raise_for_status()
    assert [line["event"] for line in lines.parsed()] == ["eve has [REDACTED]"]
