"""How much a logger shows."""

from __future__ import annotations

import enum
from typing import Final


class LogLevel(enum.StrEnum):
    """How much a logger shows."""

    MINIMAL = "minimal"
    """That a run began and how it ended, and what failed."""
    NORMAL = "normal"
    """What happens to each step, and each call of a model."""
    VERBOSE = "verbose"
    """Everything: also each item, the steps' outputs, and what a model streams."""

    def up_to(self) -> list[LogLevel]:
        """The levels that show no more than this one."""
        levels = list(LogLevel)
        return levels[: levels.index(self) + 1]


OUTPUT_FROM: Final = LogLevel.VERBOSE
"""The level from which on a step's output is shown with its `step_complete`."""
