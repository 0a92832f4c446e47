"""The six workloads with kairos_async and with other libraries, each in an environment and a process of its own.

    python -m benchmarks.peers [--rounds N] [--only PEER] [--resume] [--quick]

In each process the library's times are divided by those of the hand-written side, in rounds that take the two in turn,
so that ratios of different processes compare. What was measured goes to `benchmarks/results/peers/`, and from there
into docs/benchmarks.md. A run that was cut off goes on with `--resume` where it was.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import page
from benchmarks.peers import PEERS
from benchmarks.peers.environments import CACHE, ROOT, python_for
from benchmarks.report import RESULTS


def measure(name: str, options: argparse.Namespace) -> bool:
    """Measure a peer in a process of its own and keep what it found. False if that failed."""
    print(PEERS[name].title, flush=True)
    partial = CACHE / f"{name}{'-quick' if options.quick else ''}.json"
    if not options.resume:
        partial.unlink(missing_ok=True)
    try:
        command = [python_for(name, PEERS[name].requirements), "-m", "benchmarks.peers.measure", name, partial]
        quick = ["--quick"] if options.quick else []
        limits = [f"--rounds={options.rounds}", f"--patience={options.patience}"]
        subprocess.run([*map(str, command), *limits, *quick], cwd=ROOT, check=True)
    except subprocess.CalledProcessError as failure:
        print(f"  failed: {failure}", file=sys.stderr, flush=True)
        return False
    if not options.quick:
        (RESULTS / "peers").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(partial, RESULTS / "peers" / f"{name}.json")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, then write the page. The exit code is 1 if a peer could not be measured; the others are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count, at least 3 (default: 9)")
    parser.add_argument("--only", action="append", choices=PEERS, help="default: all")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for a workload with more than 3 rounds")
    parser.add_argument("--resume", action="store_true", help="keep what a run that was cut off has measured")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, kept nowhere: does it work?")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the page from what there is")
    options = parser.parse_args(arguments)
    CACHE.mkdir(parents=True, exist_ok=True)
    done = [measure(name, options) for name in options.only or PEERS] if not options.render else []
    print(page.peer_table())
    if not options.quick:
        page.write()
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
