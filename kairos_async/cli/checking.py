"""`kairos validate` and `kairos graph`: what a workflow is, said without running any of its actions."""

from __future__ import annotations

import enum
import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kairos_async.cli.errors import ExitCode
from kairos_async.cli.load import load_workflow
from kairos_async.cli.locate import allowed_roots, locate
from kairos_async.cli.streams import result_stream
from kairos_async.cli.tree import tree_of
from kairos_async.contracts import Contract, Proven, Refuted
from kairos_async.node import Node
from kairos_async.pictures import StepRow, graph_svg
from kairos_async.security import terminal_text
from kairos_async.workflow import EdgeProof, Workflow

_SVG_WIDTH = 1160.0


class GraphFormat(enum.StrEnum):
    """How a graph is drawn."""

    TEXT = "text"
    MERMAID = "mermaid"
    SVG = "svg"


def show_graph(target: str, form: GraphFormat, workflows_dir: str | None) -> ExitCode:
    """Draw the graph of a target on standard output."""
    located = locate(target, allowed_roots(workflows_dir))
    with result_stream() as stream:
        workflow = load_workflow(located)
        if form is GraphFormat.TEXT:
            console = Console(file=stream, highlight=False)
            whole = not stream.isatty()  # a pipe or a file has room for all
            for line in _drawn(workflow):
                console.print(line, overflow=None if whole else "ellipsis", no_wrap=True, soft_wrap=whole)
        elif form is GraphFormat.MERMAID:
            stream.write(workflow.to_mermaid())
        else:
            rows = [
                StepRow(node.name, "waiting", workflow.graph.needs(node.name), reason=_facts(node))
                for node in workflow.graph.nodes
            ]
            stream.write(f"{graph_svg(rows, limit=_SVG_WIDTH, standalone=True)}\n")
    return ExitCode.COMPLETE


def _facts(node: Node) -> str:
    """Return what is special about a step, in a few words."""
    facts = [f"for each of {node.foreach}"] if node.foreach else []
    return ", ".join([*facts, *sorted(node.labels)])


def _drawn(workflow: Workflow) -> list[Text]:
    """Return the tree of the graph; a step with several needs names them."""
    graph = workflow.graph
    branches = tree_of(graph.all_needs)
    column = max(len(branch.guide) + len(branch.name) for branch in branches)
    lines = [Text.assemble((terminal_text(workflow.name), "bold"), f"  {_counted(workflow)}")]
    for branch in branches:
        node = graph.nodes[graph.index[branch.name]]
        line = Text(branch.guide, "bright_black")
        line.append("● ", "cyan" if node.foreach else "green")
        line.append(branch.name, "bold")
        needs = graph.needs(branch.name)
        notes = [f"after {', '.join(needs)}"] if len(needs) > 1 else []
        if _facts(node):
            notes.append(_facts(node))
        if notes:
            line.append(" " * (column - len(branch.guide) - len(branch.name) + 2))
            line.append("; ".join(notes), "bright_black")
        lines.append(line)
    return lines


def _counted(workflow: Workflow) -> str:
    steps, edges = len(workflow.graph), sum(len(node.needs) for node in workflow.graph.nodes)
    return f"{steps} step{'s' * (steps != 1)}, {edges} edge{'s' * (edges != 1)}"


def validate(target: str, workflows_dir: str | None) -> ExitCode:
    """Say what a target's plan, contracts, scopes and labels are, and whether its edges fit.

    An invalid plan is an error when it is loaded; what can still be wrong here is an edge that is refuted.
    """
    located = locate(target, allowed_roots(workflows_dir))
    with result_stream() as stream:
        workflow = load_workflow(located)
        console = Console(file=stream, highlight=False)
        proofs = workflow.check()
        refuted = [edge for edge in proofs if isinstance(edge.proof, Refuted)]
        console.print(Text.assemble((terminal_text(workflow.name), "bold"), f"  {_counted(workflow)}"))
        console.print(_steps_table(workflow))
        for edge in proofs:
            _print_proof(console, edge)
        proven = sum(isinstance(edge.proof, Proven) for edge in proofs)
        unknown = len(proofs) - proven - len(refuted)
        console.print(
            Text.assemble(
                ("✗ " if refuted else "✓ ", "red" if refuted else "green"),
                f"the plan is valid; edges: {proven} proven, {len(refuted)} refuted, {unknown} unknown",
            )
        )
    return ExitCode.FAILED if refuted else ExitCode.COMPLETE


def _steps_table(workflow: Workflow) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for title in ("step", "may read", "may write", "takes", "returns", "labels"):
        table.add_column(title, overflow="fold")
    for node in workflow.graph.nodes:
        cells = [
            node.name,
            _keys(node.reads, "all upstream"),
            _keys(node.writes, "any key"),
            _contract(node.input_contract),
            _contract(node.output_contract),
            ", ".join([*sorted(node.labels), *([f"gate: {node.gate}"] if node.gate else [])]),
        ]
        table.add_row(*(Text(terminal_text(cell)) for cell in cells))
    return table


def _keys(keys: frozenset[str] | None, unrestricted: str) -> str:
    if keys is None:
        return unrestricted
    return ", ".join(sorted(keys)) or "nothing"


def _contract(contract: Contract | None) -> str:
    return "" if contract is None else contract.name


def _print_proof(console: Console, edge: EdgeProof) -> None:
    """Print an edge that is proven or refuted; of those without contracts on both ends there is nothing to say."""
    arrow = f"{edge.producer} → {edge.consumer}"
    match edge.proof:
        case Proven():
            console.print(Text.assemble(("✓ ", "green"), arrow, ("  proven", "bright_black")))
        case Refuted(example, errors):
            shown = terminal_text(json.dumps(example, ensure_ascii=False))[:200]
            console.print(Text.assemble(("✗ ", "red"), arrow, ("  refuted by ", "bright_black"), shown))
            for error in errors[:5]:
                console.print(Text(f"    {terminal_text(error.message)}", "red"))
