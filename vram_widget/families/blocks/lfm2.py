"""LFM2: gated short convolutions, with attention in some layers."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import per_head, rms_norm
from ...step.tape import Tensor
from ..parts.attention import attend, rotary
from ..parts.mamba import convolve


def lfm2_conv(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """A layer that mixes tokens by a short convolution between two gates."""
    residual = x
    x = short_convolution(context, layer, rms_norm(layer, "operator_norm", x))
    x = ops.add(x, residual)
    return ops.add(x, feed_forward(layer, rms_norm(layer, "ffn_norm", x)))


def lfm2_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """A layer that attends, with queries and keys normalised head by head."""
    residual = x
    x = normed_attention(context, layer, rms_norm(layer, "operator_norm", x))
    x = ops.add(x, residual)
    return ops.add(x, feed_forward(layer, rms_norm(layer, "ffn_norm", x)))


def short_convolution(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """out(C * conv(B * x)), where B, C and x are parts of one projection."""
    b, c, x = ops.split(layer.linear("conv.in_proj", x), 3)
    layer.begin("conv")
    x = ops.mul(b, x, "gated input")
    x = convolve(context, layer, "conv.conv", x, activates=False)
    y = ops.mul(c, x, "gated output")
    return layer.linear("conv.out_proj", y)


def normed_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention with a norm on each head of queries and keys."""
    q = layer.linear("self_attn.q_proj", x)
    q = per_head(rms_norm, layer, "self_attn.q_layernorm", q, context.head_dim)
    k = layer.linear("self_attn.k_proj", x)
    k = per_head(rms_norm, layer, "self_attn.k_layernorm", k, context.head_dim)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.out_proj", out)


def feed_forward(layer: Layer, x: Tensor) -> Tensor:
    """w2(silu(w1(x)) * w3(x))."""
    layer.begin("feed_forward")
    gate = ops.activation(layer.linear("feed_forward.w1", x), "silu(w1)")
    product = ops.mul(gate, layer.linear("feed_forward.w3", x), "silu(w1) * w3")
    del gate
    return layer.linear("feed_forward.w2", product)
