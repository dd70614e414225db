"""The trainers: one file each, which holds all that is known of it, with its source.

A file in this folder that has a `TRAINER` is one more trainer: an option of the form, and of
`TrainingConfig(trainer=...)`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from .peft import QUERY_AND_VALUE, Targets
from .trainer import SHARDS_PARAMETERS, Trainer

__all__ = [
    "QUERY_AND_VALUE",
    "SHARDS_PARAMETERS",
    "TRAINERS",
    "Targets",
    "Trainer",
    "defaults",
    "running",
    "supporting",
    "supports",
]


def _found() -> dict[str, Trainer]:
    modules = (import_module(f"{__name__}.{file.name}") for file in iter_modules(__path__))
    trainers: list[Trainer] = [each.TRAINER for each in modules if hasattr(each, "TRAINER")]
    return {trainer.name: trainer for trainer in sorted(trainers, key=lambda each: each.order)}


#: Every trainer by name, in the order of a form.
TRAINERS = _found()


def supports(trainer: str, training_method: str) -> bool:
    """Return whether `trainer` can run `training_method`.

    Examples
    --------
    >>> supports("training_hub", "osft"), supports("trl", "osft")
    (True, False)
    """
    return trainer in TRAINERS and training_method in TRAINERS[trainer].defaults


def running(training_method: str, sharding: str) -> list[str]:
    """Return the trainers that run `training_method` on several GPUs by `sharding`.

    Examples
    --------
    >>> running("osft", "fsdp"), "training_hub" in running("lora", "zero3")
    (['training_hub'], False)
    """
    return [name for name, each in TRAINERS.items() if each.can_run(training_method, sharding)]


def supporting(training_method: str) -> list[str]:
    """Return the trainers that can run `training_method`.

    Examples
    --------
    >>> supporting("osft")
    ['training_hub']
    """
    return [trainer for trainer in TRAINERS if supports(trainer, training_method)]


def defaults(trainer: str, training_method: str) -> dict[str, Any]:
    """Return the fields that `trainer` sets for `training_method`; empty where it cannot run it.

    Examples
    --------
    >>> defaults("training_hub", "sft")["param_dtype"]
    'float32'
    """
    if not supports(trainer, training_method):
        return {}
    return dict(TRAINERS[trainer].defaults[training_method])
