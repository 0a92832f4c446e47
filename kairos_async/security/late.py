"""Regular expressions that are compiled when they are first used."""

from __future__ import annotations

import functools
import re
from typing import AnyStr, Generic


class Late(Generic[AnyStr]):
    """One of them. To compile all that look for secrets and paths takes 18 ms, and a process that only imports the
    package, or whose data give no cause to look closer, uses none.
    """

    def __init__(self, source: AnyStr, flags: int = 0) -> None:
        self.source: AnyStr = source
        self.flags = flags

    @functools.cached_property
    def pattern(self) -> re.Pattern[AnyStr]:
        """The compiled expression."""
        return re.compile(self.source, self.flags)
