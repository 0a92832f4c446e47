"""`kairos inspect`: how a logged run went."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from kairos_async.cli.board import COLORS, board
from kairos_async.cli.errors import CommandError, ExitCode, quoted
from kairos_async.cli.files import Draft
from kairos_async.cli.from_log import portrait_of_log
from kairos_async.cli.gantt import gantt
from kairos_async.cli.painter import Painter
from kairos_async.cli.streams import is_terminal, result_stream
from kairos_async.cli.tracker import Tracker
from kairos_async.exceptions import ConfigError
from kairos_async.observe import ConsoleSink, RunLog, read_log
from kairos_async.pictures import Portrait, StepRow, page
from kairos_async.pictures.portrait import AttemptBar, duration_text, slowest_path
from kairos_async.pictures.style import sign, word
from kairos_async.security import terminal_text

_POLL = 0.25
"""Seconds between two looks at a log that is followed."""
_LONGEST_LINE = 1 << 20
"""Bytes without an end of line after which a file that is followed is taken for no log that has only begun."""
_MOST_ITEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectOptions:
    """What the command line says of an inspection."""

    log: str
    failures: bool = False
    step: str | None = None
    run_id: str | None = None
    follow: bool = False
    html: str | None = None
    no_color: bool = False


def inspect(options: InspectOptions) -> ExitCode:
    """Show the log, or write its page.

    Raises:
        CommandError, ConfigError: there is no such log, nothing in it that was asked for, or no way to write it.
    """
    run_id = _follow(options) if options.follow else options.run_id
    log = read_log(options.log, run_id)
    portrait = portrait_of_log(log)
    if options.html is not None:
        content = page(portrait)
        Draft(options.html, "page").keep(content)
        sys.stderr.write(f"kairos: wrote {quoted(options.html)}\n")
        return ExitCode.COMPLETE
    rows = _chosen(portrait, options)
    with result_stream() as stream:
        console = Console(file=stream, highlight=False, no_color=options.no_color or None)
        show(console, portrait, rows, details=options.step is not None)
    return ExitCode.COMPLETE


def _chosen(portrait: Portrait, options: InspectOptions) -> list[StepRow]:
    """Return the rows that were asked for.

    Raises:
        CommandError: there is no step of this name.
    """
    rows = list(portrait.rows)
    if options.step is not None:
        rows = [row for row in rows if row.name == options.step]
        if not rows:
            known = ", ".join(row.name for row in portrait.rows[:10])
            raise CommandError(f"the log has no step {quoted(options.step)}. It has: {known}.")
    if options.failures:
        rows = [row for row in rows if _is_troubled(row)]
    return rows


def _is_troubled(row: StepRow) -> bool:
    lost = row.items is not None and bool(row.items.troubled)
    return row.status != "completed" or len(row.attempts) > 1 or lost


def show(console: Console, portrait: Portrait, rows: Sequence[StepRow], *, details: bool) -> None:
    """Print summary, timeline, and the attempts of the steps of which there is something to say."""
    color = COLORS.get(portrait.status, "")
    head = Text.assemble(
        (terminal_text(portrait.workflow), "bold"),
        "  ",
        (f"{sign(portrait.status)} {portrait.status}", color),
        f" after {duration_text(portrait.duration_ms)}",
    )
    console.print(head)
    counts: dict[str, int] = {}
    for row in portrait.rows:
        counts[row.status] = counts.get(row.status, 0) + 1
    facts = [f"{count} {word(status)}" for status, count in counts.items()]
    facts += [f"{what} {value}" for what, value in portrait.facts]
    _print(console, Text(f"{', '.join(facts)}, run {portrait.run_id[:8]}", "bright_black"))
    if portrait.error:
        _print(console, Text(terminal_text(portrait.error), "red"))
    for warning in portrait.warnings:
        _print(console, Text(terminal_text(warning), "yellow"))
    console.print()
    for line in gantt(portrait, rows, slowest_path(portrait.rows), console.width):
        console.print(line, overflow="crop", no_wrap=True)
    for row in rows:
        if details or _is_troubled(row):
            _show_step(console, row)


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=not console.is_terminal)


def _show_step(console: Console, row: StepRow) -> None:
    console.print()
    title = Text(f"{sign(row.status)} ", COLORS.get(row.status, ""))
    title.append(terminal_text(row.name), "bold")
    title.append(f"  {word(row.status)}")
    if row.reason:
        title.append(f": {terminal_text(row.reason)}", "bright_black")
    _print(console, title)
    if row.needs:
        _print(console, Text(f"  after {', '.join(map(terminal_text, row.needs))}", "bright_black"))
    for attempt in row.attempts:
        _show_attempt(console, attempt)
    if row.items is not None:
        counted = ", ".join(f"{count:,} {word(status)}" for status, count in sorted(row.items.counts.items()))
        _print(console, Text(f"  {row.items.total:,} items: {counted or 'none has ended'}"))
        for bar in row.items.troubled[:_MOST_ITEMS]:
            tried = f" after {bar.attempts} attempts" if bar.attempts > 1 else ""
            said = f": {terminal_text(bar.error)}" if bar.error else ""
            _print(console, Text(f"    item {bar.position} {word(bar.status)}{tried}{said}", "red"))
        more = len(row.items.troubled) - _MOST_ITEMS
        if more > 0:
            console.print(Text(f"    and {more:,} more", "bright_black"))
    elif row.error and not row.attempts:
        _print(console, Text(f"  {terminal_text(row.error)}", "red"))


def _show_attempt(console: Console, attempt: AttemptBar) -> None:
    line = Text(f"  {sign(attempt.status)} attempt {attempt.number}  {attempt.status:<9}")
    line.append(f" {duration_text(attempt.duration_ms):>9} at {duration_text(attempt.started_ms)}", "bright_black")
    if attempt.error:
        line.append(f"  {terminal_text(attempt.error)}", "red")
    _print(console, line)
    if attempt.hint:
        _print(console, Text(f"      the next attempt was told: {terminal_text(attempt.hint)}", "bright_black"))


def _follow(options: InspectOptions) -> str | None:
    """Show the run live until its log ends: on a terminal as it is painted during a run, else as lines.

    Returns which run it was. Others may begin in the same file meanwhile.
    """
    tracker = Tracker()
    if is_terminal(sys.stderr):
        with Painter(sys.stderr, lambda width, height: _locked_board(tracker, width, height)):
            return _feed(options, tracker)
    return _feed(options, tracker, ConsoleSink(sys.stderr))


def _locked_board(tracker: Tracker, width: int, height: int) -> list[Text]:
    with tracker.lock:
        return board(tracker, width, height, time.time(), live=tracker.ended is None)


def _feed(options: InspectOptions, tracker: Tracker, sink: ConsoleSink | None = None) -> str | None:
    known, size, run_id = 0, -1, options.run_id
    while tracker.ended is None:
        grown = _size(options.log)
        log = _readable(options.log, run_id) if grown != size else None
        size = grown
        for event in log.events[known:] if log is not None else ():
            tracker(event)
            if sink is not None:
                sink.emit(event)
        if log is not None:
            known, run_id = len(log.events), log.run_id
        if tracker.ended is None:
            time.sleep(_POLL)
    return run_id


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0  # reading it will say what is wrong


def _readable(path: str, run_id: str | None) -> RunLog | None:
    """Return the log as it is now; None while its run has not written a whole line yet.

    Raises:
        ConfigError: there is no such file, or it is no run log.
    """
    begun = _has_line(path)  # asked first: it may grow while it is read
    try:
        return read_log(path, run_id)
    except ConfigError:
        if not begun:
            return None
        raise


def _has_line(path: str) -> bool:
    """Whether a whole line is there, or will never be: the file is none, or its first line is too long for an event."""
    if not os.path.isfile(path):
        return True
    with open(path, "rb") as file:
        head = file.read(_LONGEST_LINE)
    return b"\n" in head or len(head) == _LONGEST_LINE
