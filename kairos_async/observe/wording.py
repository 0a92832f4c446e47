"""The one table of what a logger shows: each type of event with the level from which on, and its line for a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

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
from kairos_async.observe.levels import LogLevel
from kairos_async.pictures.portrait import duration_text
from kairos_async.security import terminal_text

_LONGEST: Final = 300
"""Characters of one value that are shown."""
_MOST: Final = 1e15
"""Milliseconds that are believed."""


Said: TypeAlias = tuple[str, str]
"""What an event happened to, and more; either holds whatever the data hold."""


class Line(NamedTuple):
    """What a line says: a word for what happened, what it happened to, and more."""

    word: str
    subject: str
    text: str


class Shown(NamedTuple):
    """How a type of event is shown: from which level on, with which word, and what is said of the step by the data."""

    least: LogLevel
    word: str
    say: Callable[[str, Mapping[str, Any]], Said]


def shown_at(level: LogLevel) -> frozenset[type[Any]]:
    """The types of event that a logger of this level shows."""
    levels = level.up_to()
    return frozenset(kind for kind, shown in SHOWN.items() if shown.least in levels)


def in_words(event: Event) -> Line:
    """The event as the parts of a line, safe to print."""
    _, word, say = SHOWN[type(event)]
    return Line(word, *map(terminal_text, say(event.step_id or "", event.data)))


def duration(milliseconds: object) -> str:
    """A duration as people write it; `?` for what is none, as in a file that somebody else wrote."""
    if isinstance(milliseconds, int | float) and abs(milliseconds) < _MOST:
        return duration_text(milliseconds)
    return "?"


def counted(number: object, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shortened(text: str) -> str:
    """The text, cut to what is worth showing in a line."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _item(step: str, data: Mapping[str, Any], key: str) -> str:
    """The step, with the item's position if the event tells one."""
    position = data.get(key)
    return step if position is None else f"{step}[{position}]"


def _listed(data: Mapping[str, Any], key: str) -> list[Any]:
    """The list under the key; an empty one if there is none, as in a file that somebody else wrote."""
    value = data.get(key)
    return value if isinstance(value, list) else []


def _error(data: Mapping[str, Any]) -> str:
    kind, message = data.get("error_type"), data.get("error_message")
    return shortened(f"{kind}: {message}" if message else str(kind))


def _workflow_start(step: str, data: Mapping[str, Any]) -> Said:
    given = ", ".join(map(str, _listed(data, "inputs"))) or "none"
    return str(data.get("workflow")), f"{counted(data.get('steps'), 'step')}, inputs: {shortened(given)}"


def _step_start(step: str, data: Mapping[str, Any]) -> Said:
    return step, counted(data["items"], "item") if "items" in data else ""


def _step_complete(step: str, data: Mapping[str, Any]) -> Said:
    attempts, took = data.get("attempts"), data.get("duration_ms")
    text = duration_text(took) if type(took) is float and took < _MOST else duration(took)
    if attempts != 1 and isinstance(attempts, int) and attempts:  # a foreach has none of its own
        text += f", {attempts} attempts"
    if "output" in data:
        text += f" -> {shortened(json.dumps(data['output'], ensure_ascii=False))}"
    return step, text


def _step_fail(step: str, data: Mapping[str, Any]) -> Said:
    attempts = data.get("attempts")
    tried = f" after {counted(attempts, 'attempt')}" if attempts else ""
    return (step, f"{_error(data)} ({duration(data.get('duration_ms'))}{tried}; then: {data.get('action')})")


def _step_retry(step: str, data: Mapping[str, Any]) -> Said:
    delay = data.get("delay_s")
    pause = f"in {duration(delay * 1000)}" if isinstance(delay, int | float) and delay else "at once"
    return _item(step, data, "item"), f"attempt {data.get('attempt')}: {_error(data)}; again {pause}"


def _step_skip(step: str, data: Mapping[str, Any]) -> Said:
    return step, shortened(str(data.get("reason")))


def _step_cancel(step: str, data: Mapping[str, Any]) -> Said:
    return step, f"{shortened(str(data.get('reason')))} ({duration(data.get('duration_ms'))})"


def _item_complete(step: str, data: Mapping[str, Any]) -> Said:
    text = f"{duration(data.get('duration_ms'))}, {data.get('done')} of {data.get('total')}"
    return _item(step, data, "index"), text


def _item_fail(step: str, data: Mapping[str, Any]) -> Said:
    what = _error(data) if data.get("error_type") else str(data.get("status"))
    return _item(step, data, "index"), f"{what} ({data.get('done')} of {data.get('total')})"


def _boundary(data: Mapping[str, Any]) -> str:
    contract = data.get("contract")
    if type(contract) is not str or len(contract) > _LONGEST:
        contract = shortened(str(contract))
    return f"{data.get('boundary')} against {contract}"


def _validation_start(step: str, data: Mapping[str, Any]) -> Said:
    return step, _boundary(data)


def _validation_complete(step: str, data: Mapping[str, Any]) -> Said:
    return step, _boundary(data)


def _validation_fail(step: str, data: Mapping[str, Any]) -> Said:
    broken = [error for error in _listed(data, "errors") if isinstance(error, dict)]
    rules = "; ".join(f"{error.get('field') or 'the whole'}: expected {error.get('expected')}" for error in broken[:5])
    more = f" (and {len(broken) - 5} more)" if len(broken) > 5 else ""
    return step, f"{_boundary(data)}: {shortened(rules)}{more}"


def _llm_call(step: str, data: Mapping[str, Any]) -> Said:
    usage = data.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    used = f", {counted(tokens, 'token')}" if tokens is not None else ""
    what = f"{data.get('provider')} {data.get('model')}: {data.get('outcome')}"
    return _item(step, data, "item"), f"{shortened(what)}, {duration(data.get('latency_ms'))}{used}"


def _llm_delta(step: str, data: Mapping[str, Any]) -> Said:
    return _item(step, data, "item"), shortened(json.dumps(data.get("text"), ensure_ascii=False))


def _replan(step: str, data: Mapping[str, Any]) -> Said:
    removed, added = (", ".join(map(str, _listed(data, key))) or "nothing" for key in ("removed", "added"))
    return f"#{data.get('number')}", f"out: {shortened(removed)}; in: {shortened(added)}"


def _workflow_complete(step: str, data: Mapping[str, Any]) -> Said:
    text = f"{data.get('status')} in {duration(data.get('duration_ms'))}"
    if data.get("llm_calls"):
        text += f", {counted(data['llm_calls'], 'model call')}"
    if data.get("error_type"):
        text += f"; {_error(data)}"
    return "", text


SHOWN: Final[Mapping[type[Any], Shown]] = {
    WorkflowStart: Shown(LogLevel.MINIMAL, "run", _workflow_start),
    StepFail: Shown(LogLevel.MINIMAL, "FAIL", _step_fail),
    ValidationFail: Shown(LogLevel.MINIMAL, "invalid", _validation_fail),
    WorkflowComplete: Shown(LogLevel.MINIMAL, "end", _workflow_complete),
    StepStart: Shown(LogLevel.NORMAL, "start", _step_start),
    StepComplete: Shown(LogLevel.NORMAL, "done", _step_complete),
    StepRetry: Shown(LogLevel.NORMAL, "retry", _step_retry),
    StepSkip: Shown(LogLevel.NORMAL, "skip", _step_skip),
    StepCancel: Shown(LogLevel.NORMAL, "cancel", _step_cancel),
    ItemFail: Shown(LogLevel.NORMAL, "FAIL", _item_fail),
    ValidationComplete: Shown(LogLevel.NORMAL, "valid", _validation_complete),
    LLMCall: Shown(LogLevel.NORMAL, "model", _llm_call),
    PlanReplaced: Shown(LogLevel.NORMAL, "replan", _replan),
    ItemComplete: Shown(LogLevel.VERBOSE, "item", _item_complete),
    ValidationStart: Shown(LogLevel.VERBOSE, "check", _validation_start),
    LLMDelta: Shown(LogLevel.VERBOSE, "text", _llm_delta),
}
