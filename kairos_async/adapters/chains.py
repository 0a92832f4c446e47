"""Several models as one: `fallback` asks the next one when one has no answer, `hedge` when one is slow.

Both are adapters: they stand wherever one does, each model is metered by itself, and neither asks a model twice.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

import anyio

from kairos_async._types import MISSING
from kairos_async.adapters._wrapping import Wrapping
from kairos_async.adapters.model import ModelAdapter, ModelRequest, ModelResponse, ModelStream
from kairos_async.exceptions import BudgetExceeded, ConfigError, ModelError, ValidationError


class _Chain(Wrapping):
    """What chains of models have in common."""

    def __init__(self, models: tuple[ModelAdapter, ...]) -> None:
        super().__init__(self.provider, models)
        if len(models) < 2:
            raise ConfigError(f"{self.provider}() takes at least two models; it got {len(models)}.")

    def __repr__(self) -> str:
        return f"<{self.provider} {', '.join(map(repr, self.models))}>"


class Fallback(_Chain):
    """See `fallback`."""

    provider = "fallback"

    async def _ask(self, request: ModelRequest) -> ModelResponse:
        errors: list[ModelError] = []
        for model in self.models:
            try:
                return await model.call(request)
            except ModelError as error:
                errors.append(error)
        raise _most_hopeful(errors)

    @asynccontextmanager
    async def _begin(self, request: ModelRequest) -> AsyncIterator[ModelStream]:
        # The next model is asked as long as no piece of an answer was given out.
        errors: list[ModelError] = []
        async with AsyncExitStack() as stack:
            begun: _Begun | None = None
            for model in self.models:
                try:
                    begun = await stack.enter_async_context(_first_piece(model, request))
                    break
                except ModelError as error:
                    errors.append(error)
            if begun is None:
                raise _most_hopeful(errors)
            yield begun


class _Begun:
    """A stream of which the first piece is there."""

    def __init__(self, stream: ModelStream, first: str | None, rest: AsyncIterator[str]) -> None:
        self._stream = stream
        self._first = first
        self._rest = rest

    @property
    def text(self) -> str:
        return self._stream.text

    @property
    def response(self) -> ModelResponse:
        return self._stream.response

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        first, self._first = self._first, None
        return await anext(self._rest) if first is None else first


@asynccontextmanager
async def _first_piece(model: ModelAdapter, request: ModelRequest) -> AsyncIterator[_Begun]:
    async with model.stream(request) as stream:
        pieces = aiter(stream)
        yield _Begun(stream, await anext(pieces, None), pieces)


def _most_hopeful(errors: list[ModelError]) -> ModelError:
    """The error that says that a retry can help, if there is one; else the last."""
    return next((error for error in errors if error.retryable), errors[-1])


class Hedge(_Chain):
    """See `hedge`."""

    provider = "hedge"

    def __init__(self, models: tuple[ModelAdapter, ...], after: float) -> None:
        super().__init__(models)
        if type(after) not in (int, float) or not math.isfinite(after) or after < 0:
            raise ConfigError(f"hedge(): after={after!r} must be a finite number of seconds >= 0.")
        self.after: Final = after

    async def _ask(self, request: ModelRequest) -> ModelResponse:
        race = _Race(request)
        async with anyio.create_task_group() as tasks:
            for model in self.models:
                tasks.start_soon(race.run, model)
                await race.wait(self.after)
                if race.winner is not None:
                    break
            while race.winner is None and race.running:
                await race.wait(math.inf)
            tasks.cancel_scope.cancel()
        return race.result()

    def _begin(self, request: ModelRequest) -> AbstractAsyncContextManager[ModelStream]:
        # Which answer counts is known when it is whole.
        raise ConfigError(f"{self!r} cannot stream: use fallback(...), or stream=False.")


class _Race:
    """Models that answer the same request. `winner` is the first answer that passes."""

    def __init__(self, request: ModelRequest) -> None:
        self.request = request
        self.winner: ModelResponse | None = None
        self.running = 0
        self._changed = anyio.Event()
        self._refused: list[ModelResponse] = []
        self._errors: list[Exception] = []

    async def run(self, model: ModelAdapter) -> None:
        """Ask one model, and note how that ended."""
        self.running += 1
        try:
            response = await model.call(self.request)
            if not await self._passes(response):
                self._refused.append(response)
            elif self.winner is None:
                self.winner = response
        except Exception as error:
            self._errors.append(error)
        finally:
            self.running -= 1
            self._changed.set()

    async def wait(self, seconds: float) -> None:
        """Wait until a model has ended, in whatever way, or the time is over."""
        with anyio.move_on_after(seconds):
            await self._changed.wait()
            self._changed = anyio.Event()

    async def _passes(self, response: ModelResponse) -> bool:
        """Whether the step would take the answer. Rules that ask a model, or are slow, are left to the step."""
        expected = self.request.expected
        if expected is None or expected.is_async:
            return True
        try:
            expected.validate(response.text if response.parsed is MISSING else response.parsed)
        except ValidationError:
            return False
        return True

    def result(self) -> ModelResponse:
        """The winner; an answer that did not pass, for the step to say why; or the error that says most."""
        if self.winner is not None:
            return self.winner
        others = [error for error in self._errors if not isinstance(error, ModelError | ValidationError)]
        if others:
            raise next((error for error in others if isinstance(error, BudgetExceeded)), others[0])
        if self._refused:
            return self._refused[0]
        broken = [error for error in self._errors if isinstance(error, ValidationError)]
        if broken:
            raise broken[0]
        raise _most_hopeful([error for error in self._errors if isinstance(error, ModelError)])


def fallback(*models: ModelAdapter) -> Fallback:
    """An adapter that asks the first model, and the next one when that has no answer.

    Whatever error of a model it is, the next one may do better: a provider in trouble, a refusal, a key that is not
    taken. What is no model's error ends the chain: a budget that is used up, a contract that is broken.

    Raises:
        ConfigError: there are fewer than two models, or one of them is no adapter.
    """
    return Fallback(models)


def hedge(*models: ModelAdapter, after: float) -> Hedge:
    """An adapter that asks the first model, and each `after` seconds one more, until an answer passes.

    The first answer that passes the step's contract wins; the others are cancelled, and settled with what they had
    reserved. When a model fails or its answer does not pass, the next one is asked at once. The same model may be
    given twice.

    Args:
        models: in the order in which they are asked.
        after: seconds.

    Raises:
        ConfigError: there are fewer than two models, one of them is no adapter, or `after` is not valid.
    """
    return Hedge(models, after)
