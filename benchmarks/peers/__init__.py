"""Other libraries in the same workloads: `python -m benchmarks.peers` makes their environments and measures them."""

from __future__ import annotations

from typing import Final, NamedTuple


class Peer(NamedTuple):
    """A library: its name, the module that runs the workloads with it, and what has to be installed for that."""

    title: str
    module: str
    requirements: tuple[str, ...]


PEERS: Final = {
    "kairos-async": Peer("kairos_async", "benchmarks.ours", ()),
    "hamilton": Peer("Hamilton", "benchmarks.peers.hamilton", ("apache-hamilton==1.90.0",)),
    "burr": Peer("Burr", "benchmarks.peers.burr", ("apache-burr==0.43.0", "pydantic==2.14.4")),
    "pydantic-graph": Peer("pydantic-graph", "benchmarks.peers.pydantic_graph", ("pydantic-graph==2.68.0",)),
    "kairos-ai": Peer("kairos-ai", "benchmarks.peers.kairos_ai", ("kairos-ai==0.5.0",)),
    "langgraph": Peer("LangGraph", "benchmarks.peers.langgraph", ("langgraph==1.2.22",)),
    "haystack": Peer("Haystack", "benchmarks.peers.haystack", ("haystack-ai==3.4.1",)),
    "llama-index": Peer("LlamaIndex Workflows", "benchmarks.peers.llama_index", ("llama-index-workflows==2.26.1",)),
}
"""The versions that are measured. The first requirement is the library; our own is that of this checkout."""
