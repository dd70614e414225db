"""GLM 4's blocks: half of each head rotated, neighbouring features together."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import rms_norm
from ...step.tape import Tensor
from ..parts.attention import attend_on_concatenated, partial_rotary
from ..parts.mlp import fused_gated_mlp


def glm(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """GLM 4 9B."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = fused_gated_mlp(layer, x)
    return ops.add(residual, x)


def glm4(context: Context, layer: Layer, x: Tensor) -> Tensor:
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
