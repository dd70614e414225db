"""What an export is written for: a trainer, or something that runs one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..config import TrainingConfig
from ..trainers import Trainer
from .draft import Draft


@dataclass(frozen=True)
class Target:
    """What an export is written for.

    Attributes
    ----------
    name, label : str
        What `export` calls it, and what people do.
    order : int
        Its place among the others: that of its trainer, where it is one.
    export : callable
        Writes a configuration for it.
    reads_yaml : bool
        Whether it reads YAML; else it takes keyword arguments in Python.
    """

    name: str
    label: str
    order: int
    export: Callable[[TrainingConfig], Draft]
    reads_yaml: bool = False

    @classmethod
    def of(
        cls, trainer: Trainer, export: Callable[[TrainingConfig], Draft], reads_yaml: bool = False
    ) -> Target:
        """Return a trainer as a target."""
        return cls(trainer.name, trainer.label, trainer.order, export, reads_yaml)
