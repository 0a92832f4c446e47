"""The process that runs a local model: started by `local.py` as a script, so that it imports nothing of this package.

It reads one line of JSON from its input, loads the model, writes one line of JSON to its output, and serves until its
input ends: so it never outlives the process that started it, however that ends.
"""

from __future__ import annotations

import json
import os
import sys

import xllamacpp


def main() -> None:
    """Serve one model."""
    line = sys.stdin.readline()
    if not line:
        return
    wanted = json.loads(line)
    # What the engine itself prints goes to stderr; our answer alone to the output.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    params = xllamacpp.CommonParams()
    params.model.path = wanted["path"]
    params.model_alias = {wanted["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [wanted["key"]]
    params.n_parallel = wanted["parallel"]
    params.n_ctx = wanted["context"] * wanted["parallel"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = wanted["threads"]
    # Threads that wait by spinning take the processor from everything else on a small machine.
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    params.cache_ram_mib = 64
    params.n_threads_http = wanted["parallel"] + 2
    params.warmup = False
    params.ui = False
    server = xllamacpp.Server(params)
    print(json.dumps({"url": server.listening_address}), file=answer, flush=True)
    while sys.stdin.readline():
        continue
    os._exit(0)  # nothing here is worth an orderly end


if __name__ == "__main__":
    main()
