"""Memory of one GPU over the first training steps: the type every reading of a run shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import ConfigError, shown

#: What fills a GPU, in stacking order (PyTorch's profiler vocabulary).
COMPONENTS = (
    "parameters",
    "optimizer",
    "gradients",
    "activations",
    "outputs",
    "buffers",
    "overhead",
)

#: The moments of a training step. ``loss`` ends where ``loss.backward()`` begins.
PHASES = ("load", "forward", "loss", "backward", "optimizer_step")


@dataclass
class Timeline:
    """Bytes on one GPU, by component, at successive moments.

    Between two moments the level is a straight line. All lists have the same length.

    Attributes
    ----------
    seconds : list of float
        When, from the start of loading. Nominal: from FLOPs and bytes moved, not measured.
    step : list of int
        0 while loading, then the training step, from 1.
    phase : list of str
        One of `PHASES`.
    bytes : dict of str to list of int
        One list of bytes for each of `COMPONENTS`.
    """

    seconds: list[float] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    phase: list[str] = field(default_factory=list)
    bytes: dict[str, list[int]] = field(default_factory=lambda: {c: [] for c in COMPONENTS})

    def append(self, seconds: float, step: int, phase: str, levels: Sequence[int]) -> None:
        """Append one moment; `levels` are the bytes in the order of `COMPONENTS`."""
        self.seconds.append(seconds)
        self.step.append(step)
        self.phase.append(phase)
        for column, level in zip(self.bytes.values(), levels, strict=True):
            column.append(level)

    @property
    def total(self) -> list[int]:
        """Bytes over all components, moment by moment."""
        return [sum(levels) for levels in zip(*self.bytes.values(), strict=True)]

    @property
    def peak(self) -> int:
        """Index of the moment with the most bytes (the first, if several)."""
        total = self.total
        return total.index(max(total))

    def check(self, index: object) -> None:
        """Check that there is such a moment, counted as in a list.

        Raises
        ------
        ConfigError
            If there is none.
        """
        last = len(self) - 1
        if not isinstance(index, int) or not -last - 1 <= index <= last:
            raise ConfigError(f"index must be a moment from 0 to {last:,}, not {shown(index)}.")

    def __len__(self) -> int:
        return len(self.seconds)
