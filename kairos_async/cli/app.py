"""The commands and their options, and the one place where what goes wrong becomes a line and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import Annotated, Any

import typer

import kairos_async
from kairos_async.cli.checking import GraphFormat, show_graph, validate
from kairos_async.cli.errors import CommandError, ExitCode, explain, one_line, reason
from kairos_async.cli.inspecting import InspectOptions, inspect
from kairos_async.cli.listing import list_runs
from kairos_async.cli.running import RunOptions, run
from kairos_async.cli.streams import open_standard_streams
from kairos_async.cli.tightening import tighten
from kairos_async.exceptions import KairosError
from kairos_async.observe import LogLevel

app = typer.Typer(
    name="kairos",
    help="Run, check, draw and inspect workflows.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

TargetText = Annotated[
    str, typer.Argument(metavar="TARGET", help="A file or a dotted module; either with :NAME of the workflow in it.")
]
WorkflowsDir = Annotated[
    str | None,
    typer.Option("--workflows-dir", metavar="DIR", envvar="KAIROS_WORKFLOWS_DIR", help="Load targets from there too."),
]
Given = Annotated[str | None, typer.Option("--input", "-i", metavar="JSON", help="The inputs, as a JSON object.")]
InputFile = Annotated[str | None, typer.Option("--input-file", metavar="FILE", help="A file with that object.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="One input; the value is JSON, or else text."),
]
Limit = Annotated[int | None, typer.Option("--max-concurrency", metavar="N", help="Attempts at once.")]
Seconds = Annotated[float | None, typer.Option("--timeout", metavar="S", help="Seconds for the whole run.")]


@app.command("run")
def run_command(
    target: TargetText,
    given: Given = None,
    input_file: InputFile = None,
    settings: Settings = None,
    max_concurrency: Limit = None,
    timeout: Seconds = None,
    log_file: Annotated[str | None, typer.Option("--log-file", metavar="FILE", help="Write the log there.")] = None,
    log_format: Annotated[
        str | None, typer.Option("--log-format", metavar="FORMAT", help="console, jsonl or json (the whole log).")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything, outputs too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but the result.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the whole result there, as JSON.")
    ] = None,
    workflows_dir: WorkflowsDir = None,
) -> int:
    """Run a workflow. Exit code 0: complete; 1: failed; 2: nothing was run; 130: interrupted."""
    if verbose and quiet:
        raise CommandError("--verbose and --quiet exclude each other.")
    return run(
        RunOptions(
            target=target,
            workflows_dir=workflows_dir,
            given=given,
            input_file=input_file,
            settings=settings or [],
            max_concurrency=max_concurrency,
            timeout=timeout,
            log_file=log_file,
            log_format=log_format,
            level=LogLevel.VERBOSE if verbose else LogLevel.MINIMAL if quiet else LogLevel.NORMAL,
            output=output,
        )
    )


@app.command("validate")
def validate_command(target: TargetText, workflows_dir: WorkflowsDir = None) -> int:
    """Check plan, contracts, edges, scopes and labels, without running an action."""
    return validate(target, workflows_dir)


@app.command("graph")
def graph_command(
    target: TargetText,
    form: Annotated[GraphFormat, typer.Option("--format", "-f", help="How it is drawn.")] = GraphFormat.TEXT,
    workflows_dir: WorkflowsDir = None,
) -> int:
    """Draw the graph of a workflow."""
    return show_graph(target, form, workflows_dir)


@app.command("inspect")
def inspect_command(
    log: Annotated[str, typer.Argument(metavar="LOG", help="A log that a run wrote: JSON lines, or one document.")],
    failures: Annotated[bool, typer.Option("--failures", "-f", help="Only what went wrong.")] = False,
    step: Annotated[str | None, typer.Option("--step", "-s", metavar="NAME", help="Only this step.")] = None,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Which run, if the log has several; else the last.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on while the log grows, until the run ends.")] = False,
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="Write a page with pictures.")] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> int:
    """Show how a run went: summary, timeline, attempts."""
    return inspect(
        InspectOptions(
            log=log, failures=failures, step=step, run_id=run_id, follow=follow, html=html, no_color=no_color
        )
    )


@app.command("runs")
def runs_command(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A directory with logs.")] = ".",
) -> int:
    """List the runs whose logs are in a directory, the newest first."""
    return list_runs(directory)


@app.command("tighten")
def tighten_command(
    target: TargetText,
    given: Given = None,
    input_file: InputFile = None,
    settings: Settings = None,
    timeout: Seconds = None,
    workflows_dir: WorkflowsDir = None,
) -> int:
    """Run a workflow once, and say which keys its steps may read and did not."""
    return tighten(
        RunOptions(
            target=target,
            workflows_dir=workflows_dir,
            given=given,
            input_file=input_file,
            settings=settings or [],
            timeout=timeout,
        )
    )


@app.command("version")
def version_command() -> int:
    """Say which version this is."""
    typer.echo(f"kairos_async {kairos_async.__version__}")
    return ExitCode.COMPLETE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. Nothing is raised; what goes wrong is one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(_command()(given or ["--help"], prog_name="kairos", standalone_mode=False) or ExitCode.COMPLETE)
    except CommandError as error:
        return _complain(one_line(str(error)), error.code)
    except KairosError as error:
        return _complain(explain(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("kairos: interrupted\n")
        return ExitCode.INTERRUPTED
    except OSError as error:
        return _complain(f"the operating system refuses: {reason(error)}")
    except SystemExit:
        return ExitCode.COMPLETE  # typer's answer to a reader of stdout that has gone: there is nobody to tell
    except Exception as error:
        said = getattr(error, "format_message", None)  # a wrong use of an option; its class is typer's own affair
        return _complain(
            one_line(said()) if said is not None else f"this is a fault of kairos itself: {explain(error)}"
        )


def _command() -> Any:
    return typer.main.get_command(app)


def _complain(text: str, code: ExitCode = ExitCode.USAGE) -> int:
    sys.stderr.write(f"kairos: {text}\n")
    return code


def entry() -> None:
    """Run the command line and end the process.

    A step that was abandoned at its timeout leaves a thread that cannot be stopped, and Python would wait for it.
    """
    open_standard_streams()
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    left = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    for thread in left:
        thread.join(0.2)
    if any(thread.is_alive() for thread in left):
        os._exit(code)
    sys.exit(code)
