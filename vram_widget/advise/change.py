"""What advice is made of: a change, and a function that knows the changes of one kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..config import TrainingConfig
from ..estimate import MemoryEstimate


class Change(NamedTuple):
    """Fields to change, what that is in words, and what it costs in time or quality."""

    fields: dict[str, Any]
    what: str
    cost: str


#: What the gentlest cost.
FREE = "same results, no slower"

#: From a configuration, and an estimate that knows its model and card, to a ladder of changes:
#: the gentlest rung first, each of the others in its place and stronger.
Saver = Callable[[TrainingConfig, MemoryEstimate], list[Change]]
