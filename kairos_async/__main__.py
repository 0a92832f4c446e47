"""`python -m kairos_async` is the `kairos` command."""

import os
import sys

if not sys.flags.safe_path and sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(os.getcwd()):
    # Python put the working directory first: whatever the command imports from here on would be looked for there.
    del sys.path[0]

from kairos_async.cli import entry

if __name__ == "__main__":
    entry()
