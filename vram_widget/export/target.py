"""What an export is written for: a trainer, or something that runs one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..config import TrainingConfig
from ..trainers import Trainer
from .draft import Draft

Language = Literal["python", "yaml", "json"]


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
    language : str
        What it reads: ``"yaml"``, ``"json"``, or ``"python"``, which takes keyword arguments.
    """

    name: str
    label: str
    order: int
    export: Callable[[TrainingConfig], Draft]
    language: Language = "python"

    @classmethod
    def of(
        cls,
        trainer: Trainer,
        export: Callable[[TrainingConfig], Draft],
        language: Language = "python",
    ) -> Target:
        """Return a trainer as a target."""
        return cls(trainer.name, trainer.label, trainer.order, export, language)
