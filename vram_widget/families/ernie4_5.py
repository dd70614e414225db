"""ERNIE 4.5: Llama with its heads rotated in float32."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import FLOAT32, Tensor
from .parts.attention import attend, attention_weights, rotate_half
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config


def ernie4_5(config: Config) -> Decoder:
    """ERNIE 4.5: Llama's weights, rotated in float32."""
    hidden, biased = config["hidden_size"], config["use_bias"]
    mlp = gated_mlp_weights("mlp", hidden, config["intermediate_size"], biased)
    weights = prenorm(hidden, attention_weights(config, biased), mlp)
    return decoder(config, alike(config, ernie4_5_layer, weights, layer_types(config)))


def ernie4_5_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """ERNIE 4.5: Llama with its heads rotated in float32."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = ernie4_5_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


def ernie4_5_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention, rotated in float32."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary_in_float32(context, q, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def rotary_in_float32(context: Context, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate by cosines and sines in float32, each repeated for two neighbouring features."""
    cos, sin = context.cos, context.sin
    assert cos is not None
    assert sin is not None
    cos, sin = (x.tape.new(x.rows, x.width, FLOAT32, "positions") for x in (cos, sin))
    dtype = q.dtype
    turned = [
        ops.add(ops.mul(ops.to(x, FLOAT32), cos), ops.mul(ops.to(rotate_half(x), FLOAT32), sin))
        for x in (q, k)
    ]
    del cos, sin
    query, key = (ops.to(x, dtype, "rotated") for x in turned)
    return query, key


FAMILIES = {
    "ernie4_5": Family(
        ernie4_5,
        {
            "hidden_size": 1024,
            "num_hidden_layers": 18,
            "num_attention_heads": 16,
            "vocab_size": 103424,
            "intermediate_size": 3072,
            "head_dim": 128,
            "num_key_value_heads": 2,
            "max_position_embeddings": 131072,
            "tie_word_embeddings": True,
            "use_bias": False,
            "hidden_act": "silu",
        },
    ),
}
