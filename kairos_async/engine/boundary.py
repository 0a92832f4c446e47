"""The boundaries of an attempt: what goes in and what comes out is checked here, and nothing else passes."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from pydantic_core import PydanticSerializationError

from kairos_async._types import JSONValue
from kairos_async.account import count_calls
from kairos_async.context import StepContext
from kairos_async.contracts import Contract, feedback
from kairos_async.engine.call import Call
from kairos_async.events import INFO, EventLevel, ValidationComplete, ValidationFail, ValidationStart
from kairos_async.exceptions import SecurityError, ValidationError
from kairos_async.flow import SecretOutput
from kairos_async.security.engine import as_json
from kairos_async.state import store_copy

_SMALL: Final = 200
"""Bytes of JSON text in which no value can be nested over 100 levels."""


async def check_input(call: Call, contract: Contract, context: StepContext) -> None:
    """Check what the step receives, as far as its contract names it.

    Raises:
        ValidationError: it is not what the contract says.
    """
    fields = contract.fields or context.inputs
    received = {key: context.inputs[key] for key in sorted(fields) if key in context.inputs}
    if contract.is_async:
        await check_async(call, contract, received, "input", context.attempt)
    else:
        check(call, contract, received, "input", context.attempt)


def check(call: Call, contract: Contract, data: Any, boundary: str, attempt: int) -> JSONValue:
    """The validated data, by a contract without async rules.

    Raises:
        ValidationError: the data broke the contract.
    """
    node, run = call.node, call.run
    subject = node.output_subject if boundary == "output" else node.input_subject
    if not run.hooks:
        return contract.validate(data, subject)
    emitter = run.emitter
    key = contract.name, boundary, attempt
    facts = emitter.validations.get(key) or emitter.validation(*key)
    name = node.shown or emitter.name_of(node)
    # What `say` does, without its frame: 0.5 us of a check that takes 3.
    if (tell := emitter.validation_start) is None:
        next(emitter.numbers)
    else:
        tell(name, INFO, facts)
    try:
        valid = contract.validate(data, subject)
    except ValidationError as error:
        _tell_failure(call, facts, error)
        raise
    if (tell := emitter.validation_complete) is None:
        next(emitter.numbers)
    else:
        tell(name, INFO, facts)
    return valid


async def check_async(call: Call, contract: Contract, data: Any, boundary: str, attempt: int) -> JSONValue:
    """As `check`, with async rules. Model calls that they make are counted for the run."""
    subject = call.node.output_subject if boundary == "output" else call.node.input_subject
    count = partial(count_calls, call)
    if not call.run.hooks:
        return await contract.validate_async(data, subject, count_llm_call=count)
    facts = call.run.emitter.validation(contract.name, boundary, attempt)
    call.run.emitter.say(ValidationStart, call.node.name, INFO, facts)
    try:
        valid = await contract.validate_async(data, subject, count_llm_call=count)
    except ValidationError as error:
        _tell_failure(call, facts, error)
        raise
    call.run.emitter.say(ValidationComplete, call.node.name, INFO, facts)
    return valid


def _tell_failure(call: Call, facts: dict[str, JSONValue], error: ValidationError) -> None:
    broken: list[JSONValue] = [{**entry} for entry in feedback(error.errors)]
    call.run.emit(ValidationFail, call.node.name, EventLevel.WARN, {**facts, "errors": broken})


def accept(call: Call, output: Any) -> None:
    """Keep the output and the writes of an attempt as state takes them, and the output as events show it.

    From here on the run knows the secrets in the output.

    Raises:
        StateError: the output is not JSON, or too large.
        SecurityError: a value carries a secret of the run outside of a sensitive key.
    """
    run, node = call.run, call.node
    # A contract gives new built-in values, which nobody else holds and which leave nothing to check: the size of a
    # small one is all that is needed, for a third of the time of a copy.
    data = None if node.output_contract is None else _json_of(output)
    if data is None or len(data) > _SMALL:
        output, size = store_copy(output, run.store.limits.value_bytes, node.output_subject)
    else:
        size = len(data)
    shows = run.emitter.outputs and call.index is None
    carries, shown = False, None
    # What a contract lets pass can rule out that there is anything to register: that saves 1.2 us of 12.
    if not node.vetted:
        _vet(call)
    if node.leaves is None or not run.redactor.passes(output, node.leaves, shows=shows):
        carries, shown = run.redactor.take_in(output, node.name, shows=shows, data=data)
    elif shows:
        shown = output
    if carries:
        guarded = _guarded(call, node.name, output)
        if guarded is not output:
            output, shown = guarded, run.redactor.under(node.name, guarded)
    if run.secrets.count and call.written is not None:
        call.written = {key: _guarded_write(call, key, value) for key, value in call.written.items()}
    call.output, call.shown, call.output_size = output, shown, size


def _vet(call: Call) -> None:
    """Forget the keys that the output's contract lets pass, if one of them is sensitive or the step's name is.

    Noted with the step. That, and `Schedule.record` by the node, saved 2.6 % of the instructions of a chain's step.
    """
    node = call.node
    if node.leaves is not None and not call.run.redactor.are_plain(node.name, node.leaves):
        node.leaves = None
    node.vetted = True


def _json_of(value: JSONValue) -> bytes | None:
    """The value as compact JSON, or None if that is not to be had. For built-in values only."""
    try:
        return as_json(value)
    except PydanticSerializationError:
        return None


def _guarded_write(call: Call, key: str, value: JSONValue) -> JSONValue:
    """What becomes of a write, once it was searched for the run's secrets.

    Raises:
        SecurityError: one was found, and the workflow says that this is a failure; or it is in the key.
    """
    run = call.run
    if run.on_secret_output is not SecretOutput.ALLOW and run.redactor.holds_secret(key):
        raise SecurityError(f"{call} writes to a key that holds a secret of this run; nothing of it is stored.")
    return _guarded(call, key, value) if run.redactor.holds_secret(value) else value


def _guarded(call: Call, key: str, value: JSONValue) -> JSONValue:
    """What becomes of a value that carries a known secret to where nobody would look for one.

    Raises:
        SecurityError: the workflow says that this is a failure.
    """
    run = call.run
    if run.on_secret_output is SecretOutput.ALLOW or run.redactor.is_sensitive(key):
        return value
    if run.on_secret_output is SecretOutput.REDACT:
        return run.redactor.without_secrets(value)
    what = "returns" if key == call.node.name else f"writes to key {key!r}"
    raise SecurityError(
        f"{call} {what} a value that carries a secret of this run outside of a sensitive key; nothing of it is stored. "
        "Leave it out, put it under a sensitive key of its own, or choose another on_secret_output for the workflow."
    )
