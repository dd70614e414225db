"""What is known of a model family: its weights, its defaults, and what surrounds its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .decoder import Decoder
from .layer import Layer
from .norms import Norm, rms_norm
from .tape import Tensor

Config = Mapping[str, Any]

#: Gemma 4's inputs by layer, of the model, what lies outside its layers, the tokens and the
#: hidden state; None where a model has none.
PerLayerInputs = Callable[[Decoder, Layer, Tensor, Tensor], Tensor | None]


def rotary_features(config: Config, share: float = 1.0) -> int:
    """Return how many features of a head are rotated: `share`, unless config.json says."""
    rope = config.get("rope_parameters") or {}
    named = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor")
    share = named or config.get("rotary_pct") or share
    return int(config.get("qk_rope_head_dim") or config["head_dim"] * share)


def no_rotary_features(config: Config) -> int:
    """Return none: positions are learned, or no attention sees any."""
    return 0


@dataclass(frozen=True, eq=False)  # one object a family: known by identity
class Family:
    """Everything about a model_type but its dimensions.

    Attributes
    ----------
    weights : callable
        Lists the weights of a model by its config, and what each layer does.
    defaults : mapping
        What transformers takes where config.json leaves a field out.
    multimodal : mapping of str to bool
        The multimodal model_types that hold it as their language model, and whether each ties
        its lm_head to the token embedding by default.
    norm : callable
        Its last norm.
    scaled_word_embedding : bool
        The token embedding multiplies by the square root of the hidden size itself.
    embedding_multiplier : bool
        A number scales what the token embedding gives.
    scaled_hidden_state : bool
        A number scales what goes into the lm_head.
    logits_scaling : bool
        A number scales the logits.
    rotary_features : callable
        How many features of a head have a cosine and a sine, by the config.
    position_tables : int
        Kinds of rotary positions; Gemma 3 has one for layers that slide and one for the others.
    supports_sdpa : bool
        As ``_supports_sdpa`` in transformers, which runs it eager otherwise.
    always_masked : bool
        It makes sdpa a mask even where no token is padding.
    float32_softmax : bool
        Eager attention takes the softmax in float32, and not in the scores' own dtype.
    per_layer_inputs : callable or None
        Makes what each layer gets beside the hidden state.
    """

    weights: Callable[[Config], Decoder]
    defaults: Config = field(default_factory=dict)
    multimodal: Mapping[str, bool] = field(default_factory=dict)
    norm: Norm = rms_norm
    scaled_word_embedding: bool = False
    embedding_multiplier: bool = False
    scaled_hidden_state: bool = False
    logits_scaling: bool = False
    rotary_features: Callable[[Config], int] = rotary_features
    position_tables: int = 1
    supports_sdpa: bool = True
    always_masked: bool = False
    float32_softmax: bool = True
    per_layer_inputs: PerLayerInputs | None = None
