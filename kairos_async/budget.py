"""Budgets: what a run, a step or an item may spend on model calls, reserved before each call and settled after it.

Accounts form a tree: an item's account is in its step's, a step's in the run's, and that of a run inside of a step in
the step's. A call is reserved in its account and in all above it, or in none of them, so that calls that run at once
cannot spend the same money. What does not fit because of calls that are under way waits for them to settle: they may
use less than they reserved, and what was paid for is not thrown away by ending the run while they are on their way.
What cannot fit any more is refused.

This is the only place that counts model calls.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import operator
import threading
from collections import deque
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias, cast

import anyio
import anyio.lowlevel

from kairos_async.exceptions import BudgetExceeded, ConfigError

_RESOURCES: Final = ("llm_calls", "tokens", "cost_usd")
"""The order of the parts of an `_Amount`."""

_Amount: TypeAlias = tuple[int, int, Decimal]

_Used: TypeAlias = tuple[int, int, Decimal, int, int, int, int]
"""The fields of `Usage`, in their order."""

_NOTHING: Final[_Amount] = (0, 0, Decimal(0))
_UNUSED: Final[_Used] = (0, 0, Decimal(0), 0, 0, 0, 0)

_holding: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("kairos_async_llm_call", default=False)
"""Whether the caller is inside of a call that it holds: it must not wait for others to settle, it may be the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What model calls may use. None: not limited.

    Args:
        llm_calls: how many may be made. A call counts when it is sent, whether it is answered or not.
        tokens: that they may read and write together.
        cost_usd: what they may cost, in US dollars by list prices. Every call then needs a model with a known price.
        seconds: from the start of the run, the step or the item that the budget is of, until it has to be done.

    Raises:
        ConfigError: a limit is not positive, or there is none.
    """

    llm_calls: int | None = None
    tokens: int | None = None
    cost_usd: float | Decimal | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("llm_calls", "tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"Budget: {name}={value!r} must be a whole number >= 1, or None for no limit.")
        for name in ("cost_usd", "seconds"):
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float, Decimal) and math.isfinite(value) and value > 0):
                raise ConfigError(f"Budget: {name}={value!r} must be a finite number > 0, or None for no limit.")
        if all(getattr(self, field.name) is None for field in fields(self)):
            raise ConfigError("Budget() limits nothing: give it llm_calls, tokens, cost_usd or seconds.")

    @property
    def _limits(self) -> tuple[tuple[int, int | Decimal], ...]:
        """The limits on what is reserved, by position in an amount."""
        cost = None if self.cost_usd is None else _dollars(self.cost_usd)
        return tuple((i, v) for i, v in enumerate((self.llm_calls, self.tokens, cost)) if v is not None)


def checked_budget(subject: str, argument: str, budget: object) -> Budget | None:
    """The budget that an argument gives.

    Raises:
        ConfigError: it is none.
    """
    if budget is None or isinstance(budget, Budget):
        return budget
    raise ConfigError(f"{subject}: {argument}={budget!r} must be a Budget, such as Budget(llm_calls=50), or None.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the model calls of a run used.

    Attributes:
        llm_calls: how many were made.
        tokens: read and written by all of them, with what `uncertain_calls` had reserved.
        cost_usd: by list prices, with what `uncertain_calls` had reserved.
        input_tokens, output_tokens: of the calls of which it is known.
        uncertain_calls: calls of which nobody said what they used, such as those that were cut off.
        unpriced_calls: calls that `cost_usd` leaves out, because the price of their model is not known.
    """

    llm_calls: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    uncertain_calls: int = 0
    unpriced_calls: int = 0


NO_USAGE: Final = Usage()


class Spender(Protocol):
    """Who makes model calls: an attempt, or a run for its planner and its handlers.

    Attributes:
        account: what pays for the calls.
        outer: on whose behalf this one works, for what is refused it too; None: nobody's.
        refused: the first refusal of a call; the attempt has failed for it, whatever becomes of the exception.
    """

    @property
    def account(self) -> Account: ...
    @property
    def outer(self) -> Spender | None: ...

    refused: BudgetExceeded | None


class _Ledger:
    """What the accounts of one tree share: the lock over all of them, and those who wait."""

    __slots__ = ("lock", "waiting")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: deque[Reservation] = deque()


class Account:
    """What a run, a step or an item has used and holds reserved, and what it may. Safe to use from any thread.

    Args:
        scope: "run", "step" or "item".
        subject: whose account it is, for messages.
        budget: None: not limited, only counted.
        parent: the account that it is a part of.

    Attributes:
        deadline: on the event loop's clock, when the seconds of the budget are over.
    """

    __slots__ = ("_held", "_ledger", "_limits", "_used", "budget", "deadline", "parent", "scope", "subject")

    def __init__(
        self,
        scope: str,
        subject: str,
        budget: Budget | None = None,
        parent: Account | None = None,
    ) -> None:
        self.scope = scope
        self.subject = subject
        self.budget = budget
        self.parent = parent
        self.deadline = math.inf
        self._limits = () if budget is None else budget._limits
        self._used: _Used = _UNUSED
        self._held: _Amount = _NOTHING
        self._ledger: _Ledger = _Ledger() if parent is None else parent._ledger

    def __repr__(self) -> str:
        return f"<Account of {self.subject}: {self._used[0]} calls, {self._held[0]} under way>"

    @property
    def usage(self) -> Usage:
        """What was used so far, without calls that are under way."""
        used = self._used
        if used is _UNUSED:
            return NO_USAGE
        return Usage(
            llm_calls=used[0],
            tokens=used[1],
            cost_usd=float(used[2]),
            input_tokens=used[3],
            output_tokens=used[4],
            uncertain_calls=used[5],
            unpriced_calls=used[6],
        )

    def start(self, now: float) -> None:
        """Let the seconds of the budget begin."""
        if self.budget is not None and self.budget.seconds is not None:
            self.deadline = now + self.budget.seconds

    def out_of_time(self) -> BudgetExceeded:
        """The error for seconds that are over."""
        seconds = self.budget.seconds if self.budget is not None else None
        return BudgetExceeded(self.subject, self.scope, "seconds", seconds or 0.0)

    def part(self, scope: str, subject: str, budget: Budget | None, now: float) -> Account:
        """The account of a part of this one's owner, which begins now; this one itself if the part has no budget."""
        if budget is None:
            return self
        account = Account(scope, subject, budget, self)
        account.start(now)
        return account

    def below(self, other: Account) -> bool:
        """Whether this account is the other one, or a part of it."""
        account: Account | None = self
        while account is not None and account is not other:
            account = account.parent
        return account is not None

    def _checked(self, tokens: int | None, cost_usd: Decimal | float | None) -> tuple[int, Decimal]:
        """What a call may use, as far as it has to be known."""
        given = (1, tokens, cost_usd)
        account: Account | None = self
        while account is not None:
            for resource, _ in account._limits:
                if given[resource] is None:
                    raise _unknown(account, _RESOURCES[resource])
            account = account.parent
        return _count("tokens", tokens), Decimal(0) if cost_usd is None else _dollars(cost_usd)

    def _lack(self, wanted: _Amount) -> _Lack | None:
        """What is missing in this account or one above it; what cannot come back goes before what can."""
        found: _Lack | None = None
        account: Account | None = self
        while account is not None:
            for resource, limit in account._limits:
                used, held, asked = account._used[resource], account._held[resource], wanted[resource]
                if used + asked > limit:
                    return _Lack(account, resource, asked, limit, used, final=True)
                if used + held + asked > limit:
                    found = _Lack(account, resource, asked, limit, used + held, final=False)
            account = account.parent
        return found

    def _blocked_above(self, wanted: _Amount) -> bool:
        """Whether it is the run's account that is short of something."""
        lack = self._lack(wanted)
        return lack is not None and lack.account.parent is None

    def _hold(self, amount: _Amount, sign: int = 1) -> None:
        account: Account | None = self
        while account is not None:
            calls, tokens, cost = account._held
            account._held = (calls + sign * amount[0], tokens + sign * amount[1], cost + sign * amount[2])
            account = account.parent

    def _use(self, used: _Used) -> None:
        account: Account | None = self
        while account is not None:
            account._used = cast(_Used, tuple(map(operator.add, account._used, used)))
            account = account.parent


@dataclass(frozen=True, slots=True)
class _Lack:
    """What an account is short of. `final`: what it has used will not come back."""

    account: Account
    resource: int
    wanted: int | Decimal
    limit: int | Decimal
    taken: int | Decimal
    final: bool

    def refusal(self) -> BudgetExceeded:
        account = self.account
        name = _RESOURCES[self.resource]
        return BudgetExceeded(account.subject, account.scope, name, self.limit, self.taken, self.wanted)


def count_calls(spender: Spender, calls: int) -> None:
    """Count calls of which nothing more is known, before they are made.

    Raises:
        ConfigError: `calls` is not a whole number of at least 0, or a budget limits more than calls.
        BudgetExceeded: they do not fit; then none of them is counted.
    """
    if type(calls) is not int or calls < 0:
        raise ConfigError(f"count_llm_calls({calls!r}): the number of calls must be a whole number >= 0.")
    account = spender.account
    wanted = (calls, *account._checked(None, None))
    with account._ledger.lock:
        if (lack := account._lack(wanted)) is None:
            account._use((*wanted, 0, 0, calls, calls))
            return
    raise _refuse(spender, lack)


def limited_resources(spender: Spender) -> frozenset[str]:
    """The names of what budgets limit for the calls of this spender: "llm_calls", "tokens", "cost_usd"."""
    found: set[str] = set()
    account: Account | None = spender.account
    while account is not None:
        found.update(_RESOURCES[resource] for resource, _ in account._limits)
        account = account.parent
    return frozenset(found)


def reserve_call(spender: Spender, tokens: int | None, cost_usd: Decimal | float | None) -> Reservation:
    """A call that may use as much, to be held with `async with`. See `StepContext.llm_call`."""
    return Reservation(spender, (1, *spender.account._checked(tokens, cost_usd)), priced=cost_usd is not None)


def _refuse(spender: Spender, lack: _Lack) -> BudgetExceeded:
    """The refusal, noted with everybody to whom the same account would refuse the same."""
    refusal = lack.refusal()
    told: Spender | None = spender
    while told is not None:
        if told.refused is None and told.account.below(lack.account):
            told.refused = refusal
        told = told.outer
    return refusal


class Reservation:
    """One model call, from before it is sent until it is settled: `async with ctx.llm_call(tokens=900) as call: ...`.

    Entering waits while calls under way hold what this one needs. Leaving without `settle` or `release` charges the
    call with all that it reserved: nobody knows what a call used that was cut off.

    Raises:
        BudgetExceeded: on entering; the call must not be made.
    """

    __slots__ = (
        "_account",
        "_amount",
        "_granted",
        "_held",
        "_lack",
        "_loop",
        "_priced",
        "_spender",
        "_thread",
        "_token",
    )

    def __init__(self, spender: Spender, amount: _Amount, *, priced: bool) -> None:
        self._spender = spender
        self._account = spender.account
        self._amount = amount
        self._priced = priced
        self._held = False
        self._lack: _Lack | None = None
        self._granted: anyio.Event | None = None
        self._loop: Any = None
        self._thread = 0
        self._token: contextvars.Token[bool] | None = None

    async def __aenter__(self) -> Reservation:
        ledger = self._account._ledger
        patient = not _holding.get()
        with ledger.lock:
            # Those who wait go first, however little this one asks for.
            if (patient and ledger.waiting) or not self._decide(patient=patient):
                self._granted = anyio.Event()
                token = anyio.lowlevel.current_token()
                self._loop = getattr(token, "native_token", token)
                self._thread = threading.get_ident()
                ledger.waiting.append(self)
                served = _serve(ledger)
        if self._granted is not None:
            _wake(served)
            await self._wait(self._granted)
        if self._lack is not None:
            raise _refuse(self._spender, self._lack)
        self._token = _holding.set(True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _holding.reset(self._token)
        self.settle()

    def settle(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost_usd: Decimal | float | None = None,
    ) -> None:
        """Say what the call used, once. What is None is not known: what was reserved of it counts.

        A provider that answers with an error charges nothing: `settle(input_tokens=0, output_tokens=0, cost_usd=0)`.
        """
        known = input_tokens is not None and output_tokens is not None
        read, written = _count("input_tokens", input_tokens), _count("output_tokens", output_tokens)
        cost = None if cost_usd is None else _dollars(cost_usd)
        ledger = self._account._ledger
        with ledger.lock:
            if not self._give_back():
                return
            tokens = read + written if known else max(self._amount[1], read + written)
            unpriced = cost is None and not self._priced
            cost = self._amount[2] if cost is None else cost
            self._account._use((1, tokens, cost, read, written, int(not known), int(unpriced)))
            served = _serve(ledger)
        _wake(served)

    def release(self) -> None:
        """Say that nothing was sent: the call does not count. Only before `settle`."""
        ledger = self._account._ledger
        with ledger.lock:
            served = _serve(ledger) if self._give_back() else []
        _wake(served)

    def _give_back(self) -> bool:
        held, self._held = self._held, False
        if held:
            self._account._hold(self._amount, -1)
        return held

    def _decide(self, *, patient: bool = True) -> bool:
        """Hold the amount, or refuse it. False if that is not decided before calls under way are settled."""
        lack = self._account._lack(self._amount)
        if lack is None:
            self._account._hold(self._amount)
            self._held = True
        elif lack.final or not patient:
            self._lack = lack
        return self._held or self._lack is not None

    async def _wait(self, granted: anyio.Event) -> None:
        try:
            await granted.wait()
        except BaseException:
            ledger = self._account._ledger
            with ledger.lock:
                if self in ledger.waiting:
                    ledger.waiting.remove(self)
            self.release()
            raise

    def _wake(self) -> None:
        assert self._granted is not None
        if self._thread == threading.get_ident():
            self._granted.set()
            return
        # A sync action may run an event loop of its own in its thread. Two loops that wait for each other would hang.
        soon = getattr(self._loop, "call_soon_threadsafe", None) or self._loop.run_sync_soon
        with contextlib.suppress(RuntimeError):  # that loop has ended, and he who waited on it gave back what he got
            soon(self._granted.set)


def _serve(ledger: _Ledger) -> list[Reservation]:
    """Decide for those who wait, in the order in which they came, as far as that is possible now.

    One that waits for the whole run's account lets nobody pass; one that waits for its step's does.
    """
    served: list[Reservation] = []
    passed: list[Reservation] = []
    while ledger.waiting:
        first = ledger.waiting.popleft()
        if first._decide():
            served.append(first)
            continue
        passed.append(first)
        if first._account._blocked_above(first._amount):
            break
    ledger.waiting.extendleft(reversed(passed))
    return served


def _wake(served: list[Reservation]) -> None:
    for reservation in served:
        reservation._wake()


def _unknown(account: Account, resource: str) -> ConfigError:
    what = "how many tokens it may use" if resource == "tokens" else "what it may cost"
    way = "tokens=..." if resource == "tokens" else "cost_usd=..."
    return ConfigError(
        f"The budget of {account.subject} limits {resource}, and a model call does not say {what}. Use a model whose "
        f"price and greatest answer are known, or hold the call with `async with ctx.llm_call({way})`."
    )


def _count(name: str, value: int | None) -> int:
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise ConfigError(f"A model call: {name}={value!r} must be a whole number >= 0, or None if it is not known.")
    return value


def _dollars(value: float | Decimal) -> Decimal:
    """The amount as a decimal number: 0.1 is a tenth, not the float next to it."""
    try:
        amount = value if type(value) is Decimal else Decimal(str(value))
        if amount.is_finite() and amount >= 0:
            return amount
    except InvalidOperation:
        pass
    raise ConfigError(f"A model call: cost_usd={value!r} must be a number >= 0, or None if it is not known.")
