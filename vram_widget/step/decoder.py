"""A decoder as its weights, every one by its Hugging Face name and shape, and its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from .context import Context
from .layer import Layer
from .methods.parameter import Shape
from .tape import Tensor

#: What one layer does to the hidden state.
Block = Callable[[Context, Layer, Tensor], Tensor]


@dataclass(frozen=True)
class LayerGroup:
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
    trained : frozenset of str or None
        The weights that train in these layers, where not all do.
    """

    block: Block
    count: int
    weights: Mapping[str, Shape]
    sliding_window: int | None = None
    not_linear: frozenset[str] = frozenset()
    transposed: frozenset[str] = frozenset()
    adapted: frozenset[str] | None = None
    trained: frozenset[str] | None = None

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


@dataclass(frozen=True, eq=False)
class Decoder:
    """A language model as its family lists its weights.

    Attributes
    ----------
    config : mapping
        The text model's config.json, with the defaults of its family filled in.
    layers : tuple of LayerGroup
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
    layers: tuple[LayerGroup, ...]
    outside: Mapping[str, Shape]
    layers_name: str = "model.layers"
    embedding_name: str = "model.embed_tokens"
    norm_name: str = "model.norm"
    lm_head_name: str = "lm_head"
    positions_name: str = ""
    masks: Mapping[str, Shape] = field(default_factory=dict)
