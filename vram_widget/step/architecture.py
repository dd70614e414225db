"""A language model as its weights: every one by its Hugging Face name and shape, and no bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .family import Block, Family

Shape = tuple[int, ...]

#: A layer's number within a name.
_NUMBER = re.compile(r"\.\d+\.")


@dataclass(frozen=True)
class LayerRun:
    """Consecutive decoder layers that are alike.

    Attributes
    ----------
    block : callable
        What such a layer does: a function of a module, which is known by identity.
    count : int
        How many there are.
    weights : mapping of str to tuple of int
        The weights of one layer: name within the layer (``self_attn.q_proj.weight``) to shape,
        as transformers' module holds it (a linear is ``(out_features, in_features)``).
    sliding_window : int or None
        Tokens that attention reaches back at most; None is all of them.
    not_linear : frozenset of str
        Two-dimensional weights that are no ``torch.nn.Linear`` (routers): adapters and
        quantisation pass them by.
    transposed : frozenset of str
        Linears stored as ``(in_features, out_features)``: GPT-2's ``Conv1D``.
    adapted : frozenset of str or None
        The linears that get an adapter in these layers, where not the same ones do in all.
    """

    block: Block
    count: int
    weights: Mapping[str, Shape]
    sliding_window: int | None = None
    not_linear: frozenset[str] = frozenset()
    transposed: frozenset[str] = frozenset()
    adapted: frozenset[str] | None = None

    @cached_property
    def oriented(self) -> Mapping[str, Shape]:
        """The weights of one layer, every linear as ``(out_features, in_features)``."""
        return {
            name: shape[::-1] if name in self.transposed else shape
            for name, shape in self.weights.items()
        }

    @cached_property
    def linears(self) -> frozenset[str]:
        """The names of a layer's ``torch.nn.Linear`` modules."""
        return frozenset(
            name.removesuffix(".weight")
            for name, shape in self.weights.items()
            if name.endswith(".weight") and len(shape) == 2 and name not in self.not_linear
        )

    @cached_property
    def num_parameters(self) -> int:
        """Parameters of one layer."""
        return sum(prod(shape) for shape in self.weights.values())


@dataclass(frozen=True)
class Stretch:
    """What comes `count` times in a row: one layer, or some in the same order each time.

    Attributes
    ----------
    parts : tuple of LayerRun or Stretch
        A layer each, or several that repeat within the pattern.
    count : int
        How often they come.
    """

    parts: tuple[LayerRun | Stretch, ...]
    count: int


@dataclass(frozen=True, eq=False)
class Decoder:
    """A language model as its family lists its weights.

    Attributes
    ----------
    config : mapping
        The text model's config.json, with the defaults of its family filled in.
    layers : tuple of LayerRun
        The decoder layers, in order.
    outside : mapping of str to tuple of int
        The weights outside the layers by full name: the token embedding, the last norm, where
        it is not tied the lm_head, and whatever else the family has there.
    layers_name, embedding_name, norm_name, lm_head_name : str
        What this model calls its layers, token embedding, last norm and lm_head.
    positions_name : str
        What it calls its learned positions; empty where it has none.
    masks : mapping of str to tuple of int
        Boolean tensors that it holds beside its weights.
    """

    config: Mapping[str, Any]
    layers: tuple[LayerRun, ...]
    outside: Mapping[str, Shape]
    layers_name: str = "model.layers"
    embedding_name: str = "model.embed_tokens"
    norm_name: str = "model.norm"
    lm_head_name: str = "lm_head"
    positions_name: str = ""
    masks: Mapping[str, Shape] = field(default_factory=dict)


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
        """Decoder layers, over all runs."""
        return sum(run.count for run in self.layers)

    @property
    def tie_word_embeddings(self) -> bool:
        """Whether the lm_head is the token embedding."""
        return bool(self.config["tie_word_embeddings"])

    @cached_property
    def num_parameters(self) -> int:
        """All parameters, a tied lm_head counted once."""
        elsewhere = (*self.outside.values(), *self.towers.values())
        inside = sum(run.count * run.num_parameters for run in self.layers)
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
        return self._patterns([(r.block, r.weights, r.adapted) for r in self._one_by_one])

    @cached_property
    def windowed_stretches(self) -> tuple[Stretch, ...]:
        """The same where it matters how far attention reaches: some kernels need a mask then."""
        return self._patterns(
            [(r.block, r.weights, r.adapted, r.sliding_window) for r in self._one_by_one]
        )

    @cached_property
    def _one_by_one(self) -> list[LayerRun]:
        return [run for run in self.layers for _ in range(run.count)]

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
        for run in self.layers:
            for _ in range(run.count):
                for name, shape in run.weights.items():
                    yield f"{self.layers_name}.{index}.{name}", shape
                index += 1
        yield from self.towers.items()


def _stretches(kinds: list[int], layers: list[LayerRun]) -> Iterator[Stretch]:
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
