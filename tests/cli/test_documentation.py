"""The commands that the documentation shows work as they are written, and print what it says they print."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from kairos_async.cli.app import app, main

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "cli.md").read_text("utf-8")
SHOWN = re.compile(r"```bash\n(?P<commands>(?:(?!```).)*)```\n(?:\n```text\n(?P<output>(?:(?!```).)*)```)?", re.DOTALL)


def commands() -> Iterator[tuple[str, str | None]]:
    """Yield each `kairos` command of the pages, with what the page says that the last one of a block prints."""
    for page in (ROOT / "README.md", ROOT / "docs" / "cli.md"):
        for block in SHOWN.finditer(page.read_text("utf-8")):
            lines = block["commands"].splitlines()
            for line in lines:
                if line.startswith("kairos "):
                    yield line, block["output"] if line == lines[-1] else None


@pytest.mark.parametrize(("command", "output"), [*commands()])
def test_a_command_of_the_documentation(
    command: str, output: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It ends with 0."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")
    assert main(shlex.split(command)[1:]) == 0
    printed = capfd.readouterr().out
    assert output is None or printed == output


def test_there_are_commands_in_the_documentation() -> None:
    """The search above finds them, and at least one with its output."""
    found = list(commands())
    assert len(found) >= 6
    assert sum(output is not None for _, output in found) >= 2


def test_every_command_and_option_is_documented() -> None:
    """A new one is named on the page."""
    for command in app.registered_commands:
        assert f"kairos {command.name}" in PAGE
    for option in ("--max-concurrency", "--timeout", "--log-file", "--log-format", "--output", "--verbose", "--quiet"):
        assert option in PAGE
