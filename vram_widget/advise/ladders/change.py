"""What advice is made of: a change, and a function that knows the changes of one kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...config import TrainingConfig
from ...estimate.estimate import MemoryEstimate
from ...trainers import TRAINERS


class Change(NamedTuple):
    """Fields to change, what that is in words, and what it costs in time or quality."""

    fields: dict[str, Any]
    what: str
    cost: str


#: What the gentlest cost.
FREE = "same results, no slower"

#: From a configuration, and an estimate that knows its model and card, to its changes of one kind:
#: the gentlest first, each of the others in its place and stronger.
Ladder = Callable[[TrainingConfig, MemoryEstimate], list[Change]]


def flip(
    when: Callable[[TrainingConfig], bool], fields: dict[str, Any], what: str, cost: str
) -> Ladder:
    """Return a ladder of one rung: fields to set in configurations of some kind.

    Examples
    --------
    >>> no_dora = flip(lambda config: config.use_dora, {"use_dora": False}, "Use LoRA", "faster")
    >>> [rung.fields for rung in no_dora(TrainingConfig("m", use_dora=True), ...)]
    [{'use_dora': False}]
    """

    def ladder(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
        return [Change(fields, what, cost)] if when(config) else []

    return ladder


def switch(methods: tuple[str, ...], method: str, what: str, cost: str) -> Ladder:
    """Return a ladder of one rung: from some methods to another, the batch as it is.

    Examples
    --------
    >>> adapters = switch(("sft", "osft"), "lora", "Train adapters", "faster")
    >>> config = TrainingConfig("m", training_method="sft", micro_batch_size=4)
    >>> adapters(config, ...)[0].fields["micro_batch_size"]
    4
    """
    batch = (
        "micro_batch_size",
        "max_seq_len",
        "max_tokens_per_gpu",
        "gradient_accumulation_steps",
    )

    def ladder(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
        if config.training_method not in methods:
            return []
        fields = {"training_method": method, **{name: getattr(config, name) for name in batch}}
        sharding = TRAINERS[config.trainer].strategy(method, config.sharding)
        if config.num_gpus > 1 and sharding != config.sharding:
            fields["sharding"] = sharding
        return [Change(fields, what, cost)]

    return ladder
