"""Each example runs as written, in a process of its own, and shows what it says it shows."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import concurrent_steps
from tests.adapters.test_model_examples import INPUTS as MODEL_EXAMPLES
from tests.test_licence_audit import broken, install

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

KEY_LINES = {
    "simple_chain.py": [
        r"^triage, attempt 1: failure; .*topic",
        r"^triage, attempt 2: success; contract kept$",
        r"^to the billing desk, urgency 4: I was charged twice\.$",
    ],
    "concurrent_steps.py": [
        r"^one step at a time: ",
        r"^all at once: ",
        r"^measured speed-up: +\d",
        r"^`fastest` started",
    ],
    "foreach_fanout.py": [
        r"^50 of 200 pages are done$",
        r"^200 of 200 pages are done$",
        r"^198 pages fetched, in order: True; words in all: 39563$",
        r"^21 pages took a second attempt$",
        r"^page 17 failed: LookupError: no such page$",
        r"^page 120 failed: LookupError: no such page$",
    ],
    "cli_workflow.py": [
        r"^└─ ● report  after count, limit$",
        r"^{'longest': 'one two', 'words': 3}\nexit code 0$",
        r"words: expected a value >= 1, got integer\nexit code 1$",
        r"^kairos: --input has an object with the same key twice\.\nexit code 2$",
    ],
    "broken_data.py": [r"^TEST 3: score 95 .* failed; aggregate: skipped$"],
    "fastapi_app.py": [
        r'^200: {"summary": ".+", "words": 10}$',
        r"^event: workflow_start$",
        r"^event: workflow_complete$",
        r"^422: an empty text$",
    ],
    "data_pipeline.py": [r"^keep -> report: proven$", r"the key is shown as \[REDACTED\]$"],
    "contract_proof.py": [r"search -> rank: refuted by", r"search -> rank: proven"],
    "replan.py": [
        r"^re-plan 1: archive failed with ConnectionError$",
        r"^  finished: question; to be replaced: archive, essay$",
        r"^interviews: completed$",
        r"^Bees: an essay from the library's books on Bees and three people who know Bees$",
    ],
    "scoped_state.py": [
        r"^summarize can read: fetch$",
        r"^summarize: completed$",
        r"^summarize: failed_final \(ScopeError: Unauthorized read: key 'api_key' is not in the declared read_keys",
        r"^final state: .*'api_key': '\[REDACTED\]'",
    ],
    "prompt_injection.py": [
        r"^-- dump the state\nlisting: .*'price'.*\nScopeError: Unauthorized read: key 'api_key' .*\nkey in .*: no$",
        r"^after changing its copy, the price is {'amount': 100}\nwriting over it: Unauthorized write: key 'price' ",
        r"^ScopeError: Unauthorized write: key 'mail' .*\nkey in what leaves the run: no$",
        r"^SecurityError: Step 'injected' returns a value that carries a secret .*\nkey in .*: no$",
        r"^ValueError: no route to https://evil.example/\?key=\[REDACTED\]\nkey in what leaves the run: no$",
        r"^event='debug: \[REDACTED\]'",
        r"^it got {'attempt': \d, 'error_type': 'execution', .*'error_class': 'ValueError'}\nkey in .*: no$",
        r"^PlanError: .*input 'mail' -> step 'read' -> step 'pay'",
    ],
    "run_logger.py": [
        r"^minimal: 2 events: workflow_start, workflow_complete$",
        r"^verbose: 14 events: .*validation_start",
        r"^the callback counted 14 events$",
        r"^warning: hook RunLogger raised SinkError: .*disk_full raised OSError: .*; 14 events are missing there$",
        r"^summaries: 3 steps, 1 retry\nitems: 2 completed, 1 failed$",
        r"'customer_number': '\[REDACTED\]'",
        r"^jsonl: equal to the log in memory: True; mode 600\njsonl: secrets in it: 0$",
        r"^json: equal to the log in memory: True; mode 600\njson: secrets in it: 0$",
    ],
    "otel.py": [
        r"^\['about bees, asked with traceparent 00-\.\.\.'",
        r"^GET /report\n  invoke_workflow report\n    step topics\n      attempt topics\n    step ask$",
        r"^      attempt ask  failed: ConnectionError  linked to 1\n        chat example  failed: RateLimitError$",
        r"^      attempt ask  linked to 2\n        chat example$",
        r"^gen_ai.client.token.usage: 84 \{token\}$",
    ],
    "licence_audit.py": [
        r"^\d+ packages audited in ",
        r"^│ permissive +│ +\d",
        r"^Requirement cycles: ",
        r"│ read +│ +\d",
    ],
}


@functools.cache
def run(name: str, *arguments: str | Path, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run an example to its end. What several tests ask of one run is run once."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == exit_code, done.stderr
    return done


def test_every_example_is_tested() -> None:
    """A new example needs its key lines above, or a test of its own."""
    asking = {f"{name}.py" for name in [*MODEL_EXAMPLES, "which_model", "ticket_triage"]}
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted({*KEY_LINES, *asking})


@pytest.mark.parametrize("name", KEY_LINES)
def test_example(name: str) -> None:
    """It exits with 0 and prints its key lines."""
    printed = run(name).stdout
    for line in KEY_LINES[name]:
        assert re.search(line, printed, re.MULTILINE), printed


async def test_the_speed_up_of_the_concurrent_example() -> None:
    """In virtual time it is exact: the sum of the steps against the longest of them, and no step waits for a wave."""
    assert (await concurrent_steps.measured(1)).duration_ms == pytest.approx(800)
    together = await concurrent_steps.measured(None)
    assert together.duration_ms == pytest.approx(300)
    assert together.step_results["fastest"].started_ms == pytest.approx(100)


def test_the_audit_prints_tables_that_fit() -> None:
    """No line is wider than the terminal; progress goes to the other stream."""
    done = run("licence_audit.py")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "reading metadata" in done.stderr
    assert "reading metadata" not in done.stdout


def test_the_audit_prints_nothing_but_json() -> None:
    """With `--json` the output is one document, and says nothing on the side."""
    done = run("licence_audit.py", "--json")
    report = json.loads(done.stdout)
    assert done.stderr == ""
    assert {"anyio", "kairos-async", "pydantic"} <= {package["name"] for package in report["packages"]}
    assert sum(report["families"].values()) == len(report["packages"])
    assert {step["step"] for step in report["slowest"]} >= {"discover", "read", "report"}


def test_the_audit_of_broken_packages(tmp_path: Path) -> None:
    """What cannot be read is listed with its reason, and the others are audited all the same."""
    problems = broken(tmp_path)
    install(tmp_path, "good", more="License: MIT\nRequires-Dist: circle\n")
    install(tmp_path, "circle", more="Requires-Dist: good\nRequires-Dist: ???\n")
    install(tmp_path, "nameless", more="").joinpath("METADATA").write_text("Version: 1\n")
    report = json.loads(run("licence_audit.py", "--json", tmp_path).stdout)
    assert {package["name"] for package in report["packages"]} == {"good", "circle"}
    assert report["undeclared"] == ["circle"]
    assert report["cycles"] == [["circle", "good"]]
    assert report["invalid"] == [["circle", "???"]]
    dirty = {entry["file"]: entry["problem"] for entry in report["dirty"]}
    assert set(dirty) == {*problems, "nameless-1.0.dist-info"}
    for name, problem in problems.items():
        assert problem in dirty[name]
    assert "name" in dirty["nameless-1.0.dist-info"]


def test_the_audit_of_nothing(tmp_path: Path) -> None:
    """An empty directory is an empty report; a directory that is not there is a wrong argument."""
    assert json.loads(run("licence_audit.py", "--json", tmp_path).stdout)["packages"] == []
    assert "0 packages audited" in run("licence_audit.py", tmp_path).stdout
    assert "is not a directory" in run("licence_audit.py", tmp_path / "nowhere", exit_code=2).stderr
