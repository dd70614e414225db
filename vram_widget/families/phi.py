"""Phi 1.5 and 2, and Phi 3 and 4."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import layer_norm, rms_norm
from ..step.tape import Tensor
from .parts.attention import (
    attend_on_concatenated,
    attention_weights,
    partial_rotary,
    split_attention,
)
from .parts.layers import SLIDING, alike, decoder, layer_types, prenorm
from .parts.mlp import fused_gated_mlp, fused_mlp_weights, plain_mlp, plain_mlp_weights
from .parts.weights import Config, head_norms, linear, norm


def phi(config: Config) -> Decoder:
    """Phi 1.5 and 2: one LayerNorm, attention and MLP side by side, biases everywhere."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    weights = {
        **norm("input_layernorm", hidden, bias=True),
        **attention_weights(config, bias=True, out="dense"),
        **plain_mlp_weights(("mlp.fc1", "mlp.fc2"), hidden, inner),
    }
    if config["qk_layernorm"]:
        weights |= head_norms(config, "q_layernorm", "k_layernorm", bias=True)
    layers = alike(config, phi_layer, weights, layer_types(config))
    return decoder(config, layers, last="final_layernorm", last_bias=True, head_bias=True)


def phi3(config: Config) -> Decoder:
    """Phi 3 and 4: q, k and v in one projection, gate and up in another."""
    hidden, head = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    attention = {
        **linear("self_attn.qkv_proj", hidden, queries + 2 * keys),
        **linear("self_attn.o_proj", queries, hidden),
    }
    kinds = [SLIDING] * config["num_hidden_layers"]
    weights = prenorm(hidden, attention, fused_mlp_weights(config))
    return decoder(config, alike(config, phi3_layer, weights, kinds))


def phi_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Phi-1.5 and Phi-2: attention and MLP side by side on one norm."""
    residual = x
    x = layer_norm(layer, "input_layernorm", x)
    drops = context.config.get("resid_pdrop", 0.0) > 0
    attended = split_attention(context, layer, x, "self_attn.dense")
    if drops:
        attended = ops.dropout(attended)
    fed = plain_mlp(layer, x, "mlp.fc1", "mlp.fc2", context.config["hidden_act"])
    if drops:
        fed = ops.dropout(fed)
    return ops.add(ops.add(attended, fed), residual)


def phi3_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Phi-3 and Phi-4: queries, keys and values in one projection, gate and up in another."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = phi3_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = fused_gated_mlp(layer, x)
    return ops.add(residual, x)


def phi3_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention on views of one projection: the values keep all of it."""
    qkv = layer.linear("self_attn.qkv_proj", x)
    layer.begin("self_attn")
    queries = context.heads * context.head_dim
    keys = (qkv.width - queries) // 2
    q, k, v = ops.part(qkv, queries), ops.part(qkv, keys), ops.part(qkv, keys)
    q, k = partial_rotary(layer, context, q, k)
    out = attend_on_concatenated(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


FAMILIES = {
    "phi": Family(
        phi,
        {
            "vocab_size": 51200,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "num_attention_heads": 32,
            "hidden_act": "gelu_new",
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            "qk_layernorm": False,
        },
        norm=layer_norm,
    ),
    "phi3": Family(
        phi3,
        {
            "vocab_size": 32064,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "hidden_act": "silu",
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
        },
    ),
}
