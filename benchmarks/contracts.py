"""What validation costs beside Pydantic itself, in one process: `python -m benchmarks.contracts`.

Pydantic's own `validate_python` gives an instance of the model; a contract gives the JSON built-ins that state holds,
with NaN refused and instances validated again. The last rows show what Pydantic takes to come to the same: validate,
then dump.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter

from benchmarks.report import Spread, add_outputs, keep, table
from kairos_async.contracts import Schema, compile_contract
from kairos_async.contracts.proof import prove
from kairos_async.validators import range as within

ROUNDS = 7
CALLS = 20_000


class Company(BaseModel):
    """A typical output of five fields."""

    name: str
    url: str
    count: int
    score: float | None = Field(default=None, ge=0, le=1)
    tags: list[str]


SCHEMA = Schema(
    {"name": str, "url": str, "count": int, "score": float | None, "tags": list[str]},
    {"score": [within(min=0, max=1)]},
    extra="ignore",
)
OUTPUT: dict[str, Any] = {
    "name": "Acme", "url": "https://example.com/acme", "count": 3, "score": 0.5, "tags": ["a", "b", "c"],
}  # fmt: skip
JSON_SCHEMA = Company.model_json_schema()


def microseconds(call: Callable[[], object]) -> float:
    """The time of one call, over many."""
    return timeit.timeit(call, number=CALLS) / CALLS * 1e6


def measure() -> dict[str, Spread]:
    """Each way in each round, so that all see the same machine."""
    adapter = TypeAdapter(Company)
    model, schema, json_schema = compile_contract(Company), SCHEMA.contract, compile_contract(JSON_SCHEMA)
    instance = Company(**OUTPUT)
    ways: dict[str, Callable[[], object]] = {
        "Pydantic: validate_python": lambda: adapter.validate_python(OUTPUT),
        "Pydantic: validate_python, strict": lambda: adapter.validate_python(OUTPUT, strict=True),
        "contract of the model": lambda: model.validate(OUTPUT),
        "contract of a Schema": lambda: schema.validate(OUTPUT),
        "contract of a JSON Schema": lambda: json_schema.validate(OUTPUT),
        "contract of the model, given an instance": lambda: model.validate(instance),
        "Pydantic: validate_python, then dump_python": lambda: adapter.dump_python(
            adapter.validate_python(OUTPUT, strict=True), mode="json"
        ),
        "proof of an edge": lambda: prove(model, schema),
    }
    rounds = [{name: microseconds(call) for name, call in ways.items()} for _ in range(ROUNDS)]
    return {name: Spread.of([each[name] for each in rounds]) for name in ways}


def main() -> None:
    """Print the table, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_outputs(parser)
    arguments = parser.parse_args()
    found = measure()
    reference = found["Pydantic: validate_python"].least
    rows = [[name, spread.show(), f"{spread.least / reference:.2f}"] for name, spread in found.items()]
    print(table("Validating an output of five fields", ["way", "us a call", "ratio of the least"], rows))
    keep(arguments, "contracts", {name: spread._asdict() for name, spread in found.items()})


if __name__ == "__main__":
    main()
