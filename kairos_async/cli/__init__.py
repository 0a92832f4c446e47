"""The `kairos` command. It needs the extra `cli`: pip install 'kairos-async[cli]'."""

import sys

try:
    from kairos_async.cli.app import entry as entry
except ModuleNotFoundError as missing:
    if missing.name not in ("typer", "rich"):
        raise
    sys.stderr.write(f"kairos: {missing.name} is not installed; pip install 'kairos-async[cli]' brings it\n")
    sys.exit(2)
