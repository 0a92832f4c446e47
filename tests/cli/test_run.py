"""`kairos run` as its users meet it: a process with an exit code, a result on stdout, and the rest on stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog

from kairos_async.cli.app import main
from kairos_async.observe import read_log
from kairos_async.observe.lines import encode
from kairos_async.outcomes import WorkflowResult, WorkflowStatus
from tests.cli.commands import KAIROS, PLAIN, kairos, started
from tests.pictures.runs import troubled_run

TARGETS = {
    "good_wf.py": """
import subprocess
import sys
import time
import sys
import time
from kairos_async import Step, Workflow

print("printed while loading")

def chat(ctx):
    print("printed by a step")
    subprocess.run([sys.executable, "-c", "print('printed by a child')"], check=True)
    return {"greeting": "hello", "api_key": "sk-ant-api03-" + "x" * 80}

workflow = Workflow("good", [Step("chat", chat)])
""",
    "bad_wf.py": """
from kairos_async import FailurePolicy, Step, Workflow

async def fail(ctx):
    raise ValueError("no such thing in /home/private/place/file.txt")

workflow = Workflow("bad", [Step("fail", fail, failure_policy=FailurePolicy(max_retries=0))])
""",
    "long_wf.py": """
import sys
import time
import anyio
from kairos_async import Step, Workflow

async def quick(ctx):
    return 1

async def slow(ctx):
    print("ready", file=sys.stderr, flush=True)
    await anyio.sleep(3600)

def broken(event):
    raise LookupError("gone")

workflow = Workflow("long", [Step("quick", quick), Step("slow", slow, depends_on=["quick"]),
                             Step("never", quick, depends_on=["slow"])], hooks=[broken])
""",
    "careless_wf.py": """
import io
import multiprocessing
import sys
from kairos_async import Step, Workflow

sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")

def fork(ctx):
    with multiprocessing.get_context("fork").Pool(1) as pool:  # which ends its processes by SIGTERM
        return pool.map(str, [1, 2])

def close(ctx):
    print("printed")
    sys.stdout.close()
    sys.stderr.close()

workflow = Workflow("careless", [Step("fork", fork), Step("close", close, depends_on=["fork"])], output="fork")
""",
    "loading_wf.py": """
import sys
import time
print("ready", file=sys.stderr, flush=True)
time.sleep(3600)
""",
    "stuck_wf.py": """
import sys
import time
import time
from kairos_async import Step, Workflow

def stuck(ctx):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(3600)

workflow = Workflow("stuck", [Step("stuck", stuck)])
""",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the targets."""
    for name, text in TARGETS.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def until(process: subprocess.Popen[str], word: str) -> None:
    """Read what the process says until it says the word."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    raise AssertionError(f"the process ended without {word!r}")


def test_complete_is_0_and_stdout_is_nothing_but_json(project: Path) -> None:
    """What the module, its steps, and the programs that they start print goes to stderr."""
    done = kairos("run", "good_wf.py", cwd=project)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "complete"
    assert result["output"] == {"greeting": "hello", "api_key": "[REDACTED]"}
    assert WorkflowResult.from_dict(result).step_results["chat"].status == "completed"
    for place in ("while loading", "by a step", "by a child"):
        assert f"printed {place}" in done.stderr
    assert "done    chat" in done.stderr
    assert "sk-ant" not in done.stdout + done.stderr


def test_steps_may_fork_and_close_the_standard_streams(project: Path) -> None:
    """The signals of a forked process are its own, and the result and what is said of the run come out."""
    done = kairos("run", "careless_wf.py", "-q", cwd=project)
    assert (done.returncode, json.loads(done.stdout)["output"]) == (0, ["1", "2"])
    assert "printed" in done.stderr
    assert "ending the run" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_run_is_1(project: Path) -> None:
    """The result is on stdout all the same; no traceback, no directory."""
    done = kairos("run", "bad_wf.py", cwd=project)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error_message"] == "no such thing in file.txt"
    assert "Traceback" not in done.stderr
    assert "/home" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "none_wf.py"],
        ["run"],
        ["run", "good_wf.py", "--no-such-option"],
        ["no-such-command"],
        ["run", "good_wf.py", "--timeout", "soon"],
        ["run", "good_wf.py", "--timeout", "-1"],
        ["run", "good_wf.py", "--timeout", "nan"],
        ["run", "good_wf.py", "--max-concurrency", "0"],
        ["run", "good_wf.py", "--verbose", "--quiet"],
        ["run", "good_wf.py", "--log-format", "jsonl"],
        ["run", "good_wf.py", "--log-format", "xml", "--log-file", "run.xml"],
        ["run", "good_wf.py", "--log-file", "../run.jsonl"],
        ["run", "good_wf.py", "--output", "no/such/directory/result.json"],
        ["run", "good_wf.py", "--output", "."],
        ["run", "good_wf.py", "--output", "/dev/full"],
        ["run", "good_wf.py", "--workflows-dir", "none"],
        ["graph", "good_wf.py", "--format", "png"],
        ["inspect", "none.jsonl"],
        ["inspect", "good_wf.py"],
        ["inspect", "."],
        ["runs", "none"],
    ],
)
def test_a_wrong_use_is_2_and_one_line(arguments: list[str], project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing was run, stdout is empty, and no draft of an output file is left."""
    assert main(arguments) == 2
    said = capfd.readouterr()
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if "printed while loading" not in line]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("kairos: ")
    assert str(project) not in said.err
    assert "printed by a step" not in said.err
    assert sorted(path.name for path in project.iterdir() if path.name != "__pycache__") == sorted(TARGETS)


def test_the_process_of_a_wrong_use_ends_with_2(project: Path) -> None:
    """The exit code of the function is that of the process."""
    done = kairos("run", "none_wf.py", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "kairos: there is no file 'none_wf.py' in the working directory.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_130_and_says_what_finished(number: int, project: Path) -> None:
    """The run is cancelled and its log has an end."""
    process = started("run", "long_wf.py", "--log-file", "run.jsonl", cwd=project)
    until(process, "ready")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-2:] == [
        "kairos: warning: hook broken raised LookupError: gone",
        "kairos: interrupted: 1 of 3 steps completed (quick); cancelled: slow.",
    ]
    assert err.count("LookupError") == 1
    assert "Traceback" not in err
    assert read_log(project / "run.jsonl").status is WorkflowStatus.CANCELLED


def test_a_target_that_is_interrupted_while_it_loads_is_130_and_one_line(project: Path) -> None:
    """Nothing was run."""
    process = started("run", "loading_wf.py", cwd=project)
    until(process, "ready")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "kairos: interrupted while loading 'loading_wf.py'.\n")


def test_a_second_interrupt_leaves_a_thread_that_does_not_end(project: Path) -> None:
    """A sync step cannot be stopped; whoever does not want to wait for it need not."""
    process = started("run", "stuck_wf.py", cwd=project)
    until(process, "ready")
    process.send_signal(signal.SIGINT)
    until(process, "Ctrl-C again leaves it at once")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    process.communicate()


def test_a_step_that_outlives_its_time_does_not_hold_the_process(project: Path) -> None:
    """Its thread was abandoned by the run, and the process does not wait for it either."""
    done = kairos("run", "stuck_wf.py", "-q", "--timeout", "0.2", cwd=project)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error_type"] == "StepTimeoutError"


def test_a_killed_run_is_shown_as_interrupted(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """kill -9 leaves a log without an end; it is read, drawn and listed as what it is."""
    process = started("run", "long_wf.py", "--log-file", "run.jsonl", cwd=project)
    until(process, "start   slow")
    deadline = time.monotonic() + 60
    while b'"slow"' not in (project / "run.jsonl").read_bytes():  # sinks write beside the run, many times a second
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert main(["inspect", "run.jsonl"]) == 0
    shown = capfd.readouterr().out
    assert "long  ■ interrupted after" in shown
    assert "The log has no end" in shown
    assert "not begun 1" in shown
    assert "▸ slow" in shown
    assert main(["runs"]) == 0
    assert "■ interrupted" in capfd.readouterr().out


def test_the_output_file_is_private_whole_and_replaced(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A link in its place is replaced and not followed; a run that fails writes its result too."""
    victim = project / "victim"
    victim.write_text("untouched")
    (project / "out.json").symlink_to(victim)
    assert main(["run", "good_wf.py", "-q", "-o", "out.json"]) == 0
    assert main(["run", "bad_wf.py", "-q", "-o", "bad.json"]) == 1
    assert victim.read_text() == "untouched"
    assert not (project / "out.json").is_symlink()
    assert (project / "out.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((project / "out.json").read_text())["status"] == "complete"
    assert json.loads((project / "bad.json").read_text())["status"] == "failed"
    assert not [path for path in project.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("options", "name"), [([], "log.jsonl"), ([], "log.json"), (["--log-format", "json"], "log")])
def test_the_log_file_is_what_inspect_reads(
    options: list[str], name: str, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As JSON lines or as one document."""
    assert main(["run", "good_wf.py", "-q", "--log-file", name, *options]) == 0
    capfd.readouterr()
    assert main(["inspect", name]) == 0
    shown = capfd.readouterr().out
    assert "good  ✓ complete" in shown
    assert "✓ chat" in shown


def test_a_log_that_cannot_be_written_fails_the_run(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Who asks for a log relies on it."""
    (project / "taken").mkdir()
    assert main(["run", "good_wf.py", "-q", "--log-file", "taken"]) == 1


def test_a_limit_of_concurrency(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It takes the place of the workflow's own."""
    (project / "count_wf.py").write_text(
        "import anyio\nfrom kairos_async import Step, Workflow\nrunning = seen = 0\n"
        "async def act(ctx):\n    global running, seen\n    running += 1\n    seen = max(seen, running)\n"
        "    await anyio.sleep(0.001)\n    running -= 1\n    return seen\n"
        "workflow = Workflow('w', [Step('s', act, foreach='items')])\n"
    )
    assert main(["run", "count_wf.py", "-q", "--set", "items=[1,2,3,4]", "--max-concurrency", "2"]) == 0
    assert max(json.loads(capfd.readouterr().out)["output"]) == 2


def test_quiet_and_verbose(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Quiet says nothing beside the result; verbose shows outputs, redacted."""
    assert main(["run", "bad_wf.py", "-q"]) == 1
    assert capfd.readouterr().err == ""
    assert main(["run", "good_wf.py", "-v"]) == 0
    assert '-> {"greeting": "hello", "api_key": "[REDACTED]"}' in capfd.readouterr().err


def test_a_broken_hook_is_one_warning(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of the command's own; to a structlog that the target configures, it is told as by every run."""
    hooked = (project / "bad_wf.py").read_text() + "workflow.add_hook(lambda event: 1 / 0)\n"
    (project / "hooked_wf.py").write_text(hooked)
    assert main(["run", "hooked_wf.py", "-q"]) == 1
    assert capfd.readouterr().err == "kairos: warning: hook <lambda> raised ZeroDivisionError: division by zero\n"
    log = "import structlog\nstructlog.configure(processors=[structlog.processors.JSONRenderer()])\n"
    (project / "logged_wf.py").write_text(log + hooked)
    structlog.reset_defaults()
    assert main(["run", "logged_wf.py", "-q"]) == 1
    assert json.loads(capfd.readouterr().err.splitlines()[0])["event"] == "hook_failed"


def test_a_reader_that_goes_away_is_no_error(project: Path) -> None:
    """`kairos graph ... | head -0`: there is nobody to tell."""
    process = started("graph", "good_wf.py", "--format", "mermaid", cwd=project)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode == 0


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    """It is the library's."""
    assert main(["version"]) == 0
    assert capfd.readouterr().out == "kairos_async 0.1.0\n"


def test_no_arguments_are_a_question(capfd: pytest.CaptureFixture[str]) -> None:
    """The answer is the list of commands."""
    assert main([]) == 0
    shown = capfd.readouterr().out
    for command in ("run", "validate", "graph", "inspect", "runs", "tighten", "version"):
        assert command in shown


def test_the_working_directory_of_os_is_not_changed(project: Path) -> None:
    """A target's relative files are meant from where its user stands."""
    before = os.getcwd()
    assert main(["graph", "good_wf.py"]) == 0
    assert os.getcwd() == before


def test_without_its_extra_the_command_says_what_to_install(project: Path) -> None:
    """In one line, with the exit code of a wrong use."""
    code = "import sys; sys.modules['typer'] = None; import kairos_async.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project, check=False)
    assert done.returncode == 2
    assert done.stderr == "kairos: typer is not installed; pip install 'kairos-async[cli]' brings it\n"


@pytest.mark.parametrize("command", ["run good_wf.py", "inspect log.jsonl", "runs ."])
def test_a_result_that_cannot_be_written_is_1_and_one_line(command: str, project: Path) -> None:
    """What was asked was done, so it is no wrong use; and it is no fault of kairos."""
    (project / "log.jsonl").write_bytes(b"".join(map(encode, troubled_run()[1])))
    with open("/dev/full", "w") as full:
        words = [KAIROS, *command.split()]
        ended = subprocess.Popen(words, stdout=full, stderr=subprocess.PIPE, cwd=project, env=PLAIN)
        _, errors = ended.communicate()
    said = "kairos: the result cannot be written to standard output: no space left on device.\n"
    assert (ended.returncode, errors.decode().splitlines(keepends=True)[-1]) == (1, said)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_process_without_standard_streams(closed: str, project: Path) -> None:
    """Nothing that is opened later takes their place, and gets what is printed."""
    shell = f"exec {KAIROS} run good_wf.py --log-file log.jsonl --output result.json {closed}"
    ended = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, cwd=project, env=PLAIN, check=False)
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
    assert read_log(project / "log.jsonl").unread == 0
    assert json.loads((project / "result.json").read_text())["status"] == "complete"
