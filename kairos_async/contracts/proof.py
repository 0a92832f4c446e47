"""Proof that what one contract returns is what another one accepts: for the edges of a graph."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from kairos_async._types import FieldError, JSONValue
from kairos_async.contracts.annotated import AnnotatedContract
from kairos_async.contracts.contract import Contract
from kairos_async.contracts.core_shapes import accepted, returned
from kairos_async.contracts.covering import uncovered
from kairos_async.contracts.deferred import RuledContract
from kairos_async.contracts.json_shapes import shape_of
from kairos_async.contracts.shapes import ANYTHING, NULL, UNKNOWN, Lists, Numbers, Objects, Shape, Values, vague
from kairos_async.contracts.verdicts import Proof, Proven, Refuted, Unknown
from kairos_async.contracts.witness import candidates
from kairos_async.exceptions import ValidationError

_TRIES: Final = 400
"""How many values are tried before a proof is given up."""


def prove(
    producer: Contract, consumer: Contract, *, key: str | None = None, many: bool = False, holes: bool = False
) -> Proof:
    """Whether every value that `producer` returns passes `consumer`.

    Decided for types, required and undeclared keys, ranges, steps, lengths, literals and enums, formats, and patterns
    that are the same text; by structure, so that no alternative of the consumer is split. Custom rules, other patterns,
    and models that contain themselves are Unknown unless a counter-example is found. A counter-example has passed
    through the producer's contract and was refused by the consumer's before it is shown.

    Args:
        key: the consumer is the contract of a step's inputs, and gets the value under this key.
        many: the value is a list of what the producer's contract returns, as of a foreach.
        holes: beside these, there may be None in the list, as ALLOW_PARTIAL leaves it.
    """
    produced = _returned(producer)
    wanted = _accepted(consumer) if key is None else _at_key(_accepted(consumer), key)
    if many:
        produced = (Lists((*produced, *NULL) if holes else produced),)
    reason = uncovered(produced, wanted)
    if reason is None:
        return Proven()
    given = _accepted(producer)  # it differs where a key is read by another name than it is written
    if many:
        given = (Lists(given),)
    for candidate in chain(islice(candidates(produced, wanted), _TRIES), islice(candidates(given, wanted), _TRIES)):
        for value in _really_returned(producer, candidate, many=many, holes=holes):
            errors = _refusal(consumer, value, key)
            if errors:
                return Refuted(value, errors)
    return Unknown(reason)


def is_closed(contract: Contract) -> bool:
    """Whether the contract lets only numbers, booleans, null and listed values pass, in declared fields: no free text.

    It is read off what decides, and not off the contract's JSON Schema, to which a field can add what it likes.
    """
    return _has_no_text(_returned(contract))


def _has_no_text(shape: Shape) -> bool:
    for atom in shape:
        match atom:
            case Values() | Numbers():
                continue
            case Lists(items=items, first=first) if _has_no_text(items) and all(map(_has_no_text, first)):
                continue
            case Objects(properties=fields, extra=None) if all(_has_no_text(field.shape) for field in fields.values()):
                continue
            case _:
                return False
    return True


def _returned(contract: Contract) -> Shape:
    if isinstance(contract, RuledContract):
        return _returned(contract.structural)
    if isinstance(contract, AnnotatedContract):
        return returned(contract.core)
    return shape_of(contract.output_schema(), accepted=False) if contract.schema_says_all else ANYTHING


def _accepted(contract: Contract) -> Shape:
    if isinstance(contract, RuledContract):
        return vague(_accepted(contract.structural))
    if isinstance(contract, AnnotatedContract):
        return accepted(contract.core)
    return shape_of(contract.json_schema(), accepted=True) if contract.schema_says_all else UNKNOWN


def _at_key(shape: Shape, key: str) -> Shape:
    """What an object contract accepts under a key, whatever its other keys hold. It gets no undeclared keys."""
    found: Shape = ()
    for atom in shape:
        if isinstance(atom, Objects):
            below = atom.properties[key].shape if key in atom.properties else ANYTHING
            found = (*found, *(vague(below) if atom.vague else below))
        else:
            found = (*found, *UNKNOWN)
    return vague(found) if len(shape) > 1 else found


def _really_returned(producer: Contract, candidate: JSONValue, *, many: bool, holes: bool) -> Iterator[JSONValue]:
    """What the producer's contract makes of the candidate, if it lets it pass. Rules to be awaited cannot be asked."""
    if producer.is_async:
        return
    try:
        if not many:
            yield producer.validate(candidate)
        elif isinstance(candidate, list):
            yield [None if holes and item is None else producer.validate(item) for item in candidate]
    except ValidationError:
        return


def _refusal(consumer: Contract, value: JSONValue, key: str | None) -> tuple[FieldError, ...]:
    """The errors that the value causes, when other keys may be missing, too."""
    structural = consumer.structural if isinstance(consumer, RuledContract) else consumer
    try:
        structural.validate(value if key is None else {key: value})
    except ValidationError as error:
        if key is None:
            return error.errors
        return tuple(e for e in error.errors if _is_under(e.declared, key) and e.rule != "unknown_key")
    return ()


def _is_under(declared: str, key: str) -> bool:
    rest = declared.removeprefix(key)
    return rest != declared and (not rest or rest[0] in ".[")
