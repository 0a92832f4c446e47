"""Audit the licences and requirements of the packages that are installed here, or of a directory of wheels.

    python dev.py demo                     # this environment
    python dev.py demo path/to/wheels      # wheels, or installed packages, in a directory
    python dev.py demo --json              # the whole report as JSON
    kairos run examples/licence_audit.py   # the same workflow from the command line, seen live

What it shows of the library: a foreach over real and partly broken input, with sync work in threads, a contract for
each item and ALLOW_PARTIAL; steps that run side by side as soon as their needs are met; progress from events; and a
result that knows how long each step took, and which items failed and why.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from auditing import report as reporting
from auditing.families import classify
from auditing.metadata import Package, environment_paths, find_distributions, read_package
from auditing.requirements import brought_along, components, direct_requirements
from kairos_async import (
    Event,
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    Step,
    StepContext,
    StepResult,
    Workflow,
    WorkflowResult,
    step,
)


@step
def discover(ctx: StepContext) -> list[str]:
    """Find what there is to audit: in the directories of the input `roots`, else in this environment."""
    roots: list[str] = ctx.inputs["roots"] if "roots" in ctx.inputs else environment_paths()
    return find_distributions(roots)


def read(ctx: StepContext) -> dict[str, object]:
    """Read the metadata of one distribution. It waits for the disk, so it is sync and runs in a worker thread."""
    return read_package(str(ctx.item))


@step(depends_on=["read"])
def inventory(ctx: StepContext) -> dict[str, Any]:
    """Keep one package of each name."""
    packages, hidden = reporting.first_of_each_name(ctx.inputs["read"])
    return {"packages": packages, "hidden": hidden}


@step(depends_on=["inventory"])
def licences(ctx: StepContext) -> list[dict[str, str | None]]:
    """Sort the packages into licence families."""
    return [
        classify(package["licence_expression"], package["licence_text"], package["licence_classifiers"])._asdict()
        for package in ctx.inputs["inventory"]["packages"]
    ]


@step(depends_on=["inventory"])
def requirements(ctx: StepContext) -> dict[str, Any]:
    """Find who requires whom."""
    packages = ctx.inputs["inventory"]["packages"]
    found = direct_requirements({package["name"]: package["requires"] for package in packages})
    return {"direct": list(found.direct.items()), "missing": found.missing, "invalid": found.invalid}


@step(depends_on=["requirements"])
def cycles(ctx: StepContext) -> list[list[str]]:
    """Find the packages that require each other in a circle."""
    return [members for members in components(dict(ctx.inputs["requirements"]["direct"])) if len(members) > 1]


@step(depends_on=["requirements"])
def transitive(ctx: StepContext) -> list[int]:
    """Count what each package brings along."""
    return list(brought_along(dict(ctx.inputs["requirements"]["direct"])).values())


@step(depends_on=["licences", "requirements", "cycles", "transitive"])
def report(ctx: StepContext) -> dict[str, Any]:
    """Join the branches."""
    of = ctx.inputs
    direct = [required for _, required in of["requirements"]["direct"]]
    return {
        **reporting.join(of["inventory"]["packages"], of["licences"], direct, of["transitive"]),
        "cycles": of["cycles"],
        "hidden": of["inventory"]["hidden"],
        "missing": of["requirements"]["missing"],
        "invalid": of["requirements"]["invalid"],
    }


def audit(hooks: Sequence[Callable[[Event], object]] = ()) -> Workflow:
    """Return the audit as a workflow; its input is `roots`, directories to look into in place of this environment."""
    reading = Step(
        "read",
        read,
        foreach=discover,
        max_concurrency=16,
        foreach_policy=ForeachPolicy.ALLOW_PARTIAL,
        output_contract=Package,
        # A file is as broken on the second reading as on the first. Of a foreach that allows parts, one item fails.
        failure_policy=FailurePolicy(on_execution_fail=FailureAction.ABORT, on_validation_fail=FailureAction.ABORT),
    )
    steps = [discover, reading, inventory, licences, requirements, cycles, transitive, report]
    return Workflow(name="licence-audit", steps=steps, hooks=hooks)


workflow = audit()
"""What `kairos run examples/licence_audit.py` runs."""


def findings(result: WorkflowResult, where: str) -> dict[str, Any]:
    """Return the report with what only the finished run knows: its times, and the items that failed."""
    assert isinstance(result.output, dict)
    steps = sorted(result.step_results.values(), key=lambda outcome: -outcome.duration_ms)
    return {
        "where": where,
        "seconds": result.duration_ms / 1000,
        **result.output,
        "dirty": dirty(result.step_results["discover"], result.step_results["read"]),
        "slowest": [{"step": outcome.name, "ms": round(outcome.duration_ms, 1)} for outcome in steps],
    }


def dirty(discovered: StepResult, read: StepResult) -> list[dict[str, str]]:
    """Return what could not be read, and why."""
    assert isinstance(discovered.output, list)
    assert read.items is not None
    return [
        {
            "file": Path(str(discovered.output[item.index])).name,
            "error": str(item.error_type),
            "problem": str(item.error_message).removeprefix("The output of step 'read': "),
        }
        for item in read.items.exceptional
    ]


def progress_hook(progress: Progress) -> Callable[[Event], None]:
    """Return a hook that moves a bar while items are read, and notes each step that is done."""
    bar = progress.add_task("reading metadata", total=None)

    def on_event(event: Event) -> None:
        match event.event_type:
            case "item_complete" | "item_fail":
                progress.update(bar, completed=int(str(event.data["done"])), total=int(str(event.data["total"])))
            case "step_complete":
                progress.console.print(f"{event.step_id} done", style="dim")

    return on_event


def main(arguments: Sequence[str]) -> None:
    """Run the audit that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", nargs="?", help="wheels or installed packages; left out: this environment")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON, and nothing else")
    options = parser.parse_args(arguments)
    if options.directory is not None and not Path(options.directory).is_dir():
        parser.error(f"{options.directory!r} is not a directory")
    where = options.directory or sys.prefix
    inputs = {"roots": [options.directory] if options.directory else environment_paths()}
    if options.json:
        result = audit().run_sync(inputs)
        print(json.dumps(findings(result.raise_for_status(), where), indent=2))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        result = audit([progress_hook(progress)]).run_sync(inputs)
    reporting.show(Console(), findings(result.raise_for_status(), where))


if __name__ == "__main__":
    main(sys.argv[1:])
