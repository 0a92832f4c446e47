"""Events in words: one line for a person, without anything that a terminal would take for a command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from kairos_async.events import (
    Event,
    ItemComplete,
    ItemFail,
    LLMCall,
    LLMDelta,
    PlanReplaced,
    StepCancel,
    StepComplete,
    StepFail,
    StepRetry,
    StepSkip,
    StepStart,
    ValidationComplete,
    ValidationFail,
    ValidationStart,
    WorkflowComplete,
    WorkflowStart,
)
from kairos_async.security import terminal_text

_LONGEST: Final = 300
"""Characters of one value that are shown."""


class Line(NamedTuple):
    """What a line says: a word for what happened, what it happened to, and more."""

    word: str
    subject: str
    text: str


def in_words(event: Event) -> Line:
    """The event as the parts of a line, safe to print."""
    return Line(*map(terminal_text, raw_words(event)))


def raw_words(event: Event) -> Line:
    """The event as the parts of a line, which hold whatever its data hold."""
    return _WORDS[type(event)](event, event.data)


def duration(milliseconds: object) -> str:
    """A duration as people write it: `0.3 ms`, `41 ms`, `1.27 s`, `3 min 5 s`."""
    if not isinstance(milliseconds, int | float):
        return "?"
    if milliseconds < 1_000:
        return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.2f} s"
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    return f"{minutes} min {seconds} s"


def counted(number: object, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shortened(text: str) -> str:
    """The text, cut to what is worth showing in a line."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _step(event: Event) -> str:
    return event.step_id or ""


def _item(event: Event, key: str) -> str:
    """The step, with the item's position if the event tells one."""
    position = event.data.get(key)
    return _step(event) if position is None else f"{_step(event)}[{position}]"


def _listed(data: Mapping[str, Any], key: str) -> list[Any]:
    """The list under the key; an empty one if there is none, as in a file that somebody else wrote."""
    value = data.get(key)
    return value if isinstance(value, list) else []


def _error(data: Mapping[str, Any]) -> str:
    kind, message = data.get("error_type"), data.get("error_message")
    return shortened(f"{kind}: {message}" if message else str(kind))


def _workflow_start(event: Event, data: Mapping[str, Any]) -> Line:
    given = ", ".join(map(str, _listed(data, "inputs"))) or "none"
    return Line("run", str(data.get("workflow")), f"{counted(data.get('steps'), 'step')}, inputs: {shortened(given)}")


def _step_start(event: Event, data: Mapping[str, Any]) -> Line:
    return Line("start", _step(event), counted(data["items"], "item") if "items" in data else "")


def _step_complete(event: Event, data: Mapping[str, Any]) -> Line:
    attempts = data.get("attempts")
    text = duration(data.get("duration_ms"))
    if isinstance(attempts, int) and attempts > 1:
        text += f", {attempts} attempts"
    if "output" in data:
        text += f" -> {shortened(json.dumps(data['output'], ensure_ascii=False))}"
    return Line("done", _step(event), text)


def _step_fail(event: Event, data: Mapping[str, Any]) -> Line:
    attempts = data.get("attempts")
    tried = f" after {counted(attempts, 'attempt')}" if attempts else ""
    return Line(
        "FAIL", _step(event), f"{_error(data)} ({duration(data.get('duration_ms'))}{tried}; then: {data.get('action')})"
    )


def _step_retry(event: Event, data: Mapping[str, Any]) -> Line:
    delay = data.get("delay_s")
    pause = f"in {duration(delay * 1000)}" if isinstance(delay, int | float) and delay else "at once"
    return Line("retry", _item(event, "item"), f"attempt {data.get('attempt')}: {_error(data)}; again {pause}")


def _step_skip(event: Event, data: Mapping[str, Any]) -> Line:
    return Line("skip", _step(event), shortened(str(data.get("reason"))))


def _step_cancel(event: Event, data: Mapping[str, Any]) -> Line:
    return Line("cancel", _step(event), f"{shortened(str(data.get('reason')))} ({duration(data.get('duration_ms'))})")


def _item_complete(event: Event, data: Mapping[str, Any]) -> Line:
    text = f"{duration(data.get('duration_ms'))}, {data.get('done')} of {data.get('total')}"
    return Line("item", _item(event, "index"), text)


def _item_fail(event: Event, data: Mapping[str, Any]) -> Line:
    what = _error(data) if data.get("error_type") else str(data.get("status"))
    return Line("FAIL", _item(event, "index"), f"{what} ({data.get('done')} of {data.get('total')})")


def _boundary(data: Mapping[str, Any]) -> str:
    return f"{data.get('boundary')} against {shortened(str(data.get('contract')))}"


def _validation_start(event: Event, data: Mapping[str, Any]) -> Line:
    return Line("check", _step(event), _boundary(data))


def _validation_complete(event: Event, data: Mapping[str, Any]) -> Line:
    return Line("valid", _step(event), _boundary(data))


def _validation_fail(event: Event, data: Mapping[str, Any]) -> Line:
    broken = [error for error in _listed(data, "errors") if isinstance(error, dict)]
    rules = "; ".join(f"{error.get('field') or 'the whole'}: expected {error.get('expected')}" for error in broken[:5])
    more = f" (and {len(broken) - 5} more)" if len(broken) > 5 else ""
    return Line("invalid", _step(event), f"{_boundary(data)}: {shortened(rules)}{more}")


def _llm_call(event: Event, data: Mapping[str, Any]) -> Line:
    usage = data.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    used = f", {counted(tokens, 'token')}" if tokens is not None else ""
    what = f"{data.get('provider')} {data.get('model')}: {data.get('outcome')}"
    return Line("model", _item(event, "item"), f"{shortened(what)}, {duration(data.get('latency_ms'))}{used}")


def _llm_delta(event: Event, data: Mapping[str, Any]) -> Line:
    return Line("text", _item(event, "item"), shortened(json.dumps(data.get("text"), ensure_ascii=False)))


def _replan(event: Event, data: Mapping[str, Any]) -> Line:
    removed, added = (", ".join(map(str, _listed(data, key))) or "nothing" for key in ("removed", "added"))
    return Line("replan", f"#{data.get('number')}", f"out: {shortened(removed)}; in: {shortened(added)}")


def _workflow_complete(event: Event, data: Mapping[str, Any]) -> Line:
    text = f"{data.get('status')} in {duration(data.get('duration_ms'))}"
    if data.get("llm_calls"):
        text += f", {counted(data['llm_calls'], 'model call')}"
    if data.get("error_type"):
        text += f"; {_error(data)}"
    return Line("end", "", text)


_WORDS: Final[dict[type[Any], Callable[[Event, Mapping[str, Any]], Line]]] = {
    WorkflowStart: _workflow_start,
    StepStart: _step_start,
    StepComplete: _step_complete,
    StepFail: _step_fail,
    StepRetry: _step_retry,
    StepSkip: _step_skip,
    StepCancel: _step_cancel,
    ItemComplete: _item_complete,
    ItemFail: _item_fail,
    ValidationStart: _validation_start,
    ValidationComplete: _validation_complete,
    ValidationFail: _validation_fail,
    LLMCall: _llm_call,
    LLMDelta: _llm_delta,
    PlanReplaced: _replan,
    WorkflowComplete: _workflow_complete,
}
