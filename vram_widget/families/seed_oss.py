"""Seed-OSS: Llama with biases on q, k and v, and dropout behind both branches."""

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


def seed_oss(config: Config) -> Decoder:
    """Seed-OSS: Llama with biases on q, k and v, and dropout behind both branches."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    biased, out = config["attention_bias"], config["attention_out_bias"]
    attention = attention_weights(config, biased, out_bias=out)
    weights = prenorm(
        hidden, attention, gated_mlp_weights("mlp", hidden, inner, config["mlp_bias"])
    )
    return decoder(config, alike(config, seed_oss_layer, weights, layer_types(config)))


def seed_oss_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Seed-OSS: Llama with dropout behind both branches."""
    drops = bool(context.config.get("residual_dropout"))
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, ops.dropout(x) if drops else x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, ops.dropout(x) if drops else x)


FAMILIES = {
    "seed_oss": Family(
        seed_oss,
        {
            "hidden_size": 4096,
            "num_hidden_layers": 64,
            "num_attention_heads": 80,
            "vocab_size": 155136,
            "intermediate_size": 27648,
            "head_dim": 128,
            "num_key_value_heads": 8,
            "max_position_embeddings": 524288,
            "tie_word_embeddings": False,
            "attention_bias": True,
            "mlp_bias": False,
            "attention_out_bias": False,
            "hidden_act": "silu",
            "residual_dropout": 0.1,
            "attention_dropout": 0.1,
        },
    ),
}
