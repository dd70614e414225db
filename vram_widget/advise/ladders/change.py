"""What advice is made of: a change, and a function that knows the changes of one kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...config import TrainingConfig
from ...estimate.estimate import MemoryEstimate


class Change(NamedTuple):
    """Fields to change, what that is in words, and what it costs in time or quality."""

    fields: dict[str, Any]
    what: str
    cost: str


def method(config: TrainingConfig, name: str) -> dict[str, Any]:
    """Return the fields that change the method and keep the batch, whatever is usual with it.

    Examples
    --------
    >>> config = TrainingConfig("m", training_method="sft", micro_batch_size=4)
    >>> method(config, "lora")["micro_batch_size"]
    4
    """
    batch = (
        "micro_batch_size",
        "max_seq_len",
        "max_tokens_per_gpu",
        "gradient_accumulation_steps",
    )
    return {"training_method": name, **{field: getattr(config, field) for field in batch}}


#: What the gentlest cost.
FREE = "same results, no slower"

#: From a configuration, and an estimate that knows its model and card, to a ladder of changes:
#: the gentlest rung first, each of the others in its place and stronger.
Saver = Callable[[TrainingConfig, MemoryEstimate], list[Change]]
