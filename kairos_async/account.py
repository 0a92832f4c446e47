"""Budgets: what a run, a step or an item may spend on model calls, reserved before each call and settled after it.

Accounts form a tree: an item's account is in its step's, a step's in the run's, and that of a run inside of a step in
the step's. A call is reserved in its account and in all above it, or in none of them, so that calls that run at once
cannot spend the same money. What does not fit because of calls that are under way waits for them to settle: they may
use less than they reserved, and what was paid for is not thrown away by ending the run while they are on their way.
What cannot fit any more is refused.

This is the only place that counts model calls.
"""

from __future__ import annotations

import math
import operator
import threading
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol, TypeAlias, cast

from kairos_async.budget import NO_USAGE, Budget, Usage, count, dollars
from kairos_async.exceptions import BudgetExceeded, ConfigError

RESOURCES: Final = ("llm_calls", "tokens", "cost_usd")
"""The order of the parts of an `Amount`."""

Amount: TypeAlias = tuple[int, int, Decimal]

Used: TypeAlias = tuple[int, int, Decimal, int, int, int, int]
"""The fields of `Usage`, in their order."""

NOTHING: Final[Amount] = (0, 0, Decimal(0))
UNUSED: Final[Used] = (0, 0, Decimal(0), 0, 0, 0, 0)


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


class Claim(Protocol):
    """What waits for others to settle."""

    @property
    def account(self) -> Account: ...
    @property
    def amount(self) -> Amount: ...

    def decide(self) -> bool:
        """Hold the amount, or refuse it. False if that is not decided before calls under way are settled."""

    def wake(self) -> None:
        """Let it go on: it is decided."""


class Ledger:
    """What the accounts of one tree share: the lock over all of them, and those who wait."""

    __slots__ = ("lock", "waiting")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: deque[Claim] = deque()


_first_call: Final = threading.Lock()


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
        self._limits = () if budget is None else budget.limits
        self._used: Used = UNUSED
        self._held: Amount = NOTHING
        self._ledger: Ledger | None = None

    def __repr__(self) -> str:
        return f"<Account of {self.subject}: {self._used[0]} calls, {self._held[0]} under way>"

    @property
    def ledger(self) -> Ledger:
        """What it shares with the others of its tree: made at the first call, for most runs of a service make few."""
        root = self
        while root.parent is not None:
            root = root.parent
        if root._ledger is None:
            with _first_call:
                root._ledger = root._ledger or Ledger()
        return root._ledger

    @property
    def usage(self) -> Usage:
        """What was used so far, without calls that are under way."""
        used = self._used
        if used is UNUSED:
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

    def checked(self, tokens: int | None, cost_usd: Decimal | float | None) -> tuple[int, Decimal]:
        """What a call may use, as far as it has to be known."""
        given = (1, tokens, cost_usd)
        account: Account | None = self
        while account is not None:
            for resource, _ in account._limits:
                if given[resource] is None:
                    raise _unknown(account, RESOURCES[resource])
            account = account.parent
        return count("tokens", tokens), Decimal(0) if cost_usd is None else dollars(cost_usd)

    def lack(self, wanted: Amount) -> Lack | None:
        """What is missing in this account or one above it; what cannot come back goes before what can."""
        found: Lack | None = None
        account: Account | None = self
        while account is not None:
            for resource, limit in account._limits:
                used, held, asked = account._used[resource], account._held[resource], wanted[resource]
                if used + asked > limit:
                    return Lack(account, resource, asked, limit, used, final=True)
                if used + held + asked > limit:
                    found = Lack(account, resource, asked, limit, used + held, final=False)
            account = account.parent
        return found

    def blocked_above(self, wanted: Amount) -> bool:
        """Whether it is the run's account that is short of something."""
        lack = self.lack(wanted)
        return lack is not None and lack.account.parent is None

    def hold(self, amount: Amount, sign: int = 1) -> None:
        account: Account | None = self
        while account is not None:
            calls, tokens, cost = account._held
            account._held = (calls + sign * amount[0], tokens + sign * amount[1], cost + sign * amount[2])
            account = account.parent

    def use(self, used: Used) -> None:
        account: Account | None = self
        while account is not None:
            account._used = cast(Used, tuple(map(operator.add, account._used, used)))
            account = account.parent


@dataclass(frozen=True, slots=True)
class Lack:
    """What an account is short of. `final`: what it has used will not come back."""

    account: Account
    resource: int
    wanted: int | Decimal
    limit: int | Decimal
    taken: int | Decimal
    final: bool

    def refusal(self) -> BudgetExceeded:
        account = self.account
        name = RESOURCES[self.resource]
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
    wanted = (calls, *account.checked(None, None))
    with account.ledger.lock:
        if (lack := account.lack(wanted)) is None:
            account.use((*wanted, 0, 0, calls, calls))
            return
    raise refuse(spender, lack)


def limited_resources(spender: Spender) -> frozenset[str]:
    """The names of what budgets limit for the calls of this spender: "llm_calls", "tokens", "cost_usd"."""
    found: set[str] = set()
    account: Account | None = spender.account
    while account is not None:
        found.update(RESOURCES[resource] for resource, _ in account._limits)
        account = account.parent
    return frozenset(found)


def refuse(spender: Spender, lack: Lack) -> BudgetExceeded:
    """The refusal, noted with everybody to whom the same account would refuse the same."""
    refusal = lack.refusal()
    told: Spender | None = spender
    while told is not None:
        if told.refused is None and told.account.below(lack.account):
            told.refused = refusal
        told = told.outer
    return refusal


def _unknown(account: Account, resource: str) -> ConfigError:
    what = "how many tokens it may use" if resource == "tokens" else "what it may cost"
    way = "tokens=..." if resource == "tokens" else "cost_usd=..."
    return ConfigError(
        f"The budget of {account.subject} limits {resource}, and a model call does not say {what}. Use a model whose "
        f"price and greatest answer are known, or hold the call with `async with ctx.llm_call({way})`."
    )
