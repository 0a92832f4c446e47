"""A worker's hold on one slot: given up while a retry waits, and asked for again in the queue."""

from __future__ import annotations

import contextvars
from typing import Protocol

import anyio

from kairos_async.context import CURRENT
from kairos_async.engine.schedule import Schedule
from kairos_async.engine.tasks import Workers
from kairos_async.limits import Limiter
from kairos_async.node import Node


class SlotSource(Protocol):
    """What a slot needs of its run."""

    context: contextvars.Context
    limiter: Limiter | None
    schedule: Schedule
    unbegun: int
    workers: Workers

    def pump(self) -> None:
        """Start what may start."""

    def release_slot(self) -> None:
        """Give a slot back and start what may start."""


class Resume:
    """A unit that waits for a slot so that an attempt can follow a retry delay."""

    __slots__ = ("abandoned", "granted", "node", "parallel")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.parallel = True
        self.granted = anyio.Event()
        self.abandoned = False


class Slot:
    """One worker's slot, and whether its task is fit for another unit.

    Attributes:
        held: True from the start; False while the slot is given up.
        item_scope: what cancels the item of a foreach that it runs; None if only all workers can be cancelled.
        clean: whether the task's context variables are still those of the run, and nobody has asked to cancel the task
            itself. An action may do either; then the task does not run another unit.
    """

    __slots__ = ("_count", "_find", "_run", "_task", "clean", "held", "item_scope")

    def __init__(self, run: SlotSource) -> None:
        self._run = run
        run.unbegun -= 1  # from here on it is the worker that gives the slot back
        # Of the run's variables; asked for here and not for each unit, 1 % of which it would take.
        self._count, self._find = len(run.context), run.context.get
        self._task = run.workers.current_task()
        self.item_scope: anyio.CancelScope | None = None
        self.held = True
        self.clean = True

    def note_leftovers(self) -> None:
        """See whether an action has left context variables behind in this task, or a request to cancel it.

        Values are compared by identity: `==` is theirs to define.
        """
        current = contextvars.copy_context()
        if len(current) != self._count or self._task.cancelling():
            self.clean = False
        find = self._find
        for variable, value in current.items():
            if variable is not CURRENT and find(variable) is not value:
                self.clean = False

    def give_up(self) -> None:
        """Let other work have the slot."""
        if self.held:
            self.held = False
            self._run.release_slot()

    async def regain(self, node: Node) -> None:
        """Wait, behind what waits already, until a slot is free again."""
        if self.held:
            return
        resume = Resume(node)
        self._run.schedule.push(resume)
        self._run.pump()
        try:
            await resume.granted.wait()
        except BaseException:
            resume.abandoned = True
            if resume.granted.is_set():
                self._run.release_slot()
            raise
        self.held = True
