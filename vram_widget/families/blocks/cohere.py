"""Cohere's blocks: attention and MLP side by side on one norm, both in float32 where it counts."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import mean_centred_norm
from ...step.tape import FLOAT32, Tensor
from ..parts.attention import attend, rotary
from ..parts.mlp import gated_mlp


def cohere(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Command R, and the layers of Command R7B that attend to a window."""
    return parallel(context, layer, x, turns=True)


def cohere_nope(context: Context, layer: Layer, x: Tensor) -> Tensor:
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
