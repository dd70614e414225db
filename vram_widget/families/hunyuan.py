"""Hunyuan dense: each head of q and k normed, after the rotation."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import per_head, rms_norm
from ..step.tape import Tensor
from .parts.attention import attend, attention_weights, rotary
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config, head_norms


def hunyuan(config: Config) -> Decoder:
    """Hunyuan dense: each head of q and k normed, after the rotation."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = {
        **attention_weights(config, config["attention_bias"]),
        **head_norms(config, "query_layernorm", "key_layernorm"),
    }
    weights = prenorm(hidden, attention, gated_mlp_weights("mlp", hidden, inner))
    return decoder(config, alike(config, hunyuan_layer, weights, layer_types(config)))


def hunyuan_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Hunyuan: as Qwen3, the norms after the rotation."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    q = per_head(rms_norm, layer, "self_attn.query_layernorm", q, context.head_dim)
    k = per_head(rms_norm, layer, "self_attn.key_layernorm", k, context.head_dim)
    x = layer.linear("self_attn.o_proj", attend(context, q, k, v))
    del q, k, v
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


FAMILIES = {
    "hunyuan_v1_dense": Family(
        hunyuan,
        {
            "vocab_size": 290943,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "hidden_act": "silu",
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            "attention_bias": False,
        },
    ),
}
