"""Falcon-H1: attention and Mamba-2 side by side in every layer, and numbers that scale both."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import gated_rms_norm, rms_norm
from ..step.tape import Tensor
from .parts.attention import attend, attention_weights, rotary
from .parts.layers import FULL, alike, decoder
from .parts.mamba import mamba2_weights, masked, named_mixer, scan_projected
from .parts.mlp import gated_mlp_weights
from .parts.weights import Config, norm


def falcon_h1(config: Config) -> Decoder:
    """Falcon-H1: attention and Mamba-2 side by side in every layer."""
    hidden = config["hidden_size"]
    mixer = mamba2_weights(
        "mamba",
        hidden,
        config.get("mamba_d_ssm") or config["mamba_expand"] * hidden,
        config["mamba_n_heads"],
        config["mamba_n_groups"],
        config["mamba_d_state"],
        config["mamba_d_conv"],
        conv_bias=config["mamba_conv_bias"],
        proj_bias=config["mamba_proj_bias"],
        out_bias=config["projectors_bias"],
        normed=config["mamba_rms_norm"],
    )
    weights = {
        **norm("input_layernorm", hidden),
        **mixer,
        **attention_weights(config, config["attention_bias"]),
        **norm("pre_ff_layernorm", hidden),
        **gated_mlp_weights(
            "feed_forward", hidden, config["intermediate_size"], config["mlp_bias"]
        ),
    }
    layers = alike(config, falcon_h1_layer, weights, [FULL] * config["num_hidden_layers"])
    return decoder(config, layers, last="final_layernorm")


def falcon_h1_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Falcon-H1."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    mixed = ops.scale(falcon_h1_mixer(context, layer, x))
    attended = ops.scale(scaled_attention(context, layer, ops.scale(x)))
    x = ops.add(residual, ops.add(mixed, attended))
    residual = x
    x = rms_norm(layer, "pre_ff_layernorm", x)
    return ops.add(residual, scaled_mlp(layer, x))


def falcon_h1_mixer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Falcon-H1's Mamba-2: its projection scaled, its output gated, perhaps with a norm."""
    config = context.config
    inner = config.get("mamba_d_ssm") or config["mamba_expand"] * config["hidden_size"]
    mixer = named_mixer(config, inner)
    layer.begin("mamba")
    projected = layer.linear("mamba.in_proj", ops.scale(masked(context, x)))
    # the numbers are a buffer of the model's own dtype, which autocast leaves alone
    vector = Tensor(x.tape, 1, projected.width, layer.weights["mamba.D"].dtype, None)
    projected = ops.mul(projected, vector, "projected, scaled")
    scanned, gate = scan_projected(context, layer, mixer, projected)
    if config["mamba_rms_norm"]:
        scanned = gated_rms_norm(layer, "mamba.norm", scanned, gate)
    else:
        scanned = ops.mul(scanned, ops.activation(gate, "act(gate)"), "gated")
    return layer.linear("mamba.out_proj", ops.to(scanned, x.dtype, "output in x's dtype"))


def scaled_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention whose keys are scaled."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    layer.begin("self_attn")
    k = ops.scale(k)
    v = layer.linear("self_attn.v_proj", x)
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def scaled_mlp(layer: Layer, x: Tensor) -> Tensor:
    """down(up(x) * act(scaled gate(x))), scaled."""
    up = layer.linear("feed_forward.up_proj", x)
    gate = layer.linear("feed_forward.gate_proj", x)
    layer.begin("feed_forward")
    product = ops.mul(up, ops.activation(ops.scale(gate), "act(gate)"), "act(gate) * up")
    del up, gate
    return ops.scale(layer.linear("feed_forward.down_proj", product))


FAMILIES = {
    "falcon_h1": Family(
        falcon_h1,
        {
            "vocab_size": 128000,
            "tie_word_embeddings": False,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "hidden_act": "silu",
            "max_position_embeddings": 8192,
            "mamba_d_ssm": 1024,
            "mamba_n_heads": 128,
            "mamba_d_head": "auto",
            "mamba_n_groups": 1,
            "mamba_d_state": 256,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "mamba_chunk_size": 256,
            "mamba_conv_bias": True,
            "mamba_proj_bias": False,
            "mamba_rms_norm": False,
            "projectors_bias": False,
            "attention_bias": False,
            "mlp_bias": False,
        },
        embedding_multiplier=True,
        logits_scaling=True,
    ),
}
