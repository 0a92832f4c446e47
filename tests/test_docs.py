"""Every example that the documentation shows runs as written and prints what it says it prints."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
import sys
from collections.abc import Awaitable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeAlias

import anyio
import pytest

import dev

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
Example: TypeAlias = tuple[Path, list["Block"]]


class Block(NamedTuple):
    """A fenced block: what it says after the fence, its text, and the line of the file that its text begins on."""

    info: str
    code: str
    line: int


def blocks(text: str, first_line: int = 1) -> list[Block]:
    """Return the fenced blocks of a text, without the indentation of their fences."""
    found = []
    for match in FENCE.finditer(text):
        code = re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        found.append(Block(match["info"].strip(), code, first_line + text.count("\n", 0, match.start("code"))))
    return found


def docstring_blocks(path: Path) -> list[Block]:
    """Return the fenced blocks in the docstrings of a module, its classes and its functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and ast.get_docstring(node):
                found += blocks(str(first.value.value), first.lineno)
    return sorted(found, key=lambda block: block.line)


def examples() -> Iterator[Example]:
    """Yield each page, and each module that has a fenced block in a docstring."""
    for page in PAGES:
        yield page, blocks(page.read_text("utf-8"))
    for module in sorted((ROOT / "kairos_async").rglob("*.py")):
        if found := docstring_blocks(module):
            yield module, found


EXAMPLES = list(examples())


def run(block: Block, namespace: dict[str, object], filename: str) -> str:
    """Run a block as a script in which `await` may stand anywhere; return what it printed."""
    tree = ast.parse("\n" * (block.line - 1) + block.code, filename)  # so that an error names the page's own line
    code = compile(tree, filename, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            anyio.run(finished, result)
    return printed.getvalue()


async def finished(awaitable: Awaitable[object]) -> None:
    """Await it."""
    await awaitable


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example[0].relative_to(ROOT).as_posix())
def test_examples_run(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The python blocks of a file run in order, as one script; a text block right after one is what that one prints."""
    monkeypatch.chdir(tmp_path)
    path, found = example
    module = ModuleType(f"example_{path.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where Pydantic looks names up
    printed = None
    for block in found:
        if block.info == "python":
            printed = run(block, vars(module), str(path))
        elif block.info == "text" and printed is not None:
            assert block.code == printed, f"{path.name}, line {block.line}"
            printed = None


def test_no_example_is_left_out() -> None:
    """A block says plainly what it is: `python` is run, and there is no way to mark one as not to be run."""
    known = {"python", "text", "bash", "mermaid", "toml", "json"}
    assert {(path.name, block.info) for path, found in EXAMPLES for block in found if block.info not in known} == set()


def test_the_readme_has_examples() -> None:
    """The search above finds what is there."""
    readme = dict(EXAMPLES)[ROOT / "README.md"]
    assert len([block for block in readme if block.info == "python"]) >= 8


def commands() -> Iterator[str]:
    """Yield the lines of all bash blocks."""
    for _, found in EXAMPLES:
        for block in found:
            if block.info == "bash":
                yield from (line.partition("#")[0].strip() for line in block.code.splitlines())


def test_commands_exist() -> None:
    """What the pages tell people to type are tasks of the front door, and files that are there."""
    named = {line.split()[1] for line in commands() if line.startswith("make ")}
    named |= {line.split()[2] for line in commands() if line.startswith("python dev.py ")}
    assert {"demo", "test"} <= named <= set(dev.TASKS)
    scripts = {word for line in commands() for word in line.split() if word.endswith(".py")}
    assert [script for script in scripts if not (ROOT / script).exists()] == []


def test_links_lead_somewhere() -> None:
    """A link from page to page names a file that is there."""
    links = [
        (page, target)
        for page in [*PAGES, ROOT / "CHANGELOG.md"]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", FENCE.sub("", page.read_text("utf-8")))
    ]
    assert len(links) >= 4
    assert [(page.name, target) for page, target in links if not (page.parent / target).exists()] == []


def test_make_has_the_tasks_of_the_front_door() -> None:
    """The two lists of tasks are the same."""
    line = re.search(r"^TASKS := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert line is not None
    assert line[1].split() == list(dev.TASKS)


def test_ci_runs_the_readme_test_command() -> None:
    """CI and a reader of the README run the same."""
    last = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()[-1]
    assert last == "exec make test"
    assert "make test" in set(commands())


def test_the_front_door_keeps_everything_inside_the_checkout() -> None:
    """Every place that the tools of a task write to by themselves lies in the checkout."""
    places = {key: value for key, value in dev.environment().items() if key in dev.INSIDE}
    assert len(places) == len(dev.INSIDE) >= 7
    assert [key for key, value in places.items() if not Path(value).is_relative_to(ROOT)] == []
