"""The command in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

KAIROS = str(Path(sys.executable).with_name("kairos"))
PLAIN = {key: value for key, value in os.environ.items() if not key.startswith(("KAIROS", "COLUMNS", "LINES"))}


def kairos(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [KAIROS, *arguments], capture_output=True, text=True, encoding="utf-8", cwd=cwd, env=PLAIN, check=False
    )


def started(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the command, with pipes to what it prints."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [KAIROS, *arguments], stdout=pipe, stderr=pipe, text=True, encoding="utf-8", cwd=cwd, env=PLAIN
    )
