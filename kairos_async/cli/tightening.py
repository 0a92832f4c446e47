"""`kairos tighten`: one run of a target, to see which keys its steps use of those that they may read."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from kairos_async.cli.errors import ExitCode, one_line
from kairos_async.cli.inputs import collect_inputs
from kairos_async.cli.load import load_workflow
from kairos_async.cli.locate import allowed_roots, locate
from kairos_async.cli.running import RunOptions, prepared, watched
from kairos_async.cli.streams import result_stream
from kairos_async.outcomes import WorkflowStatus
from kairos_async.workflow import ScopeReport


def tighten(options: RunOptions) -> ExitCode:
    """Run the target once and print the read_keys that would have been enough.

    Raises:
        CommandError, KairosError: nothing was run.
    """
    located = locate(options.target, allowed_roots(options.workflows_dir))
    inputs = collect_inputs(options.given, options.input_file, options.settings)
    with result_stream() as stream:
        workflow = prepared(load_workflow(located), options)
        result = watched(workflow, lambda: workflow.run(inputs, timeout=options.timeout), options)
        if result is None:
            return ExitCode.INTERRUPTED
        console = Console(file=stream, highlight=False)
        reports = workflow.check_scopes()
        if not reports:
            console.print("Every step that ran is granted just what it reads.")
        for name, report in reports.items():
            console.print(_advice(name, report), soft_wrap=True)
        if result.status is not WorkflowStatus.COMPLETE:
            said = one_line(f"the run failed, so some steps may not have read all they need: {result.error_message}")
            console.print(Text(said, "yellow"), soft_wrap=True)
    return ExitCode.COMPLETE if result.status is WorkflowStatus.COMPLETE else ExitCode.FAILED


def _advice(step: str, report: ScopeReport) -> Text:
    """Return one line: what to declare, and why."""
    keys = ", ".join(f'"{key}"' for key in sorted(report.used))
    why = "it has none" if report.unrestricted else f"it did not read {', '.join(sorted(report.unused))}"
    return Text.assemble((step, "bold"), f"  read_keys=[{keys}]", (f"  {why}", "bright_black"))
