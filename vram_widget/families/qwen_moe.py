"""Qwen 1.5, 2 and 3 with experts."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Block, Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import Tensor
from .llama import llama_layer
from .parts.attention import attention_weights, grouped_attention, normed_attention
from .parts.experts import experts, qwen_router, routed_weights
from .parts.layers import (
    FULL,
    SLIDING,
    DecoderLayer,
    decoder,
    grouped,
    layer_types,
    prenorm,
    window,
)
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config, Weights, head_norms, linear
from .qwen import qwen3_layer


def qwen2_moe(config: Config) -> Decoder:
    """Qwen 1.5 and 2 MoE: routed experts beside a gated shared one."""
    hidden, shared = config["hidden_size"], config["shared_expert_intermediate_size"]
    attention = attention_weights(config, config["qkv_bias"], out_bias=False)
    sparse = {
        **routed_weights(config, config["moe_intermediate_size"]),
        **gated_mlp_weights("mlp.shared_expert", hidden, shared),
        **linear("mlp.shared_expert_gate", hidden, 1),
    }
    # A window, where there is one, is in every other of the first layers.
    first = config["max_window_layers"] if config["use_sliding_window"] else 0
    kinds = [FULL if i % 2 or i >= first else SLIDING for i in range(config["num_hidden_layers"])]
    if "layer_types" in config:
        kinds = layer_types(config)
    return sometimes_sparse(config, attention, sparse, llama_layer, qwen2_moe_layer, kinds)


def qwen3_moe(config: Config) -> Decoder:
    """Qwen 3 MoE: each head of q and k normed, routed experts."""
    attention = {
        **attention_weights(config, config["attention_bias"]),
        **head_norms(config, "q_norm", "k_norm"),
    }
    sparse = routed_weights(config, config["moe_intermediate_size"])
    kinds = layer_types(config, every=None)
    return sometimes_sparse(config, attention, sparse, qwen3_layer, qwen3_moe_layer, kinds)


def sometimes_sparse(
    config: Config,
    attention: Weights,
    sparse: Weights,
    plain_layer: Block,
    mixed_layer: Block,
    kinds: list[str],
) -> Decoder:
    """Return Qwen's mixture: layers with a plain MLP, and layers with experts."""
    hidden, step = config["hidden_size"], config["decoder_sparse_step"]
    plain = prenorm(
        hidden, attention, gated_mlp_weights("mlp", hidden, config["intermediate_size"])
    )
    mixed = prenorm(hidden, attention, sparse)
    dense_only = config.get("mlp_only_layers") or []

    def layer(i: int, kind: str) -> DecoderLayer:
        chosen = config["num_experts"] > 0 and i not in dense_only and (i + 1) % step == 0
        block, weights = (mixed_layer, mixed) if chosen else (plain_layer, plain)
        return DecoderLayer(block, weights, window(config, kind))

    return decoder(config, grouped(layer(i, kind) for i, kind in enumerate(kinds)))


def qwen2_moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Qwen 1.5 and 2 MoE."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = moe_with_shared_expert(context, layer, x)
    return ops.add(residual, x)


def qwen3_moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Qwen 3 MoE: queries and keys normalised head by head."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = normed_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = qwen_moe(context, layer, x)
    return ops.add(residual, x)


def qwen_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Qwen's routed experts."""
    routing = qwen_router(context, layer, "mlp.gate", x)
    return experts(context, layer, "mlp.experts", x, routing)


def moe_with_shared_expert(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Qwen's routed experts, and one for all tokens behind a gate."""
    shared = gated_mlp(layer, x, "mlp.shared_expert")
    routing = qwen_router(context, layer, "mlp.gate", x)
    out = experts(context, layer, "mlp.experts", x, routing)
    gate = ops.sigmoid(layer.linear("mlp.shared_expert_gate", x))
    layer.begin("mlp")
    shared = ops.mul(shared, gate, "gated shared expert")
    return ops.add(out, shared)


FAMILIES = {
    "qwen2_moe": Family(
        qwen2_moe,
        {
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "hidden_act": "silu",
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
            "use_sliding_window": False,
            "sliding_window": 4096,
            "max_window_layers": 28,
            "decoder_sparse_step": 1,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "num_experts_per_tok": 4,
            "num_experts": 60,
            "qkv_bias": True,
        },
    ),
    "qwen3_moe": Family(
        qwen3_moe,
        {
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": 24,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "hidden_act": "silu",
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
            "attention_bias": False,
            "use_sliding_window": False,
            "sliding_window": 4096,
            "decoder_sparse_step": 1,
            "moe_intermediate_size": 768,
            "num_experts_per_tok": 8,
            "num_experts": 128,
        },
    ),
    "qwen3_vl_moe_text": Family(
        qwen3_moe,
        {
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "hidden_act": "silu",
            "max_position_embeddings": 128000,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "decoder_sparse_step": 1,
            "moe_intermediate_size": 1408,
            "num_experts_per_tok": 4,
            "num_experts": 60,
        },
        multimodal={"qwen3_vl_moe": False},
    ),
}
