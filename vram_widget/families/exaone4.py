"""EXAONE 4: norms behind attention and MLP, and on each head of queries and keys."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import Tensor
from .parts.attention import attention_weights, normed_attention
from .parts.layers import FULL, DecoderLayer, decoder, grouped, layer_types, window
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config, head_norms, norm


def exaone4(config: Config) -> Decoder:
    """EXAONE 4: norms after attention and MLP, and over each head of q and k.

    Where some layers slide, the others know no positions.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    weights = {
        **attention_weights(config),
        **head_norms(config, "q_norm", "k_norm"),
        **norm("post_attention_layernorm", hidden),
        **gated_mlp_weights("mlp", hidden, inner),
        **norm("post_feedforward_layernorm", hidden),
    }
    hybrid = config.get("sliding_window") is not None
    kinds = layer_types(config, config.get("sliding_window_pattern", 4) if hybrid else 1)
    layers = grouped(
        DecoderLayer(
            exaone4_nope_layer if hybrid and kind == FULL else exaone4_layer,
            weights,
            window(config, kind),
        )
        for kind in kinds
    )
    return decoder(config, layers)


def exaone4_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """EXAONE 4: norms behind attention and MLP, and on each head of queries and keys."""
    residual = x
    x = normed_attention(context, layer, x)
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = ops.add(residual, x)
    residual = x
    x = gated_mlp(layer, x)
    x = rms_norm(layer, "post_feedforward_layernorm", x)
    return ops.add(residual, x)


def exaone4_nope_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """The layers of EXAONE 4 that attend in full, without positions."""
    return exaone4_layer(context._replace(cos=None, sin=None), layer, x)


FAMILIES = {
    "exaone4": Family(
        exaone4,
        {
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "vocab_size": 102400,
            "intermediate_size": 16384,
            "num_key_value_heads": 32,
            "max_position_embeddings": 2048,
            "sliding_window_pattern": 4,
            "sliding_window": 4096,
            "tie_word_embeddings": False,
            "hidden_act": "silu",
        },
    ),
}
