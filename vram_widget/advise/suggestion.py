"""A change to a configuration, with what it does and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..config import TrainingConfig
from ..estimate.estimate import MemoryEstimate
from ..show import text
from ..show.table import Cell, table
from ..units import GiB, gib

#: Less than this is not worth a change.
WORTH = GiB // 10


@dataclass(frozen=True)
class Suggestion:
    """A change, or several together, and what it does: estimated, never guessed.

    Attributes
    ----------
    what : str
        The change in words.
    changes : dict
        Fields with their new values, for ``config.replace(**changes)``: those that differ, and
        with a new method those that do not follow its defaults.
    saves : int
        Bytes less on each GPU, as expected; negative where it spends room.
    cost : str
        What it costs in time, quality or hardware.
    estimate : MemoryEstimate
        With the change made.
    """

    what: str
    changes: dict[str, Any]
    saves: int
    cost: str
    estimate: MemoryEstimate

    @property
    def verdict(self) -> str:
        """Whether it fits afterwards: ``fits``, ``likely``, ``risky`` or ``does_not_fit``."""
        return self.estimate.verdict

    @property
    def fits(self) -> bool:
        """Whether what is counted fits afterwards even in the worst case."""
        return self.estimate.fits

    @property
    def config(self) -> TrainingConfig:
        """The configuration with the change made."""
        return self.estimate.config

    @property
    def effect(self) -> str:
        """What it saves or takes, and what it costs."""
        if abs(self.saves) < WORTH:
            return self.cost
        verb = "saves" if self.saves > 0 else "takes"
        return f"{verb} {gib(abs(self.saves))} GiB, {self.cost}"

    @property
    def text(self) -> str:
        """The suggestion in one sentence."""
        return f"{self.what}: {self.effect}"

    def __repr__(self) -> str:
        return f"{self.text} ({text.verdict(self.estimate)})"


class Suggestions(list[Suggestion]):
    """Suggestions, the best first, which show themselves as a table in a notebook."""

    def _repr_html_(self) -> str:
        rows: list[list[str | Cell]] = [
            [
                each.what,
                gib(each.saves) if each.saves >= 0 else f"−{gib(-each.saves)}",
                each.cost,
                Cell(text.verdict(each.estimate), each.verdict),
            ]
            for each in self
        ]
        return table("Suggestions", ["change", "saves, GiB", "cost", "then"], rows)
