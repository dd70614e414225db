"""A language model as its weights: every one by its Hugging Face name and shape, and no bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerRun:
    """Consecutive decoder layers that are alike.

    Attributes
    ----------
    block : str
        The block in `step.blocks` that says what such a layer does.
    count : int
        How many there are.
    weights : mapping of str to tuple of int
        The weights of one layer: name within the layer (``self_attn.q_proj.weight``) to shape,
        as transformers' module holds it (a linear is ``(out_features, in_features)``).
    sliding_window : int or None
        Tokens that attention reaches back at most; None is all of them.
    """

    block: str
    count: int
    weights: Mapping[str, Shape]
    sliding_window: int | None = None

    @cached_property
    def num_parameters(self) -> int:
        """Parameters of one layer."""
        return sum(prod(shape) for shape in self.weights.values())


@dataclass(frozen=True)
class Architecture:
    """Everything about a model that decides the memory of a training step.

    Attributes
    ----------
    model_type : str
        As in config.json.
    config : mapping
        The text model's config.json, with the defaults of its family filled in.
    layers : tuple of LayerRun
        The decoder layers, in order.
    outside : mapping of str to tuple of int
        The weights outside the layers by full name: the token embedding, the last norm, where
        it is not tied the lm_head, and whatever else the family has there.
    towers : mapping of str to tuple of int
        The weights of other towers (vision, audio): held, but not run on text.
    known : bool
        False where the family is unknown and the generic decoder stands in for it.
    notices : tuple of str
        What a person should know about how this was found.
    layers_name, embedding_name, norm_name, lm_head_name : str
        What this model calls its layers, token embedding, last norm and lm_head.
    """

    model_type: str
    config: Mapping[str, Any]
    layers: tuple[LayerRun, ...]
    outside: Mapping[str, Shape]
    towers: Mapping[str, Shape] = field(default_factory=dict)
    known: bool = True
    notices: tuple[str, ...] = ()
    layers_name: str = "model.layers"
    embedding_name: str = "model.embed_tokens"
    norm_name: str = "model.norm"
    lm_head_name: str = "lm_head"

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
