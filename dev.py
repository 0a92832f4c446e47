"""The front door of this checkout: `python dev.py TASK` sets up what the task needs, then runs it.

Only the standard library is needed to start. Packages go into `.venv`, every cache, temporary file and compiled module
into `.cache`, both inside the checkout; nothing is written anywhere else. `make TASK` does the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "installed.json"
LITTER = [".venv", ".cache", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", "build", "dist"]

INSIDE = {
    "HYPOTHESIS_STORAGE_DIRECTORY": str(CACHE / "hypothesis"),
    "PIP_CACHE_DIR": str(CACHE / "pip"),
    "PYTHONPYCACHEPREFIX": str(CACHE / "bytecode"),
    "TEMP": str(CACHE / "tmp"),
    "TMP": str(CACHE / "tmp"),
    "TMPDIR": str(CACHE / "tmp"),
    "XDG_CACHE_HOME": str(CACHE),
}
"""Where Python and the tools write what nobody asked for, by environment variable."""

OUTSIDE = {"PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"}
"""What is not taken over: other environments, and a ban on compiled modules, which here lie inside the checkout."""

LINT = [["-m", "ruff", "check"], ["-m", "ruff", "format", "--check"]]
TYPES = [["-m", "mypy"]]
FORMAT = [["-m", "ruff", "check", "--fix"], ["-m", "ruff", "format"]]
PYTEST = [["-m", "pytest"]]


class Task(NamedTuple):
    """What a task says about itself, the extra of pyproject.toml that it needs, and its commands for Python."""

    summary: str
    extra: str
    commands: list[list[str]]


TASKS = {
    "demo": Task("audit the licences of an environment", "demo", [[str(ROOT / "examples" / "licence_audit.py")]]),
    "test": Task("everything that must pass: lint, types, tests", "dev", LINT + TYPES + PYTEST),
    "check": Task("the quick half of test: lint, types", "dev", LINT + TYPES),
    "pytest": Task("the tests alone", "dev", PYTEST),
    "lint": Task("ruff's rules and formatting, checked", "dev", LINT),
    "fmt": Task("ruff's fixes and formatting, applied", "dev", FORMAT),
    "types": Task("mypy, strict", "dev", TYPES),
    "docs": Task("run every example of the documentation", "dev", [["-m", "pytest", "tests/test_docs.py"]]),
    "bench": Task("the benchmarks beside hand-written asyncio", "dev", [["-m", "benchmarks.run"]]),
    "bench-count": Task("instructions a step, under valgrind", "dev", [["-m", "benchmarks.count"]]),
    "clean": Task("remove .venv and every cache", "", []),
}
"""Arguments after the task's name go to the last of its commands."""


def environment() -> dict[str, str]:
    """Return the environment of every command: what it writes by the way stays inside the checkout."""
    kept = {key: value for key, value in os.environ.items() if key not in OUTSIDE}
    return {**kept, **INSIDE, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(command: list[str], cwd: Path = ROOT) -> None:
    """Run a command to its end; leave with its exit code when it fails."""
    code = subprocess.run(command, cwd=cwd, env=environment(), check=False).returncode
    if code:
        sys.exit(code)


def set_up(extra: str) -> None:
    """Make `.venv` hold the package and `extra`. Does nothing when it already does for this pyproject.toml."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    wanted = {"python": sys.version, "pyproject": digest}
    found = json.loads(STAMP.read_text()) if STAMP.exists() and PYTHON.exists() else {}
    (CACHE / "tmp").mkdir(parents=True, exist_ok=True)
    if found.get("python") != sys.version:
        say(f"creating {VENV}")
        run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        found = {}
    extras = found.get("extras", []) if found.get("pyproject") == digest else []
    if extra not in extras:
        extras = sorted({extra, *found.get("extras", [])})
        say(f"installing kairos-async[{','.join(extras)}]")
        run([str(PYTHON), "-m", "pip", "install", "-qq", "-e", f".[{','.join(extras)}]"])
        STAMP.write_text(json.dumps({**wanted, "extras": extras}))


def say(text: str) -> None:
    """Tell the user what happens, beside the output proper."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def clean() -> None:
    """Remove everything that the other tasks made."""
    for name in LITTER:
        shutil.rmtree(ROOT / name, ignore_errors=True)


def usage() -> str:
    """Return the list of tasks."""
    lines = [f"  {name:13}{task.summary}" for name, task in TASKS.items()]
    return "\n".join(["usage: python dev.py TASK [ARGUMENTS]", "", *lines])


def main(arguments: list[str]) -> None:
    """Run the task that the command line names."""
    name, *rest = arguments or ["help"]
    if name in {"help", "-h", "--help"}:
        return print(usage())
    if name not in TASKS:
        sys.exit(f"There is no task {name!r}.\n{usage()}")
    if name == "clean":
        return clean()
    task = TASKS[name]
    set_up(task.extra)
    # A path given to the demo is meant from where the user stands; all other tasks are about the checkout.
    cwd = Path.cwd() if name == "demo" else ROOT
    *first, last = task.commands
    for command in [*first, [*last, *rest]]:
        run([str(PYTHON), *command], cwd)


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what tells users of an older Python
        sys.exit("kairos-async needs Python 3.11 or newer; this is " + sys.version.split()[0])
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
