"""`kairos runs`: the runs whose logs are in a directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kairos_async.cli.board import COLORS
from kairos_async.cli.errors import CommandError, ExitCode, quoted
from kairos_async.cli.from_log import INTERRUPTED
from kairos_async.cli.streams import result_stream
from kairos_async.exceptions import ConfigError
from kairos_async.observe import RunLog, read_logs
from kairos_async.pictures.portrait import duration_text
from kairos_async.pictures.style import sign
from kairos_async.security import terminal_text

_ENDINGS = (".jsonl", ".json")
_MOST_FILES = 1_000
_MOST_BYTES = 512 * 1024 * 1024


def list_runs(directory: str) -> ExitCode:
    """Print a table of the runs, the newest first.

    Raises:
        CommandError: there is no such directory, or no way to write the table.
    """
    found, passed_over = _runs_in(directory)
    found.sort(key=lambda entry: entry[1].events[0].timestamp, reverse=True)
    several = len({name for name, _ in found}) < len(found)
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    table.add_column("began", no_wrap=True, min_width=16)
    table.add_column("workflow", no_wrap=True, overflow="ellipsis")
    table.add_column("status", no_wrap=True, min_width=13)
    table.add_column("took", no_wrap=True, min_width=7, justify="right")
    table.add_column("steps", no_wrap=True, min_width=7, justify="right")
    table.add_column("file", no_wrap=True, overflow="ellipsis")
    if several:
        table.add_column("run", no_wrap=True, min_width=8)
    for name, log in found:
        status = INTERRUPTED if log.interrupted else log.status.value
        took = (log.events[-1].timestamp - log.events[0].timestamp).total_seconds() * 1000
        table.add_row(
            log.events[0].timestamp.astimezone().strftime("%Y-%m-%d %H:%M"),
            Text(terminal_text(log.workflow_name)),
            Text(f"{sign(status)} {status}", COLORS.get(status, "")),
            duration_text(log.summary.duration_ms or took),
            f"{log.summary.steps_completed}/{log.summary.steps}",
            Text(terminal_text(name)),
            *([Text(terminal_text(log.run_id[:8]))] if several else []),
        )
    if found:
        with result_stream() as stream:
            Console(file=stream, highlight=False).print(table)
    else:
        sys.stderr.write("kairos: there is no run log in this directory\n")
    if passed_over:
        sys.stderr.write(f"kairos: passed over {passed_over} files that are no run logs\n")
    return ExitCode.COMPLETE


def _runs_in(directory: str) -> tuple[list[tuple[str, RunLog]], int]:
    """Return the logs by file name, and how many files are none."""
    try:
        with os.scandir(directory) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.endswith(_ENDINGS) and entry.is_file() and entry.stat().st_size <= _MOST_BYTES
            )
    except (OSError, ValueError):
        raise CommandError(f"directory {quoted(directory)} cannot be read.") from None
    found: list[tuple[str, RunLog]] = []
    passed_over = 0
    for name in names[:_MOST_FILES]:
        try:
            found += [(name, log) for log in read_logs(Path(directory) / name)]
        except ConfigError:
            passed_over += 1
    return found, passed_over
