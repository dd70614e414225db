"""Granite 3: Llama with scaled branches, embedding and logits."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import Tensor
from .parts.attention import attention_weights, grouped_attention
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config


def granite(config: Config) -> Decoder:
    """Granite 3: Llama's weights."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = attention_weights(config, config["attention_bias"])
    weights = prenorm(
        hidden, attention, gated_mlp_weights("mlp", hidden, inner, config["mlp_bias"])
    )
    return decoder(config, alike(config, granite_layer, weights, layer_types(config)))


def granite_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite 3: Llama with its residual branches scaled."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, ops.scale(x))
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, ops.scale(x))


FAMILIES = {
    "granite": Family(
        granite,
        {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "hidden_act": "silu",
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            "attention_bias": False,
            "mlp_bias": False,
        },
        embedding_multiplier=True,
        logits_scaling=True,
    ),
}
