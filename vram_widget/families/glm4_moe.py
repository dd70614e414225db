"""GLM 4.5 and 4.6: half of each head rotated, DeepSeek's experts in all but the first layers."""

from __future__ import annotations

from functools import partial

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family, rotary_features
from ..step.layer import Layer
from ..step.norms import per_head, rms_norm
from ..step.tape import Tensor
from .parts.attention import attend_on_concatenated, attention_weights, partial_rotary
from .parts.experts import deepseek_moe, mostly_sparse
from .parts.mlp import gated_mlp
from .parts.weights import Config, head_norms


def glm4_moe(config: Config) -> Decoder:
    """GLM 4.5 and 4.6, which norm each head of q and k; GLM 4.5 Air does not."""
    attention = attention_weights(config, config["attention_bias"], out_bias=False)
    if config["use_qk_norm"]:
        attention |= head_norms(config, "q_norm", "k_norm")
    return mostly_sparse(config, attention, dense_layer, moe_layer)


def dense_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """The first layers, which have a plain MLP."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


def moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """The other layers: routed experts, and one that every token goes to."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = deepseek_moe(context, layer, x)
    return ops.add(residual, x)


def attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention, partly rotated, perhaps with a norm on each head of queries and keys."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    if context.config["use_qk_norm"]:
        q = per_head(rms_norm, layer, "self_attn.q_norm", q, context.head_dim)
        k = per_head(rms_norm, layer, "self_attn.k_norm", k, context.head_dim)
    q, k = partial_rotary(layer, context, q, k)
    out = attend_on_concatenated(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


FAMILIES = {
    "glm4_moe": Family(
        glm4_moe,
        {
            "vocab_size": 151552,
            "hidden_size": 4096,
            "intermediate_size": 10944,
            "num_hidden_layers": 46,
            "num_attention_heads": 96,
            "num_key_value_heads": 8,
            "hidden_act": "silu",
            "max_position_embeddings": 131072,
            "tie_word_embeddings": False,
            "attention_bias": False,
            "moe_intermediate_size": 1408,
            "num_experts_per_tok": 8,
            "n_shared_experts": 1,
            "n_routed_experts": 128,
            "first_k_dense_replace": 1,
            "norm_topk_prob": True,
            "use_qk_norm": False,
        },
        rotary_features=partial(rotary_features, share=0.5),
    ),
}
