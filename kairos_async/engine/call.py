"""A step, or an item of a foreach, while it is under way."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable
from typing import Protocol

import anyio

from kairos_async._types import JSONValue
from kairos_async.account import Account
from kairos_async.budget import Budget
from kairos_async.context import Scope, Services, StepContext
from kairos_async.engine.emit import Emitter
from kairos_async.engine.retry import AttemptFailed
from kairos_async.engine.schedule import Schedule
from kairos_async.engine.slots import Slot
from kairos_async.engine.tasks import Workers
from kairos_async.exceptions import BudgetExceeded, StepTimeoutError
from kairos_async.failure import Failure
from kairos_async.flow import SecretOutput
from kairos_async.limits import Limiter
from kairos_async.node import Node
from kairos_async.outcomes import Attempt
from kairos_async.security import KnownSecrets


class RunServices(Services, Protocol):
    """What one call needs of its run."""

    run_id: str
    emitter: Emitter
    context: contextvars.Context
    limiter: Limiter | None
    entering: tuple[Callable[[StepContext], object], ...]
    schedule: Schedule
    on_secret_output: SecretOutput
    secrets: KnownSecrets
    workers: Workers
    stopping: bool
    started: float
    deadline: float
    outer_deadline: float

    def now(self) -> float:
        """The event loop's clock, in seconds."""

    def threads(self) -> anyio.CapacityLimiter:
        """The run's worker threads."""

    def abort(self, failure: Failure) -> None:
        """End the run: cancel what is running; what has not run is skipped."""

    def commit(self, node: Node, output: JSONValue, size: int, written: dict[str, JSONValue] | None) -> None:
        """Store what a step produced: its output, and what it wrote; `size` is that of both together."""


class Call(Scope):
    """A step, or an item of a foreach, on its way to an outcome; also the scope of its attempt under way.

    `started`, `ended` (of the last attempt) and `deadline` (infinite if the step has no total_timeout) are on the
    event loop's clock. `failed` is what a failure asks for, until that is decided. `feedback` is for the next
    attempt's `ctx.retry_context`. `attempts` has those made so far, but for a first one that succeeded. `acting` is
    True while the action itself runs. A successful attempt leaves its `output`, beside the writes of the scope,
    `output_size` in bytes, and `shown`, which is the output redacted if there are hooks and this is no item; or
    `skipped` if the action returned SKIP.
    """

    __slots__ = (
        "acting",
        "attempts",
        "deadline",
        "ended",
        "failed",
        "feedback",
        "item",
        "output",
        "output_size",
        "shown",
        "skipped",
        "slot",
        "started",
    )

    run: RunServices
    node: Node

    def __init__(
        self,
        run: RunServices,
        node: Node,
        slot: Slot,
        account: Account,
        deadline: float = math.inf,
        item: JSONValue = None,
        index: int | None = None,
    ) -> None:
        self.run = run
        self.node = node
        self.account = account
        self.written = self.sizes = self.log = self.refused = None
        self.size = 0
        self.slot = slot
        self.started = self.ended = run.now()
        self.deadline = deadline
        self.acting = False
        self.item = item
        self.number = 1
        self.index = index
        self.attempts: tuple[Attempt, ...] = ()
        self.failed: AttemptFailed | None = None
        self.feedback: dict[str, JSONValue] | None = None
        self.output: JSONValue = None
        self.shown: JSONValue = None
        self.output_size = 0
        self.skipped = False

    def bound(self, seconds: float | None, scope: str, budget: Budget | None) -> None:
        """Limit the call in time and in what it may spend, beyond what it is limited by already."""
        self.deadline = min(self.deadline, self.started + (seconds or math.inf))
        if budget is not None:  # without one of its own, the account is that of the run, whose seconds end the run
            self.account = self.account.part(scope, str(self), budget, self.started)
            self.deadline = min(self.deadline, self.account.deadline)

    def late(self, *, abandoned: bool = False) -> StepTimeoutError | BudgetExceeded:
        """The error for a `deadline` that has passed: of a budget's seconds or of the step's total_timeout."""
        account: Account | None = self.account
        while account is not None and account is not self.run.account:
            if account.deadline <= self.deadline:
                return account.out_of_time()
            account = account.parent
        return StepTimeoutError(
            f"{self} with all its attempts", self.node.step.total_timeout or 0.0, abandoned=abandoned
        )

    @property
    def is_whole_foreach(self) -> bool:
        """Whether this stands for a foreach that failed as a whole, and is neither a plain step nor an item."""
        return self.index is None and self.node.foreach is not None

    def __str__(self) -> str:
        item = "" if self.index is None else f", item {self.index}"
        return f"Step {self.node.name!r}{item}"
