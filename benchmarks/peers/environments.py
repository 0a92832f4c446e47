"""An environment of its own for each library that is measured, under `.cache`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".cache" / "peers"


def python_for(name: str, requirements: Sequence[str]) -> Path:
    """Return the Python that has these requirements, after making its environment if there is none.

    Without requirements it is the one that runs.
    """
    if not requirements:
        return Path(sys.executable)
    folder = CACHE / name
    python = folder / "bin" / "python"
    stamp = folder / "requirements.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != list(requirements):
        print(f"  making {folder.relative_to(ROOT)} with {', '.join(requirements)}", flush=True)
        venv.create(folder, clear=True, with_pip=True, symlinks=True)
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-qq"]
        subprocess.run([*pip, *requirements], check=True)
        stamp.write_text(json.dumps(requirements))
    return python


def versions(requirements: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of what was asked for, or that of this checkout."""
    names = [re.split(r"[\[=<>]", requirement)[0] for requirement in requirements] or ["kairos-async"]
    return {name: metadata.version(name) for name in names}
