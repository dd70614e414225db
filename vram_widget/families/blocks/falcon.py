"""Falcon's blocks: one fused projection, and attention and MLP side by side.

Its linears transpose their weights (FalconLinear), and of a view autocast keeps no copy.
"""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import layer_norm
from ...step.tape import FLOAT32, DType, Tensor
from ..parts.attention import attend, rotary


def falcon(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Falcon 7B, 11B: attention and MLP side by side on one norm."""
    residual = x
    x = layer_norm(layer, "input_layernorm", x)
    return parallel(context, layer, residual, x, x)


def falcon_two_norms(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Falcon 40B and 180B: attention and MLP side by side, each on a norm of its own."""
    before_attention = layer_norm(layer, "ln_attn", x)
    before_mlp = layer_norm(layer, "ln_mlp", x)
    return parallel(context, layer, x, before_attention, before_mlp)


def parallel(
    context: Context, layer: Layer, residual: Tensor, before_attention: Tensor, before_mlp: Tensor
) -> Tensor:
    """Attention and MLP side by side."""
    attended = falcon_attention(context, layer, before_attention)
    fed = falcon_mlp(layer, before_mlp)
    fed = ops.add_in_place(fed, attended)
    return ops.add(residual, fed)


def falcon_serial(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Falcon RW: the MLP behind attention."""
    attended = falcon_attention(context, layer, layer_norm(layer, "input_layernorm", x))
    residual = ops.add(x, attended)
    fed = falcon_mlp(layer, layer_norm(layer, "post_attention_layernorm", residual))
    return ops.add(residual, fed)


def falcon_mlp(layer: Layer, x: Tensor) -> Tensor:
    """Falcon's MLP."""
    layer.begin("mlp")
    x = ops.activation(layer.linear("mlp.dense_h_to_4h", x, transposes=True), "act")
    return layer.linear("mlp.dense_4h_to_h", x, transposes=True)


def falcon_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention on one projection: queries are a view of it, keys and values are copied out."""
    dtype = x.dtype
    qkv = layer.linear("self_attention.query_key_value", x, transposes=True)
    layer.begin("self_attention")
    q, k, v = split_heads(context, qkv)
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    if context.attn_implementation == "eager":
        out = eager_attention(context, q, k, v, dtype)
    elif context.attn_implementation == "sdpa" and k.width != q.width:
        out = ops.contiguous(broadcast_attention(context, q, k, v))
    else:
        out = attend(context, q, k, v)
    return layer.linear("self_attention.dense", out, transposes=True)


def split_heads(context: Context, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take queries, keys and values out of the projection as each generation of Falcon does."""
    queries = context.heads * context.head_dim
    keys = (qkv.width - queries) // 2
    if context.config["new_decoder_architecture"]:  # a key head goes to each query of its group
        q, k, v = ops.part(qkv, queries), ops.copied_part(qkv, keys), ops.copied_part(qkv, keys)
        grouped = keys > context.head_dim
        return (
            ops.contiguous(q) if grouped else q,
            ops.repeat_heads(k, queries, context.head_dim),
            ops.repeat_heads(v, queries, context.head_dim),
        )
    if context.config["multi_query"]:
        return ops.part(qkv, queries), ops.copied_part(qkv, keys), ops.copied_part(qkv, keys)
    return ops.part(qkv, queries), ops.part(qkv, keys), ops.part(qkv, keys)


def eager_attention(context: Context, q: Tensor, k: Tensor, v: Tensor, dtype: DType) -> Tensor:
    """Falcon's own: scores divided in place, their softmax in the hidden state's dtype."""
    queries, keys = ops.contiguous(q), ops.copy_heads(k, q.width)
    scores = ops.matmul(queries, keys, q.rows * context.heads, context.length)
    del queries, keys
    masked = ops.add_mask(ops.scale_in_place(scores), context.mask_dtype)
    weights = ops.softmax(masked, dtype)
    del scores, masked
    return ops.contiguous(ops.matmul(weights, ops.copy_heads(v, q.width), q.rows, q.width))


def broadcast_attention(context: Context, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Run SDPA where all queries share one key head, for which PyTorch has no fused kernel.

    Its plain implementation works in float32 and copies the keys for each query.
    """
    tape = q.tape
    outer, tape.autocast = tape.autocast, None
    dtype = outer or q.dtype
    q, k, v = (ops.to(ops.to(x, dtype), FLOAT32, "in float32") for x in (q, k, v))
    queries, keys = ops.contiguous(ops.scale(q)), ops.copy_heads(ops.scale(k), q.width)
    scores = ops.matmul(queries, keys, q.rows * context.heads, context.length)
    weights = ops.softmax(scores, FLOAT32)
    del scores
    returned = ops.to(ops.detach(weights), dtype, "weights, which nobody takes")
    out = ops.matmul(weights, ops.copy_heads(v, q.width), q.rows, q.width)
    out = ops.to(out, dtype, "attention")
    del returned
    tape.autocast = outer
    return out
