"""The package imports only downwards, and stays readable: what DESIGN says of its layout, held by its syntax trees."""

from __future__ import annotations

import ast
import functools
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "kairos_async"

LAYERS: dict[str, set[str]] = {
    "base": {"exceptions", "_types"},
    "security": {"security"},
    "pictures": {"pictures"},
    "contracts": {"contracts", "validators"},
    "model": {
        *("account", "budget", "estimate", "reservation"),
        *("step", "node", "plan", "failure", "flow", "outcomes", "events", "state", "limits", "context", "logs"),
    },
    "engine": {"engine"},
    "facade": {"workflow", "_stream", ""},
    "outer ring": {"observe", "adapters", "cli", "web", "testing", "plugins", "__main__"},
}
"""From the bottom up. A name is the first part of a module's path inside the package; "" is `kairos_async` itself."""

ORDER = list(LAYERS)
LATE_IMPORTS: frozenset[str] = frozenset({"outcomes", "node", "workflow"})
"""The modules that may import inside a function: pictures and proofs, which few processes need."""

MAX_LINES = 60
Modules: TypeAlias = dict[str, ast.Module]


def parsed(package: Path) -> Modules:
    """Return the syntax tree of each module, by its dotted name inside the package ("" for the package itself)."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = ast.parse(path.read_text("utf-8"), str(path))
    return found


def layer_of(module: str) -> str | None:
    """Return the layer of a module, None when no layer has it."""
    top = module.partition(".")[0]
    return next((layer for layer, names in LAYERS.items() if top in names), None)


@functools.cache
def nodes(tree: ast.AST) -> list[ast.AST]:
    """Return all nodes of a tree but those of an `if typing.TYPE_CHECKING:`, which nothing ever runs."""
    waiting = [tree]
    for node in waiting:  # which grows meanwhile
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "typing.TYPE_CHECKING"):
            waiting.extend(ast.iter_child_nodes(node))
    return waiting


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Yield each absolute dotted name that a tree imports; `from a import b` gives `a.b`."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_inside(modules: Modules) -> dict[str, set[str]]:
    """Return for each module the modules of the package that it imports."""
    graph: dict[str, set[str]] = {}
    for module, tree in modules.items():
        graph[module] = set()
        for name in imported_names(tree):
            head, _, inner = name.partition(".")
            if head == "kairos_async":
                while inner not in modules:  # the last part is a class or a function: the module is before it
                    inner = inner.rpartition(".")[0]
                graph[module].add(inner)
    return graph


def upward_imports(modules: Modules) -> list[str]:
    """Return a line for each import of a higher layer. The outer ring may import all but itself is imported by none."""
    return [
        f"{module} ({layer_of(module)}) imports {target} ({layer_of(target)})"
        for module, targets in imports_inside(modules).items()
        for target in sorted(targets)
        if ORDER.index(layer_of(target) or "base") > ORDER.index(layer_of(module) or "outer ring")
    ]


def late_imports(modules: Modules) -> list[str]:
    """Return a line for each import inside a function."""
    return [
        f"{module}:{node.lineno}"
        for module, tree in modules.items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def backend_imports(modules: Modules) -> list[str]:
    """Return a line for each import of asyncio or trio below the outer ring."""
    return [
        f"{module} imports {name}"
        for module, tree in modules.items()
        if layer_of(module) != "outer ring"
        for name in imported_names(tree)
        if name.partition(".")[0] in {"asyncio", "trio"}
    ]


def long_functions(source: str) -> list[str]:
    """Return a line for each function over 60 lines whose def has no comment right above it that says why."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if length > MAX_LINES and not lines[first - 2].lstrip().startswith("#"):
                found.append(f"{node.name}: {length} lines")
    return found


@pytest.fixture(scope="module")
def modules() -> Modules:
    """The package as it is."""
    return parsed(PACKAGE)


def test_every_module_has_a_layer(modules: Modules) -> None:
    """A new module says where it belongs by being named in the table above."""
    assert [module for module in modules if layer_of(module) is None] == []


def test_imports_go_downwards(modules: Modules) -> None:
    """Each layer imports itself and those below; the core never imports the outer ring."""
    assert upward_imports(modules) == []


def test_only_the_facade_imports_for_type_checkers_alone(modules: Modules) -> None:
    """It offers names of the outer ring that are imported when they are used; elsewhere it would hide a cycle."""
    found = {module for module, tree in modules.items() if "TYPE_CHECKING" in ast.unparse(tree)}
    assert found <= {""}


def test_no_cycles(modules: Modules) -> None:
    """No two modules import each other, however far around."""
    tuple(graphlib.TopologicalSorter(imports_inside(modules)).static_order())


def test_no_imports_inside_functions(modules: Modules) -> None:
    """An import in a function hides a cycle or a cost."""
    assert [line for line in late_imports(modules) if line.partition(":")[0] not in LATE_IMPORTS] == []


def test_the_core_knows_no_backend(modules: Modules) -> None:
    """The core speaks anyio alone, so that it runs on asyncio and on trio."""
    assert backend_imports(modules) == []


def test_no_long_functions() -> None:
    """A function of more than 60 lines says in a comment above it why it is not two."""
    found = {path.name: long_functions(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    assert {name: functions for name, functions in found.items() if functions} == {}


def made(**sources: str) -> Modules:
    """Return a package of these modules; `__` in a name stands for a dot, `_` alone for the package itself."""
    return {"" if name == "_" else name.replace("__", "."): ast.parse(source) for name, source in sources.items()}


def test_the_checks_see_an_upward_import() -> None:
    """Each of the ways to write one is found, with the two modules named."""
    package = made(
        _="from kairos_async.step import Step",
        step="import kairos_async.engine.run",
        state="from kairos_async import workflow",
        plan="from kairos_async import Workflow",
        engine__run="from kairos_async.observe.sinks import Sink",
        workflow="",
        observe__sinks="from kairos_async.workflow import Workflow",
    )
    assert upward_imports(package) == [
        "step (model) imports engine.run (engine)",
        "state (model) imports workflow (facade)",
        "plan (model) imports  (facade)",
        "engine.run (engine) imports observe.sinks (outer ring)",
    ]


def test_the_checks_see_a_cycle() -> None:
    """Also one inside a layer."""
    package = made(step="from kairos_async.plan import Plan", plan="from kairos_async import step")
    with pytest.raises(graphlib.CycleError):
        tuple(graphlib.TopologicalSorter(imports_inside(package)).static_order())


def test_the_checks_see_late_and_backend_imports() -> None:
    """Inside async functions and methods too."""
    package = made(
        step="import asyncio\nclass A:\n    async def f(self):\n        from trio import run",
        testing__clock="import asyncio",
    )
    assert late_imports(package) == ["step:4"]
    assert backend_imports(package) == ["step imports asyncio", "step imports trio.run"]


def test_the_checks_see_a_long_function() -> None:
    """Sixty lines pass, sixty-one do not, a reason helps."""
    body = "\n    pass" * 59
    assert long_functions(f"\ndef f():{body}") == []
    assert long_functions(f"\ndef f():{body}\n    pass") == ["f: 61 lines"]
    assert long_functions(f"# one thought: ...\n@cache\ndef f():{body}\n    pass") == []
