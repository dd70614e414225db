"""Attention: rotary positions, the kernels, and the grouped attention most families share."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import per_head, rms_norm
from ...step.tape import FLOAT32, Tensor
from .weights import Config, Weights, linear

#: Features of a head up to which sdpa takes grouped heads as they are (``use_gqa_in_sdpa`` in
#: transformers/integrations/sdpa_attention.py).
WIDEST_GROUPED = 256


def attention_weights(
    config: Config,
    bias: bool = False,
    out_bias: bool | None = None,
    name: str = "self_attn",
    out: str = "o_proj",
) -> Weights:
    """Return the projections of grouped-query attention; `out_bias` is `bias` unless said."""
    hidden, head = config["hidden_size"], config["head_dim"]
    queries = config["num_attention_heads"] * head
    keys = config["num_key_value_heads"] * head
    return {
        **linear(f"{name}.q_proj", hidden, queries, bias),
        **linear(f"{name}.k_proj", hidden, keys, bias),
        **linear(f"{name}.v_proj", hidden, keys, bias),
        **linear(f"{name}.{out}", queries, hidden, bias if out_bias is None else out_bias),
    }


def grouped_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Llama's attention: projections, rotary positions, attention, projection."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def normed_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention with a norm on each head of queries and keys."""
    head_dim = context.head_dim
    q = per_head(rms_norm, layer, "self_attn.q_norm", layer.linear("self_attn.q_proj", x), head_dim)
    k = per_head(rms_norm, layer, "self_attn.k_norm", layer.linear("self_attn.k_proj", x), head_dim)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def split_attention(context: Context, layer: Layer, x: Tensor, output: str) -> Tensor:
    """Attention with separate projections and partly rotated heads."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = partial_rotary(layer, context, q, k)
    out = attend_on_concatenated(context, q, k, v)
    return layer.linear(output, out)


def rotary(layer: Layer, context: Context, x: Tensor) -> Tensor:
    """Rotary position embedding: x * cos + rotate_half(x) * sin."""
    if context.cos is None or context.sin is None:
        return x
    if layer.liger:
        return ops.liger_rotate(x)
    return ops.add(ops.mul(x, context.cos), ops.mul(rotate_half(x), context.sin))


def rotate_half(x: Tensor) -> Tensor:
    """The second half of the features, negated, before the first."""
    first, second = ops.part(x, x.width // 2), ops.part(x, x.width // 2)
    return ops.cat(ops.neg(second), first)


def partial_rotary(layer: Layer, context: Context, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate the first features of each head and put the others behind them."""
    if context.cos is None or context.cos.width == context.head_dim:
        return rotary(layer, context, q), rotary(layer, context, k)
    q_turned, q_passed = _parts(context, q, context.cos.width)
    k_turned, k_passed = _parts(context, k, context.cos.width)
    q_turned, k_turned = rotary(layer, context, q_turned), rotary(layer, context, k_turned)
    return ops.cat(q_turned, q_passed), ops.cat(k_turned, k_passed)


def _parts(context: Context, x: Tensor, rotated: int) -> tuple[Tensor, Tensor]:
    turned = x.width * rotated // context.head_dim
    return ops.part(x, turned), ops.part(x, x.width - turned)


def attend(context: Context, q: Tensor, k: Tensor, v: Tensor, softcap: bool = False) -> Tensor:
    """Run the attention kernel that the chosen implementation takes for these tensors."""
    if context.attn_implementation == "eager":
        return eager_attention(context, q, k, v, softcap)
    if context.mask is not None or q.width // context.heads > WIDEST_GROUPED:
        # grouped heads have no kernel of their own with a mask, nor where they are so wide
        k, v = repeated(context, q, k, v)
    in_float32 = q.dtype is FLOAT32 and q.tape.autocast is None
    if context.attn_implementation == "sdpa" and in_float32 and k.width != q.width:
        return math_attention(context, q, k, v)
    return ops.fused_attention(q, k, v, context.heads, context.length, context.mask)


def attend_on_concatenated(context: Context, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend with queries that `cat` has laid out head by head.

    The flash kernel gives its result in the queries' layout, so the projection behind it needs a
    copy; the one that takes masks and float32 gives it token by token.
    """
    flash = context.mask is None and (q.dtype is not FLOAT32 or q.tape.autocast is not None)
    out = attend(context, q, k, v)
    return ops.contiguous(out) if flash else out


def repeated(context: Context, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys and values with a head for each head of the queries."""
    head_dim, times = q.width // context.heads, q.width // k.width
    return (
        ops.repeat_heads(k, q.width, head_dim),
        ops.repeat_heads(v, v.width * times, v.width // (k.width // head_dim)),
    )


def eager_attention(
    context: Context, q: Tensor, k: Tensor, v: Tensor, softcap: bool = False
) -> Tensor:
    """Transformers' eager_attention_forward: makes and keeps the length x length scores."""
    k, v = repeated(context, q, k, v)
    q, k, v = (one_piece(context, x) for x in (q, k, v))
    scores = ops.scale(ops.matmul(q, k, q.rows * context.heads, context.length))
    if softcap:
        scores = ops.scale(scores)
        scores = ops.tanh(scores)
        scores = ops.scale(scores)
    scores = ops.add_mask(scores, context.mask_dtype)
    wide = FLOAT32 if context.float32_softmax else scores.dtype
    weights = ops.to(ops.softmax(scores, wide), q.dtype, "attention weights")
    if context.drops_attention:
        weights = ops.dropout(weights)
    return ops.contiguous(ops.matmul(weights, v, q.rows, v.width))


def one_piece(context: Context, x: Tensor) -> Tensor:
    """Lay heads out one after the other, as the products of several sequences need them.

    What a projection or an operator made is copied as well, but then let go. A part of a wider
    projection, or one head looked at several times, stays behind the copy.
    """
    if x.tape.autocast is not None:
        x = ops.to(x, x.tape.autocast)
    made = x.storage.allocation if x.storage is not None else None
    whole = made is not None and made.rows * made.width == x.rows * x.width
    return x if whole or x.rows <= context.length else ops.contiguous(x)


def math_attention(context: Context, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's fallback where no fused kernel takes the tensors: float32 with grouped heads."""
    q_scaled = ops.scale(q)
    k_repeated, v_repeated = repeated(context, q, k, v)
    scores = ops.matmul(q_scaled, ops.scale(k_repeated), q.rows * context.heads, context.length)
    scores = ops.softmax(scores, q.dtype)
    return ops.matmul(scores, v_repeated, q.rows, q.width)
