"""How far a field can go: the largest batch, length or rank that fits, and the fewest GPUs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Any

from ..config import AnyConfig, TrainingConfig
from ..config.fields import nearest, real
from ..errors import ConfigError, shown
from ..estimate.estimate import MemoryEstimate, estimate
from ..export.draft import applies
from ..units import gib

#: The fields whose largest value that fits can be found. In each of them memory never falls as
#: the value grows: every tensor is as large or larger, and none is left out.
GROWING = ("micro_batch_size", "max_seq_len", "max_tokens_per_gpu", "lora_r")
#: The field whose fewest that fits can be found.
SHARING = "num_gpus"


class AdviceWarning(UserWarning):
    """Nothing fits, and why."""


@dataclass(frozen=True)
class Limit:
    """How far a field can go.

    Attributes
    ----------
    field : str
        The field.
    value : int
        The largest that fits (of `num_gpus` the fewest); 0 where nothing does.
    estimate : MemoryEstimate
        At that value; where nothing fits, the nearest there is to it.
    reached : bool
        Whether it is the end of what the model or the field takes, and memory sets no limit.
    need : int
        Bytes that have to be there for `estimate` to count as fitting.
    """

    field: str
    value: int
    estimate: MemoryEstimate
    reached: bool
    need: int

    @property
    def text(self) -> str:
        """The answer in one sentence."""
        what = named(self.field)
        usable = f"{gib(self.estimate.gpu.usable)} GiB usable"
        need = f"{gib(self.need)} of the {usable}"
        if self.field == SHARING:
            if self.value:
                return f"Fewest GPUs that fit: {self.value:,}."
            return f"No number of GPUs makes it fit: {need} on each even then."
        if self.value:
            end = ", as large as the model takes" if self.reached else ""
            return f"Largest {what} that fits: {self.value:,}{end}."
        return f"No {what} is small enough: 1 may need {need} on each GPU."

    def data(self) -> dict[str, Any]:
        """Return the limit in JSON types: what the widget shows, and applies."""
        changes = {self.field: self.value} if self.value else {}
        return {"field": self.field, "value": self.value, "text": self.text, "changes": changes}


def largest(config: AnyConfig, field: str, margin: float | None = None) -> int:
    """Return the largest value of a field that fits, everything else as it is.

    Parameters
    ----------
    config : TrainingConfig, mapping or str
        The choices, or only the model.
    field : str
        ``"micro_batch_size"``, ``"max_seq_len"``, ``"max_tokens_per_gpu"`` or ``"lora_r"``; or
        ``"num_gpus"``, of which the fewest are found.
    margin : float, optional
        What fits is ``expected * (1 + margin)``; without one it is `high`.

    Returns
    -------
    int
        No larger value fits, or the model takes no larger one. 0, with a warning that says by how
        much, where nothing fits; `suggest` says what would.

    Raises
    ------
    ConfigError
        For a field that has no such value or does nothing in this configuration.

    Notes
    -----
    By bisection, and by straight lines where memory is one, on the same estimate as everywhere:
    five to ten replays of the step. A sequence is never longer than the model's
    `max_position_embeddings`, a rank never larger than the widest layer that has an adapter. The
    number of GPUs goes in whole nodes; beyond the first, where DDP adds its buckets and FSDP its
    gathered weights, more never need more on each.

    Examples
    --------
    >>> config = TrainingConfig("meta-llama/Llama-3.1-8B", training_method="qlora", gpu="L40S")
    >>> most = largest(config, "micro_batch_size")
    >>> fits = config.replace(micro_batch_size=most)
    >>> beyond = config.replace(micro_batch_size=most + 1)
    >>> estimate(fits).verdict, estimate(beyond).verdict
    ('fits', 'likely')
    """
    found = limit(config, field, margin)
    if not found.value:
        warnings.warn(found.text, AdviceWarning, stacklevel=2)
    return found.value


def limit(config: AnyConfig, field: str, margin: float | None = None) -> Limit:
    """Return how far a field can go, with the estimate there; like `largest`, never warning."""
    if not isinstance(field, str) or field not in (*GROWING, SHARING):
        hint = nearest(field, [*GROWING, SHARING])
        fields = ", ".join((*GROWING, SHARING))
        raise ConfigError(f"largest finds {fields}, not {shown(field)}.{hint}")
    if margin is not None:
        share = real(margin)
        if share is None or not 0 <= share <= 10:
            wanted = "a share of the expected memory such as 0.1"
            raise ConfigError(f"margin is {wanted}, not {shown(margin)}.")
    start = TrainingConfig.of(config)
    if not applies(start.replace(num_gpus=2) if field == SHARING else start, field):
        raise ConfigError(f"{field} does nothing in {start.training_method}.")
    if field == "micro_batch_size" and start.max_tokens_per_gpu is not None:
        raise ConfigError(
            "max_tokens_per_gpu sets the micro-batch: ask for the largest max_tokens_per_gpu, or "
            "take it off."
        )
    if field == SHARING:
        start.replace(num_gpus=2 * start.num_nodes).check()
    search = _Search(start, field, margin)
    return search.fewest() if field == SHARING else search.most()


class _Search:
    """A search along one field, which remembers the estimates it has made."""

    def __init__(self, config: TrainingConfig, field: str, margin: float | None) -> None:
        self.config = config
        self.field = field
        self.margin = margin
        self.made: dict[int, MemoryEstimate] = {}

    def at(self, value: int) -> MemoryEstimate:
        """Return the estimate at a value."""
        if value not in self.made:
            changes: dict[str, Any] = {self.field: value}
            self.made[value] = estimate(self.config.replace(**changes))
        return self.made[value]

    def room(self, value: int) -> int | None:
        """Return the bytes left at a value, negative where it does not fit; None if it cannot be.

        What cannot be is taken for too large: a rank beyond a layer's width is.
        """
        try:
            found = self.at(value)
        except ConfigError:
            return None
        return found.gpu.usable - self.need(found)

    def need(self, found: MemoryEstimate) -> int:
        """Return the bytes that have to be there for it to count as fitting."""
        return found.high if self.margin is None else int(found.expected * (1 + self.margin))

    def limit(self, value: int, found: MemoryEstimate, reached: bool) -> Limit:
        """Return the answer: a value, 0 where none fits, and the estimate to show with it."""
        return Limit(self.field, value, found, reached, self.need(found))

    def most(self) -> Limit:
        least = self.at(1)  # raises what is wrong with the configuration itself
        end = int(TrainingConfig.fields()[self.field].metadata["maximum"])
        if self.field == "max_seq_len":
            reads = least.architecture.config.get("max_position_embeddings")
            end = min(end, int(reads)) if reads else end
        value = last(self.room, end)
        reached = value == end or (value > 0 and self.room(value + 1) is None)
        return self.limit(value, self.at(max(value, 1)), reached)

    def fewest(self) -> Limit:
        """Double the GPUs until it fits, then halve the step: far too many take more again.

        Each GPU's share of a weight is at least a row, and what is gathered is all shares.
        """
        nodes = self.config.num_nodes
        end = int(TrainingConfig.fields()[self.field].metadata["maximum"]) // nodes

        def fits(each: int) -> bool:
            room = self.room(each * nodes)
            return room is not None and room >= 0

        too_few, enough = 0, 1
        while not fits(enough):
            if enough == end:
                if not self.made:
                    self.at(end * nodes)  # raises what is wrong with the configuration itself
                return self.limit(0, min(self.made.values(), key=self.need), False)
            too_few, enough = enough, min(2 * enough, end)
        while enough - too_few > 1:
            between = (too_few + enough) // 2
            too_few, enough = (too_few, between) if fits(between) else (between, enough)
        value = enough * nodes
        return self.limit(value, self.at(value), value == nodes)


def named(field: str) -> str:
    """Return a field's label as it stands within a sentence.

    Examples
    --------
    >>> named("micro_batch_size"), named("lora_r"), named("max_tokens_per_gpu")
    ('micro-batch', 'LoRA rank', 'tokens per GPU')
    """
    label = str(TrainingConfig.fields()[field].metadata["label"])
    return label[0].lower() + label[1:] if label.split()[0][1:].islower() else label


def last(room: Callable[[int], int | None], end: int) -> int:
    """Return the last of 1 ... `end` with room, which grows less from each to the next; 0 if none.

    Between one that has room and one that has none, the next guess is where a straight line
    through both has none left, its neighbour, and the middle of the magnitudes.

    Examples
    --------
    >>> last(lambda value: 100 - value * value, 1000)
    10
    """
    left = room(1)
    if left is None or left < 0:
        return 0
    right = room(end)
    if right is not None and right >= 0:
        return end
    good, bad = 1, end
    while bad - good > 1:
        guesses = [isqrt(good * bad)]
        if right is not None and left > right:
            straight = good + (bad - good) * left // (left - right)
            guesses = [straight, straight + 1, *guesses]
        for guess in guesses:
            guess = min(max(guess, good + 1), bad - 1)
            if not good < guess < bad:
                break
            found = room(guess)
            if found is not None and found >= 0:
                good, left = guess, found
            else:
                bad, right = guess, found
    return good
