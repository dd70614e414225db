"""GLM 4: half of each head rotated, neighbouring features together."""

from __future__ import annotations

from functools import partial

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family, rotary_features
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import Tensor
from .parts.attention import attend_on_concatenated, attention_weights, partial_rotary
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.mlp import fused_gated_mlp, fused_mlp_weights
from .parts.weights import Config, norm


def glm(config: Config) -> Decoder:
    """GLM 4 9B: gate and up in one projection."""
    attention = attention_weights(config, config["attention_bias"], out_bias=False)
    weights = prenorm(config["hidden_size"], attention, fused_mlp_weights(config))
    return decoder(config, alike(config, glm_layer, weights, layer_types(config)))


def glm4(config: Config) -> Decoder:
    """GLM 4 0414: norms behind both branches as well."""
    hidden = config["hidden_size"]
    attention = attention_weights(config, config["attention_bias"], out_bias=False)
    weights = {
        **prenorm(hidden, attention, fused_mlp_weights(config)),
        **norm("post_self_attn_layernorm", hidden),
        **norm("post_mlp_layernorm", hidden),
    }
    return decoder(config, alike(config, glm4_layer, weights, layer_types(config)))


def glm_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """GLM 4 9B."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = fused_gated_mlp(layer, x)
    return ops.add(residual, x)


def glm4_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """GLM 4 0414: a norm behind attention and behind the MLP as well."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = attention(context, layer, x)
    x = rms_norm(layer, "post_self_attn_layernorm", x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = fused_gated_mlp(layer, x)
    x = rms_norm(layer, "post_mlp_layernorm", x)
    return ops.add(residual, x)


def attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention, partly rotated."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = partial_rotary(layer, interleaved(context), q, k)
    out = attend_on_concatenated(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def interleaved(context: Context) -> Context:
    """Repeat each cosine and sine for two neighbours, where others repeat all of them."""
    cos, sin = context.cos, context.sin
    assert cos is not None
    assert sin is not None
    return context._replace(
        cos=ops.copied_part(cos, cos.width), sin=ops.copied_part(sin, sin.width)
    )


#: What transformers' config class of glm has where config.json leaves a field out.
GLM = {
    "hidden_size": 4096,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "vocab_size": 151552,
    "intermediate_size": 13696,
    "head_dim": 128,
    "num_key_value_heads": 2,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "attention_bias": True,
    "hidden_act": "silu",
}

FAMILIES = {
    "glm": Family(glm, GLM, rotary_features=partial(rotary_features, share=0.5)),
    "glm4": Family(glm4, GLM, rotary_features=partial(rotary_features, share=0.5)),
}
