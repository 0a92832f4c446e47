"""Measure one library in this process: `python -m benchmarks.peers.measure PEER FILE`, in an environment that has it.

The file is written after each workload, so that what was measured is there if the rest is cut off; workloads that are
in it already are not measured again. Only the standard library and the measured one are needed.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from benchmarks.peers import PEERS
from benchmarks.peers.environments import versions
from benchmarks.report import environment
from benchmarks.timing import measure_alone
from benchmarks.workloads import workloads


def main() -> None:
    """Measure, a workload at a time."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.measure")
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--patience", type=float, default=60.0)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    peer = PEERS[options.peer]
    library = importlib.import_module(peer.module)
    found = json.loads(options.file.read_text(encoding="utf-8"))["results"] if options.file.exists() else []
    done = {result["name"] for result in found}
    for workload in workloads(10 if options.quick else 1):
        if not workload.beside_peers or workload.name in done:
            continue
        result = measure_alone(workload, library, options.rounds, options.patience)
        found.append(result)
        whole = {
            "peer": options.peer,
            "versions": versions(peer.requirements),
            "note": library.NOTE,
            "environment": environment(),
            "results": found,
        }
        options.file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        print(f"  {workload.name}: {result['ratio']['median']:.2f} in {result['rounds']} rounds", flush=True)


if __name__ == "__main__":
    main()
