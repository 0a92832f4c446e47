"""What the library costs to install and to import, as counts and not as times."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CORE = "anyio, pydantic, structlog, tenacity"
OPTIONAL = {
    *(
        "fastapi",
        "genai_prices",
        "httpx",
        "hypothesis",
        "jsonschema_rs",
        "numpy",
        "opentelemetry",
        "orjson",
        "packaging",
        "pytest",
    ),
    *("requests", "rich", "sqlite3", "starlette", "trio", "typer", "unittest", "uvicorn", "xllamacpp"),
}
"""What only an extra, a test or nothing at all may need."""


def imported_by(statement: str) -> set[str]:
    """Return the names of all modules that a statement leaves imported in a new process."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_import_costs_little_beyond_the_core_dependencies() -> None:
    """`import kairos_async` adds its own modules and a handful of others to what its dependencies import themselves."""
    added = imported_by("import kairos_async") - imported_by(f"import {CORE}")
    own = {name for name in added if name.partition(".")[0] == "kairos_async"}
    assert {name for name in added if name.partition(".")[0] in OPTIONAL} == set()
    assert len(own) <= 80
    assert len(added - own) <= 60, sorted(added - own)


def core_distributions() -> set[str]:
    """Return the names of the distributions that the core brings along, itself included, extras left out."""
    found: set[str] = set()
    waiting = [("kairos-async", "")]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        found.add(name)
        for requirement in map(Requirement, metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = {(canonicalize_name(requirement.name), wanted) for wanted in {"", *requirement.extras}}
                waiting.extend(needed - seen)
                seen |= needed
    return found


def test_the_core_is_at_most_twelve_distributions() -> None:
    """Counted from the metadata of what is installed here, so an update that brings more is seen."""
    distributions = core_distributions()
    assert {"kairos-async", "anyio", "pydantic", "structlog", "tenacity"} <= distributions
    assert len(distributions) <= 12, sorted(distributions)
