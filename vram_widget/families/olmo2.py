"""OLMo 2 and 3: norms behind both branches, and over the whole of q and of k."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import float32_rms_norm
from ..step.tape import Tensor
from .parts.attention import attend, attention_weights, rotary
from .parts.layers import alike, decoder, layer_types
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config, norm


def olmo2(config: Config) -> Decoder:
    """OLMo 2 and 3: norms after attention and MLP, and over the whole of q and of k.

    In OLMo 3 only every fourth layer attends in full.
    """
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    weights = {
        **attention_weights(config, config["attention_bias"]),
        **norm("self_attn.q_norm", config["num_attention_heads"] * head),
        **norm("self_attn.k_norm", config["num_key_value_heads"] * head),
        **norm("post_attention_layernorm", hidden),
        **gated_mlp_weights("mlp", hidden, inner),
        **norm("post_feedforward_layernorm", hidden),
    }
    every = 4 if config["model_type"] == "olmo3" else 1
    return decoder(config, alike(config, olmo2_layer, weights, layer_types(config, every)))


def olmo2_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """OLMo 2: norms behind attention and MLP, and over whole queries and keys."""
    residual = x
    x = olmo2_attention(context, layer, x)
    x = float32_rms_norm(layer, "post_attention_layernorm", x)
    x = ops.add(residual, x)
    residual = x
    x = gated_mlp(layer, x)
    x = float32_rms_norm(layer, "post_feedforward_layernorm", x)
    return ops.add(residual, x)


def olmo2_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention with a norm over all queries, and one over all keys."""
    q = float32_rms_norm(layer, "self_attn.q_norm", layer.linear("self_attn.q_proj", x))
    k = float32_rms_norm(layer, "self_attn.k_norm", layer.linear("self_attn.k_proj", x))
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


#: What transformers' config class of olmo2 has where config.json leaves a field out.
OLMO2 = {
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "attention_bias": False,
}

FAMILIES = {
    "olmo2": Family(olmo2, OLMO2, norm=float32_rms_norm),
    "olmo3": Family(olmo2, {**OLMO2, "sliding_window": 4096}),
}
