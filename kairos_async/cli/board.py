"""The live display as lines: what a run looks like now, in this much room. Pure; the painter paints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from kairos_async.cli.tracker import RUNNING, StepState, Tracker
from kairos_async.cli.tree import Branch, tree_of
from kairos_async.pictures.portrait import duration_text
from kairos_async.pictures.style import sign, word
from kairos_async.security import terminal_text

COLORS: Final = {
    "completed": "green",
    "complete": "green",
    "failed_final": "bold red",
    "failed": "bold red",
    "skipped": "bright_black",
    "cancelled": "yellow",
    "interrupted": "yellow",
    "running": "cyan",
    "retrying": "yellow",
    "waiting": "bright_black",
}
_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PER_SECOND: Final = 10
_BAR: Final = 20
_URGENCY: Final = {"failed_final": 0, "retrying": 1, "running": 2, "cancelled": 3, "completed": 4, "skipped": 9}
"""Which steps are shown first when not all fit; those that wait have 6."""


def board(tracker: Tracker, width: int, height: int, now: float, *, live: bool = True) -> list[Text]:
    """Return the lines of the display, none wider than `width` and no more than `height`.

    Args:
        tracker: the run; its lock is held by the caller.
        width: columns.
        height: lines.
        now: seconds since the epoch.
        live: whether the run goes on: then things that are under way turn.
    """
    lines = [_headline(tracker, width, now)]
    room = max(1, height - len(lines))
    if len(tracker.steps) <= room:  # only then: the tree of 10,000 steps takes 150 ms, and the run waits for the lock
        branches = tree_of({name: state.needs for name, state in tracker.steps.items()})
        column = max((len(branch.guide) + len(branch.name) for branch in branches), default=0)
        lines += [_row(tracker, branch, min(column, width // 2), width, now, live=live) for branch in branches]
        return lines
    chosen = _most_urgent(list(tracker.steps.values()), room - 1)
    column = min(max((len(state.name) for state in chosen), default=0), width // 2)
    lines += [_row(tracker, Branch("", state.name), column, width, now, live=live) for state in chosen]
    shown = {state.name for state in chosen}
    lines.append(_rest([state for name, state in tracker.steps.items() if name not in shown], width))
    return lines


def _most_urgent(states: Sequence[StepState], room: int) -> list[StepState]:
    """Return the steps that fit, in their own order: what failed, what is under way, what ended last, what is next."""

    def rank(state: StepState) -> tuple[int, float]:
        return _URGENCY.get(state.status, 6), -(state.ended or 0.0)

    chosen = {state.name for state in sorted(states, key=rank)[:room]}
    return [state for state in states if state.name in chosen]


def _rest(hidden: Sequence[StepState], width: int) -> Text:
    counts: dict[str, int] = {}
    for state in hidden:
        counts[state.status] = counts.get(state.status, 0) + 1
    told = ", ".join(f"{count} {word(status)}" for status, count in counts.items())
    return _fitted(Text(f"… and {told}", "bright_black"), width)


def _headline(tracker: Tracker, width: int, now: float) -> Text:
    counts = tracker.counts()
    ended = sum(count for status, count in counts.items() if status not in RUNNING and status != "waiting")
    status = tracker.status if tracker.ended is not None else "running"
    line = Text(sign(status), COLORS.get(status, ""))
    line.append(f" {terminal_text(tracker.workflow)}", "bold")
    line.append(f"  {ended}/{tracker.total} steps", "cyan" if tracker.ended is None else "")
    if tracker.started is not None:
        line.append(f"  {duration_text(((tracker.ended or now) - tracker.started) * 1000)}")
    extras = [
        (counts["failed_final"], "failed", "bold red"),
        (counts["skipped"], "skipped", "bright_black"),
        (tracker.retries, "retries" if tracker.retries != 1 else "retry", "yellow"),
        (tracker.calls, "model calls" if tracker.calls != 1 else "model call", ""),
        (tracker.tokens, "tokens", ""),
    ]
    for number, what, style in extras:
        if number:
            line.append("  ")
            line.append(f"{number:,} {what}", style)
    return _fitted(line, width)


def _row(tracker: Tracker, branch: Branch, column: int, width: int, now: float, *, live: bool) -> Text:
    state = tracker.steps[branch.name]
    color = COLORS.get(state.status, "")
    line = Text(branch.guide, "bright_black")
    line.append(f"{_sign(state, now, live=live)} ", color)
    name = terminal_text(state.name)
    room = max(4, column - len(branch.guide))
    shown = name if len(name) <= room else name[: room - 1] + "…"
    line.append(f"{shown:<{room}}", "bright_black" if state.status in ("waiting", "skipped") else "")
    took = ""
    if state.started is not None:
        took = duration_text(max(0.0, (state.ended or tracker.ended or now) - state.started) * 1000)
    line.append(f"  {took:>8}", "cyan" if state.status in RUNNING else "bright_black")
    _append_middle(line, tracker, state, now)
    return _fitted(line, width)


def _sign(state: StepState, now: float, *, live: bool) -> str:
    if state.status == "running" and live:
        return _SPINNER[int(now * _PER_SECOND) % len(_SPINNER)]
    return "↻" if state.status == "retrying" else sign(state.status)


def _append_middle(line: Text, tracker: Tracker, state: StepState, now: float) -> None:
    """Append what is worth knowing of a step beyond its time: items, the next attempt, why it failed."""
    if state.items is not None:
        filled = round(_BAR * state.done / state.items) if state.items else _BAR
        if state.status == "running":
            line.append("  ")
            line.append("━" * filled, "green")
            line.append("─" * (_BAR - filled), "bright_black")
        line.append(f"  {state.done:,}/{state.items:,}" if state.status == "running" else f"  {state.items:,} items")
        if state.failed:
            line.append(f"  {state.failed:,} failed", "red")
    if state.status == "retrying":
        left = state.retry_at - now
        when = f"attempt {state.attempt} in {left:.1f} s" if left > 0.05 else f"attempt {state.attempt}"
        line.append(f"  {when}", "yellow")
    elif state.attempt > 1:
        line.append(f"  {state.attempt} attempts", "yellow")
    if state.status == "waiting" and tracker.ended is None:
        open_needs = [need for need in state.needs if _is_open(tracker, need)]
        if open_needs:
            line.append(f"  after {', '.join(map(terminal_text, open_needs[:6]))}", "bright_black")
    if state.note:
        line.append("  ")
        line.append(terminal_text(state.note), "red" if state.status == "failed_final" else "bright_black")


def _is_open(tracker: Tracker, name: str) -> bool:
    state = tracker.steps.get(name)
    return state is not None and state.ended is None


def _fitted(line: Text, width: int) -> Text:
    line.truncate(max(1, width), overflow="ellipsis")
    return line
