"""Granite 4: Mamba-2 or attention, then a shared MLP, perhaps with experts beside it."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Block, Decoder
from ..step.family import Family, rotary_features
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import Tensor
from .granite_moe import granite_mlp, granite_moe_and_mlp, granite_moe_weights, shared_mlp_weights
from .parts.attention import attention_weights, grouped_attention
from .parts.layers import FULL, LINEAR, DecoderLayer, decoder, in_order, layer_types, prenorm
from .parts.mamba import mamba2, mamba2_weights, named_mixer
from .parts.weights import Config


def granitemoehybrid(config: Config) -> Decoder:
    """Granite 4: Mamba-2 or attention, then a shared MLP, perhaps with routed experts beside it."""
    hidden = config["hidden_size"]
    mlp = shared_mlp_weights(hidden, config["shared_intermediate_size"])
    of_mamba, of_attention = mamba2_layer, attention_layer
    if config["num_experts"]:
        mlp |= granite_moe_weights(config)
        of_mamba, of_attention = mamba2_moe_layer, attention_moe_layer
    mixer = mamba2_weights(
        "mamba",
        hidden,
        config["mamba_expand"] * hidden,
        config["mamba_n_heads"],
        config["mamba_n_groups"],
        config["mamba_d_state"],
        config["mamba_d_conv"],
        conv_bias=config["mamba_conv_bias"],
        proj_bias=config["mamba_proj_bias"],
        out_bias=config["mamba_proj_bias"],
    )
    attention = attention_weights(config, config["attention_bias"])
    of_kind = {
        LINEAR: DecoderLayer(of_mamba, prenorm(hidden, mixer, mlp)),
        FULL: DecoderLayer(of_attention, prenorm(hidden, attention, mlp)),
    }
    return decoder(config, in_order(config, of_kind, layer_types(config, None, LINEAR)))


def mamba2_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Mamba-2 and an MLP."""
    return hybrid_layer(context, layer, x, granite_mixer, granite_mlp)


def mamba2_moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Mamba-2, experts and an MLP."""
    return hybrid_layer(context, layer, x, granite_mixer, granite_moe_and_mlp)


def attention_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention and an MLP."""
    return hybrid_layer(context, layer, x, grouped_attention, granite_mlp)


def attention_moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention, experts and an MLP."""
    return hybrid_layer(context, layer, x, grouped_attention, granite_moe_and_mlp)


def hybrid_layer(context: Context, layer: Layer, x: Tensor, mixer: Block, mlp: Block) -> Tensor:
    """Norm, mixer, norm, MLP, both branches scaled."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = mixer(context, layer, x)
    x = ops.add(residual, ops.scale(x))
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = mlp(context, layer, x)
    return ops.add(residual, ops.scale(x))


def granite_mixer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite's Mamba-2."""
    config = context.config
    inner = config["mamba_expand"] * config["hidden_size"]
    return mamba2(context, layer, named_mixer(config, inner), x)


def rotary_if_rope(config: Config) -> int:
    """Return how many features of a head are rotated: most of these models know no positions."""
    return rotary_features(config) if config.get("position_embedding_type") == "rope" else 0


FAMILIES = {
    "granitemoehybrid": Family(
        granitemoehybrid,
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
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 1024,
            "mamba_n_heads": 128,
            "mamba_n_groups": 1,
            "mamba_d_state": 256,
            "mamba_d_head": "auto",
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "mamba_chunk_size": 256,
            "mamba_conv_bias": True,
            "mamba_proj_bias": False,
        },
        embedding_multiplier=True,
        logits_scaling=True,
        rotary_features=rotary_if_rope,
    ),
}
