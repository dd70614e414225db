"""What every layer of a pass shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .tape import DType, Tensor


class Context(NamedTuple):
    """The choices and the tensors that the layers of a pass have in common.

    Attributes
    ----------
    config : mapping
        The text model's config.json.
    float32_softmax : bool
        Whether eager attention takes the softmax in float32.
    length : int
        Tokens of one sequence.
    attn_implementation : str
        The chosen attention.
    mask_dtype : DType
        That of a mask of numbers, which eager attention adds to its scores.
    cos, sin : Tensor or None
        The rotary positions, ``length`` x rotated features of one head.
    mask : Tensor or None
        The attention mask of a padded batch.
    sliding_mask : Tensor or None
        That of layers whose attention reaches back less far than a sequence.
    per_layer_inputs : Tensor or None
        What Gemma 4 (E2B, E4B) gives each layer beside the hidden state, side by side.
    """

    config: Mapping[str, Any]
    float32_softmax: bool
    length: int
    attn_implementation: str
    mask_dtype: DType
    cos: Tensor | None = None
    sin: Tensor | None = None
    mask: Tensor | None = None
    sliding_mask: Tensor | None = None
    per_layer_inputs: Tensor | None = None

    @property
    def heads(self) -> int:
        """Query heads."""
        return int(self.config["num_attention_heads"])

    @property
    def drops_attention(self) -> bool:
        """Whether attention weights are dropped; the fused kernels keep nothing more for it."""
        return any(self.config.get(name) for name in ("attn_pdrop", "attention_dropout"))

    @property
    def head_dim(self) -> int:
        """Features of one head."""
        return int(self.config["head_dim"])
