"""Granite 3 MoE: experts in every layer, perhaps with an MLP for all tokens beside them."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.ops import experts as mixture
from ..step.tape import FLOAT32, Tensor
from .parts.attention import attention_weights, grouped_attention
from .parts.experts import Routing, chosen_experts, expert_weights, experts
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.mlp import fused_gated_mlp
from .parts.weights import Config, Weights, linear


def granitemoe(config: Config) -> Decoder:
    """Granite 3 MoE, perhaps with a shared expert beside the routed ones."""
    hidden = config["hidden_size"]
    weights = prenorm(
        hidden, attention_weights(config, config["attention_bias"]), granite_moe_weights(config)
    )
    block = granitemoe_layer
    if shared := config.get("shared_intermediate_size", 0):
        block = granitemoeshared_layer
        weights |= shared_mlp_weights(hidden, shared)
    return decoder(config, alike(config, block, weights, layer_types(config)))


def granite_moe_weights(config: Config) -> Weights:
    """Return Granite's router and experts."""
    hidden, count, name = config["hidden_size"], config["num_experts"], "block_sparse_moe"
    return {
        f"{name}.router.weight": (count, hidden),
        **expert_weights(f"{name}.experts", count, hidden, config["intermediate_size"]),
    }


def shared_mlp_weights(hidden: int, inner: int) -> Weights:
    """Return Granite's MLP with gate and up in one projection."""
    return {
        **linear("shared_mlp.input_linear", hidden, 2 * inner),
        **linear("shared_mlp.output_linear", inner, hidden),
    }


def granitemoe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite 3 MoE."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, ops.scale(x))
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = granite_moe(context, layer, x)
    return ops.add(residual, ops.scale(x))


def granitemoeshared_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite 3 MoE with an MLP for all tokens beside the experts."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, ops.scale(x))
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = granite_moe_and_mlp(context, layer, x)
    return ops.add(residual, ops.scale(x))


def granite_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite's experts."""
    routing = granite_router(context, layer, "block_sparse_moe.router", x)
    return experts(context, layer, "block_sparse_moe.experts", x, routing)


def granite_moe_and_mlp(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite's experts and the shared MLP."""
    return ops.add(granite_moe(context, layer, x), granite_mlp(context, layer, x))


def granite_mlp(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite's shared MLP: gate and up are two halves of one projection."""
    return fused_gated_mlp(layer, x, "shared_mlp.input_linear", "shared_mlp.output_linear")


def granite_router(context: Context, layer: Layer, name: str, x: Tensor) -> Routing:
    """Softmax over the chosen experts only."""
    logits = ops.to(layer.linear(name, x), FLOAT32, "logits in float32")
    layer.begin(name)
    best, chosen = mixture.top_k(logits, chosen_experts(context))
    return Routing(logits, ops.to(ops.softmax(best, FLOAT32), x.dtype, "scores"), chosen)


#: What transformers' config class of granitemoe has where config.json leaves a field out.
GRANITEMOE = {
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
}

FAMILIES = {
    "granitemoe": Family(granitemoe, GRANITEMOE, embedding_multiplier=True, logits_scaling=True),
    "granitemoeshared": Family(
        granitemoe,
        {**GRANITEMOE, "shared_intermediate_size": 0},
        embedding_multiplier=True,
        logits_scaling=True,
    ),
}
