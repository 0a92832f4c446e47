"""A secret of a run is in nothing that leaves the run, whatever its steps do with it."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretBytes, SecretStr

from kairos_async import (
    ConfigError,
    Event,
    Failure,
    FailureAction,
    FailurePolicy,
    RunLogger,
    Schema,
    StateError,
    Step,
    StepComplete,
    StepContext,
    StepSkip,
    StepStatus,
    Workflow,
    WorkflowResult,
    WorkflowStatus,
)
from kairos_async import validators as v
from kairos_async.observe import StructlogSink
from kairos_async.security import UntrustedText, untrusted
from tests.clocks import run_virtual
from tests.engine.tools import NO_RETRY, SKIPPING, Events, output_of, raises, replanning, retrying, returns, run

KEYS: Final = ("api_key", "password", "dbPassword", "X-Auth-Token", "client_secret")
Leak = Callable[[StepContext, str], object]


def raised(make: Callable[[str], BaseException]) -> Leak:
    """Return a leak that raises."""

    def leak(ctx: StepContext, secret: str) -> object:
        raise make(secret)

    return leak


def chained(secret: str) -> Exception:
    """Return an exception with the secret in its note and its cause."""
    error = RuntimeError("it failed")
    error.add_note(f"called with {secret}")
    error.__cause__ = ValueError(secret)
    return error


def logged(ctx: StepContext, secret: str) -> object:
    """Log it as text, as a value, as a key, as an exception."""
    ctx.log.info(f"using {secret}", value=secret, nested={"deep": [secret]}, **{secret: 1})
    try:
        raise ValueError(secret)
    except ValueError as error:
        ctx.log.exception("failed")
        ctx.log.error("failed", exc_info=error)
        ctx.log.error("failed", exc_info=(type(error), error, error.__traceback__))
    return None


def written(ctx: StepContext, secret: str) -> object:
    """Write it."""
    ctx.state.set("note", ["see", {"here": secret}])
    return None


def written_as_key(ctx: StepContext, secret: str) -> object:
    """Write under it."""
    ctx.state.set(f"note {secret}", 1)
    return None


LEAKS: dict[str, Leak] = {
    "output": lambda ctx, secret: secret,
    "inside a text": lambda ctx, secret: f"the key is {secret}, use it",
    "nested": lambda ctx, secret: {"a": [1, {"b": secret}]},
    "as a key": lambda ctx, secret: {secret: 1},
    "url-encoded": lambda ctx, secret: f"https://x.example/?q={urllib.parse.quote(secret, safe='')}",
    "base64": lambda ctx, secret: base64.b64encode(secret.encode()).decode(),
    "as JSON": lambda ctx, secret: json.dumps({"data": secret}),
    "write": written,
    "key of a write": written_as_key,
    "log": logged,
    "exception": raised(lambda secret: ValueError(f"bad {secret}")),
    "exception's data": raised(lambda secret: KeyError({"k": secret}, secret)),
    "exception's cause": raised(chained),
    "exception's group": raised(lambda secret: ExceptionGroup(secret, [ValueError(secret), chained(secret)])),
}
STORED = (
    "output",
    "inside a text",
    "nested",
    "as a key",
    "url-encoded",
    "base64",
    "as JSON",
    "write",
    "key of a write",
)
"""Those that would put it into state."""


def everything(result: WorkflowResult, events: Events, lines: list[Any]) -> str:
    """Return all that leaves a run, but for the outputs, as one text."""
    shown: list[object] = [
        result.to_dict(),
        result.final_state,
        repr(result),
        repr(result.step_results),
        result.error_message,
    ]
    shown += [repr(done) for done in result.step_results.values()]
    shown += [repr(a) for done in result.step_results.values() for a in done.attempts]
    shown += [result.warnings, [(event.data, repr(event)) for event in events], lines]
    shown += [WorkflowResult.from_dict(result.to_dict()).to_dict()]
    return repr(shown) + json.dumps(shown, default=repr, ensure_ascii=False) + json.dumps(shown, default=repr)


async def leaked(key: str, secret: str, leak: Leak, *, wrapped: bool, how: str, elsewhere: object = None) -> str:
    """Run a step that leaks; return all that leaves the run. A hook that raises with the secret is among the ways."""
    events = Events()

    async def login(ctx: StepContext) -> object:
        found = ctx.inputs[key]
        assert isinstance(found, SecretStr) == wrapped
        return None

    async def act(ctx: StepContext) -> object:
        found = ctx.inputs[key]
        return leak(ctx, found.get_secret_value() if isinstance(found, SecretStr) else found)

    def broken(event: object) -> None:
        raise ValueError(f"hook: {secret}")

    result = None
    with structlog.testing.capture_logs() as lines:
        result = await run(
            Step("login", login),
            Step("leak", act, depends_on=["login"], failure_policy=retrying(1, delay=0.0)),
            inputs={key: SecretStr(secret) if wrapped else secret, "elsewhere": elsewhere},
            hooks=[events, broken],
            on_secret_output=how,
        )
    events.check()
    return everything(result, events, lines)


SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="*•.-_ \t\r\n"), min_size=6, max_size=24).filter(
    # What the names of this test, numbers and times have in them by themselves is no secret to be found.
    lambda text: len(set(text)) > 3 and not text.isdigit() and text.strip() == text and not text.isspace()
)
MARKED = SECRETS.map(lambda text: f"Zq7{text}9xK")


@pytest.mark.parametrize("how", ["fail", "redact", "allow"])
@settings(max_examples=80)
@given(
    st.sampled_from(KEYS), MARKED, st.sampled_from(sorted(LEAKS)), st.booleans(), st.sampled_from(["asyncio", "trio"])
)
def test_no_secret_leaves_a_run(how: str, key: str, secret: str, name: str, wrapped: bool, on: str) -> None:
    """For any secret, under any sensitive key or wrapped, and any way to copy it, whatever on_secret_output says."""

    async def check() -> None:
        text = await leaked(key, secret, LEAKS[name], wrapped=wrapped, how=how, elsewhere={"x": [secret]})
        for form in {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], urllib.parse.quote(secret, safe="")}:
            assert form not in text
        assert base64.b64encode(secret.encode()).decode().rstrip("=") not in text

    run_virtual(check, on=on)


@pytest.mark.parametrize("name", LEAKS)
@pytest.mark.parametrize("how", ["fail", "redact", "allow"])
async def test_every_way_with_every_answer(name: str, how: str) -> None:
    """Each of the ways, none left to chance."""
    text = await leaked("api_key", "Zq7-hidden-9xK", LEAKS[name], wrapped=True, how=how)
    assert "hidden" not in text


@pytest.mark.parametrize("name", STORED)
async def test_fail_stores_nothing(name: str) -> None:
    """The step fails with a SecurityError at once, without a retry, and what else it wrote is dropped, too."""

    async def act(ctx: StepContext) -> object:
        ctx.state.set("harmless", 1)
        return LEAKS[name](ctx, ctx.inputs["api_key"])

    result = await run(Step("leak", act), inputs={"api_key": "Zq7-hidden-9xK"})
    failed = result.step_results["leak"]
    assert (failed.error_type, len(failed.attempts)) == ("SecurityError", 1)
    assert result.final_state == {"api_key": "[REDACTED]"}
    assert result.output is None


@pytest.mark.parametrize("name", STORED)
async def test_redact_stores_it_redacted(name: str) -> None:
    """Also a step that follows cannot read it."""

    async def act(ctx: StepContext) -> object:
        return LEAKS[name](ctx, ctx.inputs["api_key"])

    async def follow(ctx: StepContext) -> str:
        return repr([ctx.inputs[key] for key in ctx.inputs if key != "api_key"]) + repr([*ctx.inputs])

    steps = Step("leak", act), Step("follow", follow, depends_on=["leak"])
    result = await run(*steps, inputs={"api_key": "Zq7-hidden-9xK"}, on_secret_output="redact")
    for form in ("hidden", base64.b64encode(b"Zq7-hidden-9xK").decode()):
        assert form not in repr(result.output)
        assert form not in repr(output_of(result, "leak"))


async def test_redact_leaves_what_is_under_a_sensitive_key_of_the_same_output() -> None:
    """A login step may return a token: the steps after it need it. What is shown of it is redacted as ever."""
    events: list[Event] = []

    async def login(ctx: StepContext) -> object:
        key = ctx.inputs["api_key"]
        return {
            "token": "fresh-token-1",
            "max_tokens": 5,
            "note": f"with {key}",
            key: [["X-Auth", "pair-value"], [key], {"name": "password", "value": "named-value"}],
        }

    steps = Step("login", login), Step("use", lambda ctx: ctx.inputs["login"]["token"], depends_on=["login"])
    inputs = {"api_key": "Zq7-hidden-9xK"}
    result = await Workflow("w", [*steps], hooks=[events.append], on_secret_output="redact").run(inputs)
    assert output_of(result, "login") == {
        "token": "fresh-token-1",
        "max_tokens": 5,
        "note": "with [REDACTED]",
        "[REDACTED]": [["X-Auth", "pair-value"], ["[REDACTED]"], {"name": "password", "value": "named-value"}],
    }
    shown = repr([result.to_dict(), *(event.data for event in events)])
    assert not any(secret in shown for secret in ("hidden", "fresh-token", "named-value"))


async def test_allow_gives_the_real_values_to_the_caller_only() -> None:
    """They are in `output`; in all that is shown or exported they are redacted."""

    async def act(ctx: StepContext) -> object:
        return {"message": f"key {ctx.inputs['api_key']}"}

    result = await run(Step("a", act), inputs={"api_key": "Zq7-hidden-9xK"}, on_secret_output="allow")
    assert result.output == {"message": "key Zq7-hidden-9xK"}
    assert result.final_state["a"] == {"message": "key [REDACTED]"}
    assert "hidden" not in repr(result.to_dict())


@pytest.mark.parametrize("wrapped", [True, False])
async def test_a_login_step_may_return_a_token(wrapped: bool) -> None:
    """Under a sensitive key of its own; a later step that copies it elsewhere is refused."""

    async def login(ctx: StepContext) -> object:
        return {"token": "Zq7-hidden-9xK", "user": "ada"}

    async def use(ctx: StepContext) -> object:
        return {"session_token": ctx.inputs["login"]["token"]}

    async def leak(ctx: StepContext) -> object:
        return {"message": ctx.inputs["login"]["token"]}

    given = {"password": SecretStr("first-hidden-1")} if wrapped else {}
    result = await run(Step("login", login), Step("use", use, depends_on=["login"]), inputs=given)
    assert result.status is WorkflowStatus.COMPLETE
    assert result.output == {"session_token": "Zq7-hidden-9xK"}
    assert "hidden" not in repr(result.to_dict())
    refused = await run(Step("login", login), Step("leak", leak, depends_on=["login"]), inputs=given)
    assert refused.step_results["leak"].error_type == "SecurityError"
    assert refused.step_results["login"].status is StepStatus.COMPLETED


async def test_a_wrapped_secret_stays_wrapped() -> None:
    """For steps, in nested inputs, in what they return, and in the result; what leaves shows a mark."""

    async def act(ctx: StepContext) -> object:
        found = ctx.inputs["config"]["list"][0]
        assert isinstance(found, SecretStr)
        assert "hidden" not in f"{found} {found!r} {ctx.inputs} {dict(ctx.inputs)}"
        return {"again": found}

    given = {"config": {"list": [SecretStr("Zq7-hidden-9xK")]}}
    result = await run(Step("a", act), Step("b", act, read_keys=["config"], depends_on=["a"]), inputs=given)
    output: Any = result.output
    assert output["again"].get_secret_value() == "Zq7-hidden-9xK"
    marked = {"again": "[REDACTED]"}
    assert result.final_state == {"config": {"list": ["[REDACTED]"]}, "a": marked, "b": marked}
    exported: Any = result.to_dict()
    assert exported["step_results"]["a"]["output"] == marked
    assert exported["output"] == marked


class Login(BaseModel):
    """What a client of a service may be given."""

    user: str
    token: SecretStr


@dataclass
class Page:
    """What a client of the web may give."""

    url: str
    text: UntrustedText


@pytest.mark.parametrize(
    ("value", "lost"),
    [
        (Login(user="ada", token=SecretStr("Zq7-hidden-9xK")), "of which only stars would be left"),
        ([SecretBytes(b"Zq7-hidden-9xK")], "of which only stars would be left"),
        (untrusted("Zq7-hidden-9xK"), "whose mark would be lost"),
        (Page("https://a.example", untrusted("Zq7-hidden-9xK")), "whose mark would be lost"),
    ],
)
async def test_what_state_could_only_hold_without_its_mark_is_refused(value: object, lost: str) -> None:
    """A step that got stars in place of a key, or untrusted text as a part of its prompt, would not know."""
    for contract in (None, Any, dict[str, Any]):
        step = Step("a", returns({"k": value}), output_contract=contract, failure_policy=NO_RETRY)
        result = await run(step)
        assert result.step_results["a"].status is StepStatus.FAILED_FINAL
        assert contract or lost in str(result.error_message)
        assert "hidden" not in repr(result.to_dict())
    with pytest.raises(StateError, match=lost):
        await run(Step("a", returns(1)), inputs={"k": value})


async def test_stars_that_hide_nothing_are_text() -> None:
    """As in what another service has masked."""
    masked = Page("https://a.example", "****-****")  # type: ignore[arg-type]
    assert output_of(await run(Step("a", returns(masked))), "a") == {"url": "https://a.example", "text": "****-****"}


async def test_a_custom_handlers_output_is_asked_for_secrets_too() -> None:
    """A replacement is an output like others."""
    policy = FailurePolicy(
        max_retries=0, on_execution_fail=FailureAction.CUSTOM, custom_handler=lambda failure: "see Zq7-hidden-9xK"
    )

    async def act(ctx: StepContext) -> None:
        raise ValueError

    result = await run(Step("a", act, failure_policy=policy), inputs={"api_key": "Zq7-hidden-9xK"})
    assert (result.output, "a" in result.final_state) == (None, False)


async def test_a_handler_is_told_no_secret() -> None:
    """The failure names the fields that broke a rule, and one of them is called like the secret; rules have words."""
    seen: list[Failure] = []

    async def handler(failure: Failure) -> FailureAction:
        seen.append(failure)
        return FailureAction.SKIP

    async def act(ctx: StepContext) -> object:
        return {"k": ctx.inputs["api_key"], ctx.inputs["api_key"]: 1}

    contract = Schema({"k": str}, {"k": [v.custom(lambda value: f"no such key as {value}")]}, extra="ignore")
    policy = FailurePolicy(on_validation_fail=FailureAction.CUSTOM, custom_handler=handler)
    for checked in (dict[str, str], contract):
        step = Step("a", act, output_contract=checked, failure_policy=policy)
        await run(step, inputs={"api_key": "Zq7-hidden-9xK"})
    assert [error.field for failure in seen for error in failure.errors] == ["[REDACTED]", "k"]
    assert "hidden" not in repr(seen)


async def test_exports_come_back_without_secrets() -> None:
    """`from_dict` gives an equal export, and has never seen the values."""

    async def act(ctx: StepContext) -> object:
        return {"token": "Zq7-hidden-9xK", "items": [1, "two"]}

    exported = (await run(Step("a", act), inputs={"api_key": SecretStr("other-hidden-2")})).to_dict()
    again = WorkflowResult.from_dict(json.loads(json.dumps(exported)))
    assert again.to_dict() == exported
    assert again.output == {"token": "[REDACTED]", "items": [1, "two"]}
    assert "hidden" not in repr(exported) + repr(again) + repr(again.step_results)


@pytest.mark.parametrize("value", [1234, "1234", "longer-than-six", {"a": 1}])
async def test_what_a_step_with_a_sensitive_name_returns_is_shown_nowhere(value: Any) -> None:
    """Also if it is too short, or a number, so that it could not be found by value: in its event, at the top of the
    export, in its result and in the state."""
    events: list[Event] = []
    result = await Workflow("w", [Step("pin", returns(value))], hooks=[events.append]).run()
    assert result.output == value
    exported: dict[str, Any] = result.to_dict()
    assert exported["output"] == "[REDACTED]"
    assert exported["final_state"] == {"pin": "[REDACTED]"}
    assert exported["step_results"]["pin"]["output"] == "[REDACTED]"
    assert [e.data["output"] for e in events if isinstance(e, StepComplete)] == ["[REDACTED]"]


async def test_the_result_of_a_step_with_a_sensitive_name_comes_back_without_what_it_returned() -> None:
    """The name is a key for its output and its items' outputs; the rest of its record is no secret."""
    login = Step("login_token", returns("Zq7-hidden-9xK"))
    each = Step("api_key", returns("Zq8-hidden-9xK"), foreach="parts")
    last = Step("end", returns(7), depends_on=["login_token", "api_key"])
    result = await Workflow("w", [login, each, last]).run({"parts": [1, 2]})
    exported: dict[str, Any] = result.to_dict()
    again = WorkflowResult.from_dict(json.loads(json.dumps(exported)))
    assert again.to_dict() == exported
    assert [done.status for done in again.step_results.values()] == [StepStatus.COMPLETED] * 3
    assert again.step_results["login_token"].output == "[REDACTED]"
    assert [item.output for item in again.step_results["api_key"].items or ()] == ["[REDACTED]"] * 2
    assert exported["step_results"]["end"]["needs"] == ["login_token", "api_key"]
    assert "hidden" not in json.dumps(exported)


async def test_names_in_events_are_names_and_no_pairs() -> None:
    """Two inputs, or two steps, are no header with its value; nor are they in an export."""
    events: list[Event] = []
    await Workflow("w", [Step("a", returns(1))], hooks=[events.append]).run({"api_key": "x", "topic": "y"})
    assert events[0].data["inputs"] == ["api_key", "topic"]

    pair = [Step("token", returns(1)), Step("notes", returns(1))]
    skipped = Step("skipped", raises(ValueError), depends_on=["token", "notes"], failure_policy=SKIPPING)
    await run(*pair, skipped, hooks=[events.append])
    assert [e.data["needs"] for e in events if isinstance(e, StepSkip)] == [["token", "notes"]]
    first = Step("api_key", raises(ValueError), failure_policy=replanning())
    result = await run(first, Step("topic", returns(1), depends_on=["api_key"]), planner=lambda request: pair)
    exported: Any = result.to_dict()
    assert (exported["replans"][0]["removed"], exported["replans"][0]["added"]) == (
        ["api_key", "topic"],
        ["token", "notes"],
    )
    assert WorkflowResult.from_dict(exported).to_dict() == exported


@pytest.mark.parametrize("value", [1234, "1234"])
async def test_what_a_step_with_a_sensitive_name_returned_before_it_was_replaced_is_not_shown(value: Any) -> None:
    """The items that a foreach had done when it failed are in the record of the re-plan."""

    async def act(ctx: StepContext) -> object:
        return value if ctx.index == 0 else 1 / 0

    pins = Step("pin", act, foreach="users", failure_policy=replanning())
    result = await run(pins, inputs={"users": [1, 2]}, planner=lambda request: [Step("other", returns(0))])
    exported: Any = result.to_dict()
    assert [item["output"] for item in exported["replans"][0]["failed"]["items"]] == ["[REDACTED]", None]


async def test_a_step_whose_name_is_a_secret_is_named_by_no_event() -> None:
    """Neither in the first run of a workflow nor in the next, whatever is told of the step."""
    name = "ghp_" + "aB3dE5gH7jK9mN1pQ3" * 2
    for foreach in (None, "items"):
        events: list[Event] = []
        step = Step(name, returns(1), output_contract=int, foreach=foreach, failure_policy=NO_RETRY)
        workflow = Workflow("w", [step], hooks=[events.append])
        for _ in range(2):
            await workflow.run({"items": [1]})
            streamed = [event async for event in workflow.stream({"items": [1]})]
            assert {event.step_id for event in streamed + events} == {None, "[REDACTED]"}


async def test_a_workflow_whose_name_is_a_secret_is_named_by_nothing() -> None:
    """Neither to the lifespans of hooks, which name spans and lines after it, nor by its result."""
    name = "nightly ghp_" + "aB3dE5gH7jK9mN1pQ3" * 2
    with structlog.testing.capture_logs() as lines:
        logger = RunLogger(sinks=[StructlogSink()])
        result = await Workflow(name, [Step("a", returns(1))], hooks=[logger]).run()
    assert {line["workflow"] for line in lines} == {"nightly [REDACTED]"}
    assert "ghp_" not in f"{lines} {result!r} {result.to_dict()} {logger.get_log(result.run_id)!r}"


def test_a_refused_export_keeps_nothing_of_it() -> None:
    """Pydantic's error quotes what it refuses; it is no context of ours."""
    with pytest.raises(ConfigError, match="no WorkflowResult") as caught:
        WorkflowResult.from_dict({"schema_version": 1, "run_id": ["quoted-secret"]})
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("key", [b"hidden-in-a-key", ("api_key", "hidden-in-a-key")])
async def test_an_input_key_that_is_no_text_is_not_quoted(key: Any) -> None:
    """The error of `run` itself names its type."""
    with pytest.raises(StateError, match="is not a str") as caught:
        await Workflow("w", [Step("a", returns(1))]).run({key: 1})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ({"user": str, "token": str}, {"user": "ada", "token": "s3kr1t-value"}),
        ({"header": str, "value": str}, {"header": "X-Api-Key", "value": "s3kr1t-value"}),
        ({"user": str, "more": dict[str, str]}, {"user": "ada", "more": {"token": "s3kr1t-value"}}),
    ],
)
async def test_a_secret_in_an_output_that_its_contract_describes_is_known_from_there(
    annotation: dict[str, object], value: dict[str, object]
) -> None:
    """Nobody looks through outputs in which the contract rules secrets out; these are none of them."""

    async def leak(ctx: StepContext) -> str:
        return "it was s3kr1t-value"

    steps = [
        Step("login", returns(value), output_contract=Schema(annotation)),
        Step("leak", leak, depends_on=["login"]),
    ]
    result = await Workflow("w", steps, failure_policy=NO_RETRY).run()
    assert result.step_results["leak"].error_type == "SecurityError"
    assert "s3kr1t" not in json.dumps(result.to_dict())
