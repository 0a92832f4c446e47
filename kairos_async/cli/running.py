"""`kairos run`: one run of a target, seen live, with its result for people or for programs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TextIO

import anyio
import structlog
from anyio.abc import TaskStatus
from rich.console import Console
from rich.text import Text

from kairos_async.cli.board import board
from kairos_async.cli.errors import CommandError, ExitCode, one_line, quoted
from kairos_async.cli.files import Draft
from kairos_async.cli.inputs import collect_inputs
from kairos_async.cli.load import load_workflow
from kairos_async.cli.locate import allowed_roots, locate
from kairos_async.cli.painter import Painter
from kairos_async.cli.streams import is_terminal, open_standard_streams, result_stream
from kairos_async.cli.tracker import Tracker
from kairos_async.observe import ConsoleSink, FileSink, JSONLinesSink, LogLevel, RunLogger, Sink
from kairos_async.outcomes import WorkflowResult, WorkflowStatus
from kairos_async.security import terminal_text
from kairos_async.workflow import Workflow

_MOST_OUTPUT_LINES: Final = 40
"""Of a result that is shown to a person."""
LOG_FORMATS: Final = ("console", "jsonl", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line says of a run."""

    target: str
    workflows_dir: str | None = None
    given: str | None = None
    input_file: str | None = None
    settings: list[str] = field(default_factory=list)
    max_concurrency: int | None = None
    timeout: float | None = None
    log_file: str | None = None
    log_format: str | None = None
    level: LogLevel = LogLevel.NORMAL
    output: str | None = None


class _Interrupted(Exception):
    """The user ended the run. The run itself has been cancelled and has ended."""


def run(options: RunOptions) -> ExitCode:
    """Run the target and show how it ends.

    Raises:
        CommandError: nothing was run.
        KairosError: the inputs, or an option, are nothing that the workflow takes; nothing was run.
    """
    target = locate(options.target, allowed_roots(options.workflows_dir))
    inputs = collect_inputs(options.given, options.input_file, options.settings)
    draft = Draft(options.output, "output file") if options.output is not None else None
    try:
        with result_stream() as stream:
            workflow = prepared(load_workflow(target), options)
            result = watched(workflow, lambda: workflow.run(inputs, timeout=options.timeout), options)
            if result is None:
                return ExitCode.INTERRUPTED
            if draft is not None:
                draft.keep(_as_json(result))
            show_result(stream, result, shown_live=_is_live(options))
    finally:
        if draft is not None:
            draft.drop()
    return ExitCode.COMPLETE if result.status is WorkflowStatus.COMPLETE else ExitCode.FAILED


def prepared(workflow: Workflow, options: RunOptions) -> Workflow:
    """Return the workflow with the limit and the logger that the command line asks for."""
    if options.max_concurrency is not None:
        workflow = workflow.with_max_concurrency(options.max_concurrency)
    sinks = _sinks(options)
    if sinks:
        level = LogLevel.NORMAL if options.level is LogLevel.MINIMAL else options.level  # quiet is for the screen
        workflow.add_hook(RunLogger(level, sinks))
    return workflow


def _is_live(options: RunOptions) -> bool:
    to_screen = options.log_format is not None and options.log_file is None
    return is_terminal(sys.stderr) and options.level is not LogLevel.MINIMAL and not to_screen


def _sinks(options: RunOptions) -> list[Sink]:
    """Return where the log goes: to a file, and as lines to stderr if nothing is shown live there."""
    sinks: list[Sink] = []
    shape = options.log_format
    if shape is not None and shape not in LOG_FORMATS:
        raise CommandError(f"--log-format {quoted(shape)} is none of {', '.join(LOG_FORMATS)}.")
    if options.log_file is not None:
        shape = shape or ("json" if options.log_file.endswith(".json") else "jsonl")
        if shape == "console":
            raise CommandError("--log-format console is for the screen; a file takes jsonl or json.")
        sinks.append(
            FileSink(options.log_file, existing="replace", required=True)
            if shape == "json"
            else JSONLinesSink(options.log_file, existing="append", required=True)
        )
    elif shape is not None and shape != "console":
        raise CommandError(f"--log-format {shape} needs --log-file FILE.")
    if not _is_live(options) and options.level is not LogLevel.MINIMAL:
        sinks.append(ConsoleSink(sys.stderr))
    return sinks


def watched(
    workflow: Workflow, start: Callable[[], Awaitable[WorkflowResult]], options: RunOptions
) -> WorkflowResult | None:
    """Return the result of the run, seen live if a terminal is there; None if it was interrupted. Say its warnings."""
    broken_hooks = _kept_from_structlog()
    tracker = Tracker((node.name, workflow.graph.needs(node.name)) for node in workflow.graph.nodes)
    workflow.add_hook(tracker)
    with contextlib.ExitStack() as stack:
        painter = stack.enter_context(Painter(sys.stderr, _frame(tracker))) if _is_live(options) else None
        result: WorkflowResult | None = None
        with contextlib.suppress(KeyboardInterrupt, _Interrupted):
            result = anyio.run(_interruptible, start, painter)
    open_standard_streams()
    for warning in broken_hooks if result is None else result.warnings:
        sys.stderr.write(f"kairos: warning: {one_line(warning)}\n")
    if result is None:
        sys.stderr.write(f"kairos: interrupted: {_last_word(tracker)}\n")
    return result


def _kept_from_structlog() -> list[str]:
    """Return what is told of broken hooks from here on, where nobody has configured structlog, which would print it."""
    kept: list[str] = []

    def keep(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if event.get("event") != "hook_failed" or "error_message" not in event:
            return event
        kept.append(f"hook {event['hook']} raised {event['error_type']}: {event['error_message']}")
        raise structlog.DropEvent

    if not structlog.is_configured():
        structlog.configure(processors=[keep, *structlog.get_config()["processors"]])
    return kept


def _frame(tracker: Tracker) -> Callable[[int, int], list[Text]]:
    def frame(width: int, height: int) -> list[Text]:
        with tracker.lock:
            return board(tracker, width, height, time.time(), live=tracker.ended is None)

    return frame


async def _interruptible(start: Callable[[], Awaitable[WorkflowResult]], painter: Painter | None) -> WorkflowResult:
    """Run, and let the first Ctrl-C or SIGTERM cancel it. A second one ends the process at once.

    Raises:
        _Interrupted: it was cancelled, and has ended.
    """
    result: WorkflowResult | None = None
    failed: Exception | None = None
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            if os.name == "posix":
                await tasks.start(_cancel_on_signal, scope, painter)
            try:
                result = await start()
            except Exception as error:  # as it is, and not in the group that the task group would make of it
                failed = error
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
    if result is None:
        raise _Interrupted
    return result


async def _cancel_on_signal(
    scope: anyio.CancelScope, painter: Painter | None, *, task_status: TaskStatus[None]
) -> None:
    """Cancel the scope at the first signal. At the second, which only a run that does not end lives to see, leave."""
    os.register_at_fork(after_in_child=_forget_signals)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if scope.cancel_called:
                if painter is not None:
                    painter.restore()
                os._exit(ExitCode.INTERRUPTED)
            sys.stderr.write("kairos: ending the run; Ctrl-C again leaves it at once\n")
            scope.cancel()


def _forget_signals() -> None:
    """Have a process that a step forks, as `multiprocessing` does, end at a signal as any other. It would tell this one
    of it instead, through the socket that both have, and end the run."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _last_word(tracker: Tracker) -> str:
    """Return what was finished when the run was ended, and what was not."""
    with tracker.lock:
        names: dict[str, list[str]] = {}
        for state in tracker.steps.values():
            names.setdefault(state.status, []).append(terminal_text(state.name))
        completed = names.get("completed", [])
        told = f"{len(completed)} of {tracker.total} steps completed"
    if completed:
        told += f" ({_listed(completed)})"
    for status, what in (("cancelled", "cancelled"), ("failed_final", "failed")):
        if status in names:
            told += f"; {what}: {_listed(names[status])}"
    return f"{told}."


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _as_json(result: WorkflowResult) -> str:
    return json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def show_result(stream: TextIO, result: WorkflowResult, *, shown_live: bool) -> None:
    """Write the result: the whole of it as JSON for a program, its output for a person."""
    if not stream.isatty():
        stream.write(_as_json(result))
        return
    console = Console(file=stream, highlight=False)
    if not shown_live:
        console.print(f"{result.status} in {result.duration_ms / 1000:.2f} s", markup=False)
    if result.status is not WorkflowStatus.COMPLETE:
        console.print(one_line(f"{result.error_type}: {result.error_message}"), style="red", markup=False)
        return
    if result.output is None:
        return
    output = json.dumps(result.to_dict()["output"], ensure_ascii=False, indent=2)
    lines = terminal_text(output, lines=True).splitlines()
    for line in lines[:_MOST_OUTPUT_LINES]:
        console.print(line, markup=False, overflow="ellipsis", no_wrap=True)
    if len(lines) > _MOST_OUTPUT_LINES:
        rest = len(lines) - _MOST_OUTPUT_LINES
        console.print(f"… {rest:,} more lines; --output FILE has all of it", style="bright_black", markup=False)
