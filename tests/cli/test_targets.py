"""Targets that must not be loaded: refused in one line, with exit code 2, before a line of anything has run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kairos_async.cli.app import main

CANARY = "import pathlib\npathlib.Path({canary!r}).write_text('executed')\n"
WORKFLOW = "from kairos_async import Step, Workflow\nworkflow = Workflow('w', [Step('a', lambda ctx: 1)])\n"


class Yard:
    """A working directory, a place outside of it, and a file that is there once anything was executed."""

    def __init__(self, base: Path) -> None:
        self.canary = base / "canary"
        self.inside = base / "project"
        self.outside = base / "elsewhere"
        self.inside.mkdir()
        self.outside.mkdir()

    def put(self, place: Path, text: str = "") -> Path:
        """Write a module that tells on itself when it is executed, and has a workflow."""
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(CANARY.format(canary=str(self.canary)) + WORKFLOW + text)
        return place


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    """The working directory with everything hostile in it."""
    yard = Yard(tmp_path)
    inside, outside, put = yard.inside, yard.outside, yard.put
    put(inside / "wf.py")
    put(outside / "out.py", "__file__ = 'wf.py'\n")
    put(outside / "evil" / "__init__.py")
    put(outside / "evil" / "sub.py")
    put(inside / "json.py")
    put(inside / "shadowed" / "wf.py")
    put(inside / "shadowed" / "json.py")
    put(inside / "packed" / "wf.py")
    put(inside / "packed" / "random" / "__init__.py")
    put(inside / "compiled" / "wf.py")
    (inside / "compiled" / "socket.cpython-311-x86_64-linux-gnu.so").write_bytes(b"\x7fELF")
    for name in ("pkg", "deep"):
        put(inside / name / "__init__.py")
    put(inside / "deep" / "er" / "__init__.py")
    put(inside / "plain" / "wf.py")
    put(inside / "notes.txt")
    put(inside / "wf.pyc")
    (inside / "directory.py").mkdir()
    os.mkfifo(inside / "pipe.py")
    for link, target in {
        "link.py": outside / "out.py",
        "up": outside,
        "far": outside / "evil",
        "pkg/leak.py": outside / "out.py",
        "deep/er/leak.py": outside / "out.py",
        "plain/__init__.py": outside / "out.py",
        "loop.py": inside / "loop.py",
        "dangling.py": outside / "nothing.py",
        "disguised.py": inside / "notes.txt",
        "device.py": Path("/dev/zero"),
    }.items():
        (inside / link).symlink_to(target)
    monkeypatch.chdir(inside)
    monkeypatch.syspath_prepend(str(outside))  # where `import evil` would find it
    return yard


HOSTILE = {
    "a file above": "../elsewhere/out.py",
    "a file above, by detours": "pkg/../../elsewhere/./out.py",
    "an absolute file": "{outside}/out.py",
    "a file of the system": "/etc/passwd",
    "a link to a file outside": "link.py",
    "a file behind a link to a directory outside": "up/out.py",
    "a module behind a link to a package outside": "far.sub",
    "a package that is a link": "far",
    "a module that is a link, in a package whose __init__ writes a file": "pkg.leak",
    "the same, two packages down": "deep.er.leak",
    "a module that is not there, in a package whose __init__ writes a file": "pkg.missing",
    "a package that is not there": "pkg.missing.wf",
    "a module in a package whose __init__ is a link": "plain.wf",
    "a package that lies on the import path": "evil.sub",
    "the installed library itself": "kairos_async.workflow",
    "an installed package": "pydantic.main",
    "the standard library": "os.path",
    "a file named like a standard module": "json.py",
    "a module named like a standard one": "json",
    "a file beside json.py": "shadowed/wf.py",
    "a module of a directory with json.py in it": "wf",
    "a file beside a package that hides random": "packed/wf.py",
    "a file beside a compiled module": "compiled/wf.py",
    "a NUL": "wf.py\0.txt",
    "a line feed": "wf.py\n",
    "an escape sequence": "\x1b[2Jwf.py",
    "half a surrogate pair": "wf\udc80.py",
    "nothing": "",
    "blanks": "   ",
    "far too much": "a/" * 3_000 + "wf.py",
    "far too many packages": ".".join(["a"] * 200),
    "a directory": "directory.py",
    "a FIFO": "pipe.py",
    "a device": "device.py",
    "a text file": "./notes.txt",
    "compiled code": "./wf.pyc",
    "a text file behind a link that ends in .py": "disguised.py",
    "a link to itself": "loop.py",
    "a link to nothing": "dangling.py",
    "a URL of a file": "file://{inside}/wf.py",
    "a URL": "http://127.0.0.1/wf.py",
    "a home directory": "~/wf.py",
    "a relative module": ".wf",
    "two dots": "pkg..leak",
    "a keyword": "import.wf",
    "look-alike letters": "\uff57\uff46",
    "an expression": "__import__('os').system('true')",
    "a private attribute": "wf.py:__builtins__",
    "a path of attributes": "wf.py:workflow.run",
    "no attribute": "wf.py:",
    "a call": "wf.py:workflow()",
    "a path in Windows' spelling": "..\\elsewhere\\out.py",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_target_is_refused_before_anything_runs(
    case: str, yard: Yard, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line that says why and names no directory, and nothing has been executed."""
    target = HOSTILE[case].replace("{inside}", str(yard.inside)).replace("{outside}", str(yard.outside))
    assert main(["run", "--", target]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("kairos: ")
    assert said.err.count("\n") == 1
    assert said.err.endswith("\n")
    assert str(yard.inside.parent) not in said.err
    assert "Traceback" not in said.err
    assert "\x1b" not in said.err
    assert not yard.canary.exists()


def test_there_are_enough_of_them() -> None:
    """The list above only grows."""
    assert len(HOSTILE) >= 25


@pytest.mark.parametrize("command", ["validate", "graph", "tighten"])
def test_every_command_refuses_them(command: str, yard: Yard, capfd: pytest.CaptureFixture[str]) -> None:
    """What loads a target loads it the same way."""
    assert main([command, "pkg.leak"]) == 2
    assert "lies outside" in capfd.readouterr().err
    assert not yard.canary.exists()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1/0", "line 1: ZeroDivisionError"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("raise BaseException('no')", "BaseException: no"),
        ("def broken(:", "SyntaxError"),
        ("raise ValueError('https://user:hunter2secret@host/x')", "ValueError"),
        ("raise ValueError('api_key=sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789')", "ValueError"),
        ("open('/home/secret/place/wf.json')", "wf.json"),
        ("raise ValueError('a' + chr(27) + '[31m' + chr(10) + 'b')", "ValueError: a"),
        ("from . import helper", "ImportError"),
        ("from kairos_async import Step, Workflow\nWorkflow('w', [Step('a', print, depends_on=['b'])])", "'b'"),
        ("x = 1", "has no 'workflow' that is a Workflow"),
        ("workflow = 1", "has no 'workflow' that is a Workflow"),
        (
            "from kairos_async import *\na = Workflow('a', [Step('s', print)])\nb = Workflow('b', [Step('s', print)])",
            "a, b",
        ),
    ],
)
def test_a_target_that_cannot_be_loaded_is_one_line(
    text: str, said: str, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2; no traceback, no secret, no directory."""
    (project / f"wf_{abs(hash(text))}.py").write_text(text)
    assert main(["run", f"wf_{abs(hash(text))}.py"]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert said in err
    for unwanted in ("Traceback", "hunter2", "abcdefghij", "/home", str(project.parent), "\x1b"):
        assert unwanted not in err


def test_the_working_directory_comes_first(project: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A module of the same name in an allowed directory does not hide it; one that is only there is found there."""
    extra = tmp_path / "extra"
    extra.mkdir()
    for place, name in ((project, "mine"), (extra, "theirs")):
        (place / "first_wf.py").write_text(WORKFLOW.replace("'w'", f"'{name}'"))
    (extra / "only_wf.py").write_text(WORKFLOW.replace("'w'", "'only there'"))
    assert main(["graph", "first_wf.py", "--workflows-dir", str(extra)]) == 0
    assert "mine" in capfd.readouterr().out
    assert main(["graph", "only_wf", "--workflows-dir", str(extra)]) == 0
    assert "only there" in capfd.readouterr().out
    assert main(["graph", "only_wf.py"]) == 2


def test_the_directory_of_the_environment_is_allowed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`KAIROS_WORKFLOWS_DIR` is the option's default; one that is no directory is an error."""
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "env_wf.py").write_text(WORKFLOW)
    monkeypatch.setenv("KAIROS_WORKFLOWS_DIR", str(tmp_path / "allowed"))
    assert main(["graph", "env_wf.py"]) == 0
    monkeypatch.setenv("KAIROS_WORKFLOWS_DIR", str(tmp_path / "nowhere"))
    assert main(["graph", "env_wf.py"]) == 2
    assert "'nowhere' is no directory" in capfd.readouterr().err


def test_a_module_may_import_what_lies_beside_it(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Modules, packages, relative imports of a dotted target, and directories without an __init__."""
    (project / "beside_a.py").write_text("NAME = 'beside'\n")
    (project / "bare_b").mkdir()
    (project / "bare_b" / "inner.py").write_text("from beside_a import NAME\n")
    package = project / "pack_c"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tool.py").write_text("NAME = 'relative'\n")
    (package / "wf.py").write_text(
        "from .tool import NAME as tool\nfrom bare_b.inner import NAME\nimport xml.dom\n"
        + WORKFLOW.replace("'w'", "f'{NAME} {tool}'")
    )
    assert main(["graph", "pack_c.wf"]) == 0
    assert "beside relative" in capfd.readouterr().out


def test_an_import_that_a_link_leads_outside_is_refused(
    project: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The target is the user's, and so is its directory; what a link brings in from elsewhere is not."""
    (tmp_path / "far.py").write_text("raise SystemExit('executed')")
    (project / "near_d.py").symlink_to(tmp_path / "far.py")
    (project / "uses_d.py").write_text("import near_d\n" + WORKFLOW)
    assert main(["run", "uses_d.py"]) == 2
    err = capfd.readouterr().err
    assert "uses_d.py, line 1: ImportError: module 'near_d' lies outside" in err
    assert "executed" not in err


def test_a_module_that_says_it_is_another_file_is_loaded_for_what_it_is(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What `__file__` says decides nothing, since it was decided before."""
    (project / "liar_e.py").write_text("__file__ = '/etc/passwd'\n" + WORKFLOW)
    assert main(["graph", "liar_e.py"]) == 0


def test_a_workflow_has_a_name_or_is_the_only_one(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`:attribute` chooses; without it `workflow`, or the one that there is."""
    (project / "named_f.py").write_text(
        "from kairos_async import Step, Workflow\n"
        "flow = Workflow('first', [Step('a', print)])\nother = Workflow('second', [Step('a', print)])\n"
    )
    assert main(["graph", "named_f.py:other"]) == 0
    assert "second" in capfd.readouterr().out
    (project / "only_g.py").write_text("from kairos_async import *\nflow = Workflow('alone', [Step('a', print)])\n")
    assert main(["graph", "only_g.py"]) == 0
    assert "alone" in capfd.readouterr().out


def test_no_bytecode_is_written(project: Path) -> None:
    """Loading leaves nothing behind in the working directory for the target itself."""
    (project / "clean_h.py").write_text(WORKFLOW)
    assert main(["graph", "clean_h.py"]) == 0
    assert sorted(path.name for path in project.iterdir()) == ["clean_h.py"]


def test_python_dash_m_does_not_import_from_the_working_directory(project: Path) -> None:
    """With `-P`, not even Python itself looks there; the command takes the directory off the path in any case."""
    (project / "wf_i.py").write_text("import sys\nprint(sys.path[0], file=sys.stderr)\n" + WORKFLOW)
    command = [sys.executable, "-m", "kairos_async", "run", "wf_i.py", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project, check=False)
    assert done.returncode == 0, done.stderr
    assert str(project) not in done.stderr
