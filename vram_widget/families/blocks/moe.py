"""Mixture-of-experts blocks: a decoder's layer with a router and its experts for an MLP."""

from __future__ import annotations

from collections.abc import Callable

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import Norm, float32_rms_norm, rms_norm
from ...step.ops import experts as mixture
from ...step.tape import Tensor
from ..parts.attention import attend, attend_on_concatenated, grouped_attention, repeated, rotary
from ..parts.experts import (
    clamped_swiglu,
    experts,
    gpt_oss_router,
    granite_router,
    mixtral_router,
    qwen_router,
)
from ..parts.mlp import fused_gated_mlp, gated_mlp
from .dense import normed_attention

Part = Callable[[Context, Layer, Tensor], Tensor]


def prenorm(
    context: Context,
    layer: Layer,
    x: Tensor,
    attention: Part,
    mlp: Part,
    scales: bool = False,
    norm: Norm = rms_norm,
) -> Tensor:
    """Norm, attention, norm, MLP, each branch added to the hidden state, scaled if Granite's."""
    residual = x
    x = norm(layer, "input_layernorm", x)
    x = attention(context, layer, x)
    x = ops.add(residual, ops.scale(x) if scales else x)
    residual = x
    x = norm(layer, "post_attention_layernorm", x)
    x = mlp(context, layer, x)
    return ops.add(residual, ops.scale(x) if scales else x)


def mixtral(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Mixtral."""
    return prenorm(context, layer, x, grouped_attention, mixtral_moe)


def mixtral_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Mixtral's experts."""
    routing = mixtral_router(context, layer, "mlp.gate", x)
    out = experts(context, layer, "mlp.experts", x, routing)
    if layer.has("mlp.shared_expert.gate_proj"):  # a family that is not known may have one
        out = ops.add(out, gated_mlp(layer, x, "mlp.shared_expert"))
    return out


def qwen2_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Qwen 1.5 and 2 MoE."""
    return prenorm(context, layer, x, grouped_attention, qwen_moe_with_shared_expert)


def qwen_moe_with_shared_expert(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Qwen's routed experts, and one for all tokens behind a gate."""
    shared = gated_mlp(layer, x, "mlp.shared_expert")
    routing = qwen_router(context, layer, "mlp.gate", x)
    out = experts(context, layer, "mlp.experts", x, routing)
    gate = ops.sigmoid(layer.linear("mlp.shared_expert_gate", x))
    layer.begin("mlp")
    shared = ops.mul(shared, gate, "gated shared expert")
    return ops.add(out, shared)


def qwen3_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Qwen 3 MoE: queries and keys normalised head by head."""
    return prenorm(context, layer, x, normed_attention, qwen_moe)


def qwen_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Qwen's routed experts."""
    routing = qwen_router(context, layer, "mlp.gate", x)
    return experts(context, layer, "mlp.experts", x, routing)


def olmoe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """OLMoE: norms over whole queries and keys."""
    return prenorm(context, layer, x, olmoe_attention, qwen_moe)


def olmoe_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention with a norm over all queries, and one over all keys."""
    q = rms_norm(layer, "self_attn.q_norm", layer.linear("self_attn.q_proj", x))
    k = rms_norm(layer, "self_attn.k_norm", layer.linear("self_attn.k_proj", x))
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def granitemoe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite 3 MoE."""
    return prenorm(context, layer, x, grouped_attention, granite_moe, scales=True)


def granitemoeshared(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite 3 MoE with an MLP for all tokens beside the experts."""
    return prenorm(context, layer, x, grouped_attention, granite_moe_and_mlp, scales=True)


def granite_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite's experts."""
    routing = granite_router(context, layer, "block_sparse_moe.router", x)
    return experts(context, layer, "block_sparse_moe.experts", x, routing)


def granite_moe_and_mlp(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite's experts and the shared MLP."""
    return ops.add(granite_moe(context, layer, x), granite_mlp(context, layer, x))


def granite_mlp(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite's shared MLP: gate and up are two halves of one projection."""
    return fused_gated_mlp(layer, x, "shared_mlp.input_linear", "shared_mlp.output_linear")


def gpt_oss(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """gpt-oss: attention with sinks, experts with biases."""
    return prenorm(context, layer, x, sink_attention, gpt_oss_moe, norm=float32_rms_norm)


def gpt_oss_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """gpt-oss's experts."""
    routing = gpt_oss_router(context, layer, "mlp.router", x)
    return experts(context, layer, "mlp.experts", x, routing, clamped_swiglu)


def sink_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention in which each head may attend to nothing; eager, or a flash kernel's."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotate_by_halves(context, q), rotate_by_halves(context, k)
    if context.attn_implementation == "eager":
        out = attend_with_sinks(context, q, k, v, layer.weights["self_attn.sinks"])
    else:
        out = attend_on_concatenated(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def rotate_by_halves(context: Context, x: Tensor) -> Tensor:
    """Rotary position embedding with a cosine for each pair of features, not for each feature."""
    cos, sin = context.cos, context.sin
    assert cos is not None
    assert sin is not None
    first, second = ops.split(x, 2)
    turned = ops.sub(ops.mul(first, cos), ops.mul(second, sin))
    other = ops.add(ops.mul(second, cos), ops.mul(first, sin))
    return ops.cat(turned, other)


def attend_with_sinks(context: Context, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor) -> Tensor:
    """Eager attention whose softmax has one more column, which is then dropped."""
    k, v = repeated(context, q, k, v)
    scores = ops.scale(ops.matmul(q, k, q.rows * context.heads, context.length))
    scores = ops.add_mask(scores, context.mask_dtype)
    scores = ops.to(scores, ops.wider(scores.dtype, sinks.dtype), "scores in the sinks' dtype")
    combined = ops.cat(scores, mixture.expand(sinks, scores.rows))
    combined = mixture.subtract_max(combined)
    probabilities = ops.softmax(combined, combined.dtype)
    weights = ops.part(probabilities, context.length)
    return ops.contiguous(ops.matmul(ops.to(weights, v.dtype), v, q.rows, q.width))
