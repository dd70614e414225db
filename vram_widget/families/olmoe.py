"""OLMoE: norms over the whole of q and of k, experts in every layer."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import Tensor
from .parts.attention import attend, attention_weights, rotary
from .parts.experts import routed_weights
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.weights import Config, norm
from .qwen_moe import qwen_moe


def olmoe(config: Config) -> Decoder:
    """OLMoE: norms over the whole of q and of k, experts in every layer."""
    hidden, head = config["hidden_size"], config["head_dim"]
    attention = {
        **attention_weights(config, config["attention_bias"]),
        **norm("self_attn.q_norm", config["num_attention_heads"] * head),
        **norm("self_attn.k_norm", config["num_key_value_heads"] * head),
    }
    weights = prenorm(hidden, attention, routed_weights(config, config["intermediate_size"]))
    return decoder(config, alike(config, olmoe_layer, weights, layer_types(config)))


def olmoe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Norm, attention, norm, experts."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = olmoe_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = qwen_moe(context, layer, x)
    return ops.add(residual, x)


def olmoe_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention with a norm over all queries, and one over all keys."""
    q = rms_norm(layer, "self_attn.q_norm", layer.linear("self_attn.q_proj", x))
    k = rms_norm(layer, "self_attn.k_norm", layer.linear("self_attn.k_proj", x))
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


FAMILIES = {
    "olmoe": Family(
        olmoe,
        {
            "vocab_size": 50304,
            "hidden_size": 2048,
            "intermediate_size": 2048,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "hidden_act": "silu",
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
            "attention_bias": False,
            "num_experts_per_tok": 8,
            "num_experts": 64,
        },
    ),
}
