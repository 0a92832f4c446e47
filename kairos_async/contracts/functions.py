"""Rules that are functions of the user's: async ones and slow ones are deferred until all other rules have passed."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import anyio.to_thread
from pydantic_core import PydanticCustomError

from kairos_async.contracts.contract import CountLLMCall
from kairos_async.contracts.errors import CUSTOM_ERROR
from kairos_async.contracts.rules import Check, Raw, Rule, checked

CustomFunction: TypeAlias = Callable[[Any], bool | str | Awaitable[bool | str]]
"""Says whether a value is right: a bool, or a sentence on what is wrong with it. May be async, may raise."""


def is_async_callable(function: object) -> bool:
    """Whether a call of it gives an awaitable: a coroutine function, a partial of one, or an object that is one."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


@dataclass(frozen=True, slots=True)
class Broken:
    """A value broke a deferred rule. `told` is for people alone: it may have been made from the value."""

    rule: str
    expected: str
    told: str | None = None


class Deferred(ABC):
    """A rule that is checked after all others passed: it is async, slow, or asks a model."""

    __slots__ = ()

    is_judge: ClassVar[bool] = False
    """Whether it is checked last of all, since it costs a model call."""

    @property
    @abstractmethod
    def needs_await(self) -> bool:
        """Whether `check_now` cannot check it."""

    @property
    @abstractmethod
    def is_slow(self) -> bool:
        """Whether it should run in a worker thread."""

    @abstractmethod
    async def check(self, value: Any, count_llm_call: CountLLMCall | None) -> Broken | None:
        """None if the value, which has the form of JSON, is right. Slow functions run in a worker thread."""

    @abstractmethod
    def check_now(self, value: Any) -> Broken | None:
        """As `check`, without awaiting anything. Never called on a rule that `needs_await`."""


class DeferredCheck(Check):
    """Marks in a core schema where a deferred rule belongs; lets every value pass."""

    __slots__ = ("rule",)

    def __init__(self, rule: Deferred) -> None:
        super().__init__(_pass)
        self.rule = rule


def _pass(_: Any) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Custom(Rule, Deferred):
    """A function of the user's. `message` says what the contract wants, for people and for feedback.

    `rule` is "custom" for a field and "rule" for several fields of one object.
    """

    function: CustomFunction
    message: str
    slow: bool
    is_async: bool
    rule: str = "custom"

    @property
    def needs_await(self) -> bool:
        return self.is_async

    @property
    def is_slow(self) -> bool:
        return self.slow

    def apply(self, schema: Raw) -> Raw:
        deferred = self.slow or self.is_async
        return checked(schema, DeferredCheck(self) if deferred else Check(self._check))

    def _check(self, value: Any) -> None:
        broken = self.check_now(value)
        if broken is not None:
            facts = {"rule": broken.rule, "expected": broken.expected, "told": broken.told}
            raise PydanticCustomError(CUSTOM_ERROR, "a custom rule is broken", facts)

    def check_now(self, value: Any) -> Broken | None:
        try:
            return self._broken_if(self.function(value))
        except Exception:
            return Broken(self.rule, self.message)

    async def check(self, value: Any, count_llm_call: CountLLMCall | None) -> Broken | None:
        try:
            if self.is_async:
                return self._broken_if(await self.function(value))  # type: ignore[misc]  # it is a coroutine function
            if self.slow:
                # In a list, since trio takes a coroutine that comes out of a thread for a mistake.
                (outcome,) = await anyio.to_thread.run_sync(lambda: [self.function(value)], abandon_on_cancel=True)
                return self._broken_if(outcome)
        except Exception:
            return Broken(self.rule, self.message)
        return self.check_now(value)

    def _broken_if(self, outcome: object) -> Broken | None:
        if isinstance(outcome, str):
            return Broken(self.rule, self.message, outcome or None)
        if inspect.isawaitable(outcome):  # nobody awaited it, and it would count as true
            if inspect.iscoroutine(outcome):
                outcome.close()
            return Broken(self.rule, self.message, f"{self.message} ({self} gave an awaitable: use `async def`)")
        return None if outcome else Broken(self.rule, self.message)

    def __str__(self) -> str:
        return f"{self.rule}({getattr(self.function, '__qualname__', 'function')})"

    __repr__ = __str__
