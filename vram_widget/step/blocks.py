"""Decoder blocks: what one layer of each family does, operator by operator.

Each block reads like the model's own code in transformers, and holds on to the same tensors for as
long: a local variable here is a local variable there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from . import ops
from .layer import Layer
from .tape import FLOAT32, Tensor


class Context(NamedTuple):
    """What every layer of a pass shares."""

    config: Mapping[str, Any]
    length: int
    attn_implementation: str
    cos: Tensor
    sin: Tensor
    mask: Tensor | None = None


def rotary(layer: Layer, context: Context, x: Tensor) -> Tensor:
    """Rotary position embedding: x * cos + rotate_half(x) * sin."""
    if layer.liger:
        return ops.liger_rotate(x)
    return ops.add(ops.mul(x, context.cos), ops.mul(rotate_half(x), context.sin))


def rotate_half(x: Tensor) -> Tensor:
    """The second half of the features, negated, before the first."""
    first, second = ops.part(x, x.width // 2), ops.part(x, x.width // 2)
    return ops.cat(ops.neg(second), first)


def attend(context: Context, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Run the attention kernel that the chosen implementation takes for these tensors."""
    heads = context.config["num_attention_heads"]
    if context.attn_implementation == "eager":
        return eager_attention(context, heads, q, k, v)
    if context.mask is not None:  # grouped heads and a mask together have no kernel of their own
        k, v = ops.repeat_heads(k, q.width), ops.repeat_heads(v, q.width)
    in_float32 = q.dtype is FLOAT32 and q.tape.autocast is None
    if context.attn_implementation == "sdpa" and in_float32 and k.width != q.width:
        return math_attention(context, heads, q, k, v)
    return ops.fused_attention(q, k, v, heads, context.length, context.mask)


def eager_attention(context: Context, heads: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """transformers' eager_attention_forward: makes and keeps the length x length scores."""
    k, v = ops.repeat_heads(k, q.width), ops.repeat_heads(v, q.width)
    rows = q.rows * heads
    scores = ops.scale(ops.matmul(q, k, rows, context.length))
    scores = ops.add_mask(scores)
    weights = ops.to(ops.softmax(scores, FLOAT32), q.dtype, "attention weights")
    return ops.contiguous(ops.matmul(weights, v, q.rows, q.width))


def math_attention(context: Context, heads: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's fallback where no fused kernel takes the tensors: float32 with grouped heads."""
    q_scaled = ops.scale(q)
    k_repeated, v_repeated = ops.repeat_heads(k, q.width), ops.repeat_heads(v, q.width)
    scores = ops.matmul(q_scaled, ops.scale(k_repeated), q.rows * heads, context.length)
    scores = ops.softmax(scores, q.dtype)
    return ops.matmul(scores, v_repeated, q.rows, q.width)


def attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped-query attention with rotary positions."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.tape.operator = "self_attn"
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def gated_mlp(layer: Layer, x: Tensor) -> Tensor:
    """down(silu(gate(x)) * up(x))."""
    layer.tape.operator = "mlp"
    if layer.liger:
        gate, up = layer.linear("mlp.gate_proj", x), layer.linear("mlp.up_proj", x)
        return layer.linear("mlp.down_proj", ops.liger_gated(gate, up))
    gate = ops.activation(layer.linear("mlp.gate_proj", x), "silu(gate)")
    return layer.linear("mlp.down_proj", ops.mul(gate, layer.linear("mlp.up_proj", x)))


def llama(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Llama, Mistral, Qwen2, SmolLM2, TinyLlama."""
    residual = x
    x = layer.rms_norm("input_layernorm", x)
    x = attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = layer.rms_norm("post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


def granite(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite 3: Llama with its residual branches scaled."""
    residual = x
    x = layer.rms_norm("input_layernorm", x)
    x = attention(context, layer, x)
    x = ops.add(residual, ops.scale(x))
    residual = x
    x = layer.rms_norm("post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, ops.scale(x))


BLOCKS = {"llama": llama, "granite": granite}
