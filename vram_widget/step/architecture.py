"""A language model: its decoder, its family, its other towers, and no bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from .decoder import Decoder, LayerGroup
from .family import Config, Family
from .methods.parameter import Shape

#: A layer's number within a name.
_NUMBER = re.compile(r"\.\d+\.")


@dataclass(frozen=True)
class Stretch:
    """What comes `count` times in a row: one layer, or some in the same order each time.

    Attributes
    ----------
    parts : tuple of LayerGroup or Stretch
        A layer each, or several that repeat within the pattern.
    count : int
        How often they come.
    """

    parts: tuple[LayerGroup | Stretch, ...]
    count: int


@dataclass(frozen=True, eq=False, kw_only=True)  # one object a model: known by identity
class Architecture(Decoder):
    """Everything about a model that decides the memory of a training step.

    Attributes
    ----------
    family : Family
        What is known of its family; of a multimodal model, that of its language model.
    towers : mapping of str to tuple of int
        The weights of other towers (vision, audio): held, but not run on text.
    known : bool
        False where the family is unknown and the generic decoder stands in for it.
    notices : tuple of str
        What a person should know about how this was found.
    source : str
        Where it was found, in words.
    quantization : str or None
        How the checkpoint stores its linears, where it is quantised already.
    """

    family: Family
    towers: Mapping[str, Shape] = field(default_factory=dict)
    known: bool = True
    notices: tuple[str, ...] = ()
    source: str = ""
    quantization: str | None = None

    @classmethod
    def of(cls, family: Family, config: Config) -> Architecture:
        """Return the model of a family that a config describes, its defaults filled in."""
        return cls(**vars(family.weights(config)), family=family)

    @property
    def model_type(self) -> str:
        """The family's name in config.json."""
        return str(self.config["model_type"])

    @property
    def hidden_size(self) -> int:
        """Width of the hidden stream."""
        return int(self.config["hidden_size"])

    @property
    def vocab_size(self) -> int:
        """Rows of the token embedding."""
        return int(self.config["vocab_size"])

    @property
    def num_hidden_layers(self) -> int:
        """Decoder layers, over all groups."""
        return sum(group.count for group in self.layers)

    @property
    def tie_word_embeddings(self) -> bool:
        """Whether the lm_head is the token embedding."""
        return bool(self.config["tie_word_embeddings"])

    @cached_property
    def num_parameters(self) -> int:
        """All parameters, a tied lm_head counted once."""
        elsewhere = (*self.outside.values(), *self.towers.values())
        inside = sum(group.count * group.num_parameters for group in self.layers)
        return inside + sum(prod(shape) for shape in elsewhere)

    @cached_property
    def tower_linears(self) -> frozenset[str]:
        """The names of the other towers' linears, as far as names tell them from tables."""
        return frozenset(
            name.removesuffix(".weight")
            for name, shape in self.towers.items()
            if name.endswith(".weight") and len(shape) == 2 and "embed" not in name
        )

    @cached_property
    def alike_in_towers(self) -> tuple[tuple[str, Shape, int], ...]:
        """The other towers' weights, those that differ in a number of their name counted once."""
        found: dict[tuple[str, Shape], list[str]] = {}
        for name, shape in self.towers.items():
            found.setdefault((_NUMBER.sub(".", name), shape), []).append(name)
        return tuple((names[0], shape, len(names)) for (_, shape), names in found.items())

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        """The layers as patterns that repeat: a hybrid's period, or one layer many times.

        Layers that differ in how far attention reaches, and in nothing else, are alike here.
        """
        return self._patterns([_traits(group) for group in self._one_by_one])

    @cached_property
    def windowed_stretches(self) -> tuple[Stretch, ...]:
        """The same where it matters how far attention reaches: some kernels need a mask then."""
        return self._patterns([(*_traits(g), g.sliding_window) for g in self._one_by_one])

    @cached_property
    def _one_by_one(self) -> list[LayerGroup]:
        return [group for group in self.layers for _ in range(group.count)]

    def _patterns(self, traits: list[tuple[object, ...]]) -> tuple[Stretch, ...]:
        distinct: list[tuple[object, ...]] = []
        kinds = []
        for trait in traits:
            if trait not in distinct:
                distinct.append(trait)
            kinds.append(distinct.index(trait))
        return tuple(_stretches(kinds, self._one_by_one))

    def weights(self) -> Iterator[tuple[str, Shape]]:
        """Yield every weight's full name and shape, layer by layer."""
        yield from self.outside.items()
        index = 0
        for group in self.layers:
            for _ in range(group.count):
                for name, shape in group.weights.items():
                    yield f"{self.layers_name}.{index}.{name}", shape
                index += 1
        yield from self.towers.items()


def _traits(group: LayerGroup) -> tuple[object, ...]:
    return group.block, group.weights, group.adapted, group.trained


def _stretches(kinds: list[int], layers: list[LayerGroup]) -> Iterator[Stretch]:
    """Yield the stretches of some layers; patterns that repeat within a pattern are inside it."""
    for start, period, count in _patterns(kinds):
        end = start + period
        if period == 1:
            yield Stretch((layers[start],), count)
            continue
        inside = _stretches(kinds[start:end], layers[start:end])
        parts = (part if part.count > 1 else part.parts[0] for part in inside)
        yield Stretch(tuple(parts), count)


def _patterns(kinds: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield start, period and count of the repeating patterns, each the one that covers most."""
    start = 0
    while start < len(kinds):
        period, count = max(
            ((p, _repeats(kinds, start, p)) for p in range(1, (len(kinds) - start) // 2 + 1)),
            key=lambda found: (found[0] * found[1] if found[1] > 1 else 0, -found[0]),
            default=(1, 1),
        )
        yield start, period, count
        start += period * count


def _repeats(kinds: list[int], start: int, period: int) -> int:
    """Return how often the `period` kinds at `start` come in a row."""
    pattern, count = kinds[start : start + period], 1
    while kinds[start + count * period : start + (count + 1) * period] == pattern:
        count += 1
    return count
