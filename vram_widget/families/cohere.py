"""Cohere: Command R, Command R7B, Command A, Aya.

Attention and MLP run side by side on one norm, both in float32 where it counts.
"""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import mean_centred_norm
from ..step.tape import FLOAT32, Tensor
from .parts.attention import attend, attention_weights, rotary
from .parts.layers import FULL, DecoderLayer, alike, decoder, grouped, layer_types, window
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config, Weights, norm


def cohere(config: Config) -> Decoder:
    """Command R: one LayerNorm without a bias, attention and MLP side by side."""
    weights = parallel_weights(config)
    if config["use_qk_norm"]:
        head = config["head_dim"]
        weights["self_attn.q_norm.weight"] = (config["num_attention_heads"], head)
        weights["self_attn.k_norm.weight"] = (config["num_key_value_heads"], head)
    return decoder(config, alike(config, cohere_layer, weights, layer_types(config)))


def cohere2(config: Config) -> Decoder:
    """Command R7B and A: as Command R, but layers that attend in full know no positions."""
    weights = parallel_weights(config)
    kinds = layer_types(config, config.get("sliding_window_pattern", 4))
    layers = grouped(
        DecoderLayer(
            cohere_nope_layer if kind == FULL else cohere_layer, weights, window(config, kind)
        )
        for kind in kinds
    )
    return decoder(config, layers)


def parallel_weights(config: Config) -> Weights:
    """Return a layer of one norm, attention and an MLP."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return {
        **norm("input_layernorm", hidden),
        **attention_weights(config, config["attention_bias"]),
        **gated_mlp_weights("mlp", hidden, inner),
    }


def cohere_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Command R, and the layers of Command R7B that attend to a window."""
    return parallel(context, layer, x, turns=True)


def cohere_nope_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """The other layers of Command R7B, without positions."""
    return parallel(context, layer, x, turns=False)


def parallel(context: Context, layer: Layer, x: Tensor, turns: bool) -> Tensor:
    """Norm, attention and MLP on what it gave, and all three added up."""
    residual = x
    x = mean_centred_norm(layer, "input_layernorm", x)
    attended = attention(context, layer, x, turns)
    fed = gated_mlp(layer, x)
    return ops.add(ops.add(residual, attended), fed)


def attention(context: Context, layer: Layer, x: Tensor, turns: bool) -> Tensor:
    """Grouped attention, queries and keys perhaps normed, rotated in float32."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    if "self_attn.q_norm.weight" in layer.weights:
        q = mean_centred_norm(layer, "self_attn.q_norm", q)
        k = mean_centred_norm(layer, "self_attn.k_norm", k)
    if turns:
        dtype = q.dtype
        q, k = (ops.to(part, FLOAT32, "in float32") for part in (q, k))
        q, k = (rotary(layer, context, part) for part in (q, k))
        q, k = (ops.to(part, dtype, "rotated") for part in (q, k))
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


FAMILIES = {
    "cohere": Family(
        cohere,
        {
            "vocab_size": 256000,
            "hidden_size": 8192,
            "intermediate_size": 22528,
            "num_hidden_layers": 40,
            "num_attention_heads": 64,
            "hidden_act": "silu",
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "use_qk_norm": False,
        },
        norm=mean_centred_norm,
        logits_scaling=True,
    ),
    "cohere2": Family(
        cohere2,
        {
            "vocab_size": 256000,
            "hidden_size": 8192,
            "intermediate_size": 22528,
            "num_hidden_layers": 40,
            "num_attention_heads": 64,
            "hidden_act": "silu",
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "sliding_window": 4096,
        },
        norm=mean_centred_norm,
        logits_scaling=True,
    ),
}
