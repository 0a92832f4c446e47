"""Inputs from the command line: strict JSON, and whatever is not is refused before the target is even loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async.cli.app import main
from kairos_async.cli.errors import CommandError
from kairos_async.cli.inputs import MOST_BYTES, collect_inputs, parse_json

TARGET = """
import pathlib
pathlib.Path("executed").write_text("")
from kairos_async import Step, Workflow
workflow = Workflow("echo", [Step("echo", lambda ctx: dict(ctx.inputs))])
"""
BIG = 50 * 1024 * 1024
FILES: dict[str, bytes] = {
    "empty.json": b"",
    "list.json": b"[1]",
    "latin.json": '{"a": "é"}'.encode("latin-1"),
    "utf16.json": '{"a": 1}'.encode("utf-16"),
    "bom.json": b'\xef\xbb\xbf{"a": 1}',
    "twice.json": b'{"a": 1, "a": 2}',
    "deep.json": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "binary.json": bytes(range(256)),
    "two.json": b'{"a": 1}\n{"b": 2}\n',
}
HOSTILE: dict[str, list[str]] = {
    "nothing": ["--input", ""],
    "half an object": ["--input", "{"],
    "an array": ["--input", "[1]"],
    "a string": ["--input", '"x"'],
    "null": ["--input", "null"],
    "a bare NaN": ["--input", "NaN"],
    "NaN": ["--input", '{"a": NaN}'],
    "infinity": ["--input", '{"a": -Infinity}'],
    "a float beyond floats": ["--input", '{"a": 1e999}'],
    "the same key twice": ["--input", '{"a": 1, "a": 2}'],
    "the same key twice, spelled otherwise": ["--input", '{"a": 1, "\\u0061": 2}'],
    "the same key twice, far inside": ["--input", '{"a": [{"b": {"c": 1, "c": 1}}]}'],
    "101 levels": ["--input", '{"a":' + "[" * 100 + "]" * 100 + "}"],
    "100,000 levels": ["--input", '{"a":' * 50_000 + "1" + "}" * 50_000],
    "levels that never close": ["--input", "[" * 100_000],
    "an integer of 5,000 digits": ["--input", '{"a": ' + "9" * 5_000 + "}"],
    "half a surrogate pair": ["--input", '{"a": "\\ud800"}'],
    "half a surrogate pair as a key": ["--input", '{"\\udfff": 1}'],
    "more after the end": ["--input", '{"a": 1} {"b": 2}'],
    "Python": ["--input", "{'a': 1}"],
    "an expression": ["--input", '{"a": __import__("os").getcwd()}'],
    "a comment": ["--input", '{"a": 1} // one'],
    "a comma too many": ["--input", '{"a": 1,}'],
    "a control character in a string": ["--input", '{"a": "\n"}'],
    "a string that never ends": ["--input", '{"a": "' + '\\"' * 200_000],
    "a file that is not there": ["--input-file", "none.json"],
    "a directory": ["--input-file", "."],
    "a FIFO": ["--input-file", "pipe.json"],
    "a device": ["--input-file", "/dev/zero"],
    "a terminal": ["--input-file", "/dev/tty"],
    "a NUL in the name": ["--input-file", "a\0b.json"],
    "50 MB": ["--input-file", "big.json"],
    "memory of the process": ["--input-file", "/proc/self/mem"],
    "the environment": ["--input-file", "/proc/self/environ"],
    **{f"the file {name}": ["--input-file", name] for name in FILES},
    "both": ["--input", "{}", "--input-file", "list.json"],
    "a setting without a value": ["--set", "name"],
    "a setting without a key": ["--set", "=1"],
    "a setting twice": ["--set", "a=1", "--set", "a=2"],
    "a setting with the same key twice": ["--set", 'a={"x": 1, "x": 2}'],
    "a setting of 101 levels": ["--set", "a=" + "[" * 101 + "]" * 101],
    "a setting that is half an array": ["--set", "a=[1, 2"],
    "a setting with an integer of 5,000 digits": ["--set", "a=" + "9" * 5_000],
    "a setting that is no UTF-8": ["--set", "a=\udc80"],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a target and the files."""
    (tmp_path / "echo_wf.py").write_text(TARGET)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.json")
    with open(tmp_path / "big.json", "wb") as big:
        big.truncate(BIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_input_is_refused_before_anything_runs(
    case: str, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line that says why and shows nothing of the input, and the target has not been loaded."""
    assert main(["run", "echo_wf.py", *HOSTILE[case]]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("kairos: ")
    assert said.err.count("\n") == 1
    assert len(said.err) < 300
    assert "Traceback" not in said.err
    assert str(project) not in said.err
    assert not (project / "executed").exists()


def test_there_are_enough_of_them() -> None:
    """The list above only grows."""
    assert len(HOSTILE) >= 25


def test_inputs_that_are_fine(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An object from the command line or a file, and settings above it: JSON where they are JSON, else text."""
    (project / "good.json").write_text('{"name": "from the file", "deep": {"a": [1, 2.5, null, true, "\\u00e9"]}}')
    options = ["--input-file", "good.json", "--set", "name=from the option", "--set", "n=5", "--set", "id=007"]
    assert main(["run", "echo_wf.py", "-q", *options, "--set", "flag=true", "--set", "empty="]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["output"] == {
        "name": "from the option",
        "deep": {"a": [1, 2.5, None, True, "é"]},
        "n": 5,
        "id": "007",
        "flag": True,
        "empty": "",
    }


def test_an_input_that_the_workflow_refuses_is_a_wrong_use(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is found after loading and before the first step."""
    assert main(["run", "echo_wf.py", "-q", "--set", "echo=1"]) == 2
    said = capfd.readouterr()
    assert "input 'echo' has the name of a step" in said.err
    assert said.out == ""


def test_messages_hold_nothing_of_the_input() -> None:
    """It may be a secret."""
    with pytest.raises(CommandError) as caught:
        parse_json('{"password": "hunter2" hunter2}', "--input")
    assert str(caught.value) == "--input is no JSON: line 1, column 24."


def test_the_limit_of_size_counts_before_reading(tmp_path: Path) -> None:
    """A file of just the limit is read."""
    file = tmp_path / "just.json"
    file.write_bytes(b'{"a": "' + b"x" * (MOST_BYTES - 9) + b'"}')
    assert len(collect_inputs(None, str(file), [])["a"]) == MOST_BYTES - 9  # type: ignore[arg-type]
    with open(file, "ab") as more:
        more.write(b" ")
    with pytest.raises(CommandError, match="the limit is 16,777,216"):
        collect_inputs(None, str(file), [])


JSON_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_DATA)
def test_what_json_can_say_is_read_as_it_is(data: object) -> None:
    """Every value survives, whatever brackets and quotes its strings have."""
    assert parse_json(json.dumps(data), "x") == data
    assert parse_json(json.dumps(data, ensure_ascii=False, indent=1), "x") == data


@given(st.text(alphabet='[]{}",\\:1a ', max_size=40))
def test_whatever_is_read_is_json(text: str) -> None:
    """Nothing but a CommandError is raised, and Python's reader agrees on what is taken."""
    try:
        value = parse_json(text, "x")
    except CommandError:
        return
    assert json.loads(text) == value
