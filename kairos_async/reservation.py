"""One model call that is held in an account, from before it is sent until it is settled; see `account.py`."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Any, Final

import anyio
import anyio.lowlevel

from kairos_async.account import Amount, Claim, Lack, Ledger, Spender, refuse
from kairos_async.budget import count, dollars
from kairos_async.exceptions import BudgetExceeded

_holding: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("kairos_async_llm_call", default=False)
"""Whether the caller is inside of a call that it holds: it must not wait for others to settle, it may be the last."""


def reserve_call(spender: Spender, tokens: int | None, cost_usd: Decimal | float | None) -> Reservation:
    """A call that may use as much, to be held with `async with`. See `StepContext.llm_call`."""
    return Reservation(spender, (1, *spender.account.checked(tokens, cost_usd)), priced=cost_usd is not None)


class Reservation:
    """One model call, from before it is sent until it is settled: `async with ctx.llm_call(tokens=900) as call: ...`.

    Entering waits while calls under way hold what this one needs. Leaving without `settle` or `release` charges the
    call with all that it reserved: nobody knows what a call used that was cut off.

    Raises:
        BudgetExceeded: on entering; the call must not be made.
    """

    __slots__ = (
        "_granted",
        "_held",
        "_lack",
        "_loop",
        "_priced",
        "_refusal",
        "_thread",
        "_token",
        "account",
        "amount",
    )

    def __init__(self, spender: Spender, amount: Amount, *, priced: bool) -> None:
        # In a closure: an action holds this object, and no attribute of what it holds leads to its run.
        self._refusal: Callable[[Lack], BudgetExceeded] = lambda lack: refuse(spender, lack)
        self.account = spender.account
        self.amount = amount
        self._priced = priced
        self._held = False
        self._lack: Lack | None = None
        self._granted: anyio.Event | None = None
        self._loop: Any = None
        self._thread = 0
        self._token: contextvars.Token[bool] | None = None

    async def __aenter__(self) -> Reservation:
        ledger = self.account.ledger
        patient = not _holding.get()
        with ledger.lock:
            # Those who wait go first, however little this one asks for.
            if (patient and ledger.waiting) or not self.decide(patient=patient):
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
            raise self._refusal(self._lack)
        self._token = _holding.set(True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.settle()
        if self._token is not None:
            with contextlib.suppress(ValueError):  # a stream may be closed elsewhere than where it was opened
                _holding.reset(self._token)

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
        read, written = count("input_tokens", input_tokens), count("output_tokens", output_tokens)
        cost = None if cost_usd is None else dollars(cost_usd)
        ledger = self.account.ledger
        with ledger.lock:
            if not self._give_back():
                return
            tokens = read + written if known else max(self.amount[1], read + written)
            unpriced = cost is None and not self._priced
            cost = self.amount[2] if cost is None else cost
            self.account.use((1, tokens, cost, read, written, int(not known), int(unpriced)))
            served = _serve(ledger)
        _wake(served)

    def release(self) -> None:
        """Say that nothing was sent: the call does not count. Only before `settle`."""
        ledger = self.account.ledger
        with ledger.lock:
            served = _serve(ledger) if self._give_back() else []
        _wake(served)

    def _give_back(self) -> bool:
        held, self._held = self._held, False
        if held:
            self.account.hold(self.amount, -1)
        return held

    def decide(self, *, patient: bool = True) -> bool:
        """Hold the amount, or refuse it. False if that is not decided before calls under way are settled."""
        lack = self.account.lack(self.amount)
        if lack is None:
            self.account.hold(self.amount)
            self._held = True
        elif lack.final or not patient:
            self._lack = lack
        return self._held or self._lack is not None

    async def _wait(self, granted: anyio.Event) -> None:
        try:
            await granted.wait()
        except BaseException:
            ledger = self.account.ledger
            with ledger.lock:
                if self in ledger.waiting:
                    ledger.waiting.remove(self)
            self.release()
            raise

    def wake(self) -> None:
        """Let it go on: it is decided."""
        assert self._granted is not None
        if self._thread == threading.get_ident():
            self._granted.set()
            return
        # A sync action may run an event loop of its own in its thread. Two loops that wait for each other would hang.
        soon = getattr(self._loop, "call_soon_threadsafe", None) or self._loop.run_sync_soon
        with contextlib.suppress(RuntimeError):  # that loop has ended, and he who waited on it gave back what he got
            soon(self._granted.set)


def _serve(ledger: Ledger) -> list[Claim]:
    """Decide for those who wait, in the order in which they came, as far as that is possible now.

    One that waits for the whole run's account lets nobody pass; one that waits for its step's does.
    """
    served: list[Claim] = []
    passed: list[Claim] = []
    while ledger.waiting:
        first = ledger.waiting.popleft()
        if first.decide():
            served.append(first)
            continue
        passed.append(first)
        if first.account.blocked_above(first.amount):
            break
    ledger.waiting.extendleft(reversed(passed))
    return served


def _wake(served: list[Claim]) -> None:
    for reservation in served:
        reservation.wake()
