"""What words and charts read of a result: they know its figures, not where these come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ..config import TrainingConfig
from ..gpu import GPU
from ..step.architecture import Architecture
from ..step.timeline import Timeline


class Result(Protocol):
    """The memory of one GPU over the first training steps; unpacks to ``low, expected, high``."""

    config: TrainingConfig
    architecture: Architecture
    gpu: GPU
    low: int
    expected: int
    high: int
    components: dict[str, int]
    peak_phase: str
    peak_step: int
    num_trainable: int
    notices: tuple[str, ...]

    def __iter__(self) -> Iterator[int]: ...

    @property
    def timeline(self) -> Timeline:
        """Memory by component from loading to the end of the second step."""

    @property
    def reserved_over_time(self) -> Sequence[int]:
        """Bytes that PyTorch has taken of the card at each moment; none where it is not known."""

    @property
    def notes(self) -> dict[str, str]:
        """For each component at the peak, in a few words, what it is made of."""

    @property
    def capacity(self) -> int:
        """Bytes of memory of the card."""

    @property
    def num_parameters(self) -> int:
        """Parameters of the model, adapters not counted."""

    @property
    def verdict(self) -> str:
        """Whether it fits: ``fits``, ``likely``, ``risky`` or ``does_not_fit``."""


class Results(Protocol):
    """Several results side by side, each by its name."""

    @property
    def names(self) -> list[str]:
        """What each is called."""

    @property
    def estimates(self) -> Sequence[Result]:
        """The results."""


class Series(Results, Protocol):
    """The results over the values of one field."""

    @property
    def field(self) -> str:
        """The field that changes."""

    @property
    def label(self) -> str:
        """Its name for people, with its unit."""

    @property
    def title(self) -> str:
        """What stays the same, in words."""

    @property
    def values(self) -> Sequence[Any]:
        """What the field takes."""
