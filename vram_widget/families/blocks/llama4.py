"""Llama 4's blocks: an MLP or experts, with rotated positions or with none.

Transformers hands every token to every expert, scaled by a score that is zero for those that were
not chosen: what a layer makes grows with the number of experts.
"""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import normed, rms_norm
from ...step.ops import experts as mixture
from ...step.tape import FLOAT32, Tensor
from ..parts.attention import attend, repeated
from ..parts.experts import Routing, chosen_experts
from ..parts.mlp import gated_mlp
from .moe import Part


def llama4(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Rotated positions, an MLP."""
    return block(context, layer, x, rotating_attention, plain)


def llama4_nope(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """No positions, an MLP."""
    return block(context, layer, x, tempered_attention, plain)


def llama4_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Rotated positions, experts."""
    return block(context, layer, x, rotating_attention, moe)


def llama4_moe_nope(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """No positions, experts."""
    return block(context, layer, x, tempered_attention, moe)


def block(context: Context, layer: Layer, x: Tensor, attention: Part, mlp: Part) -> Tensor:
    """Norm, attention, norm, MLP; what attention gave is held on to until the end."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    attended = attention(context, layer, x)
    x = ops.add(residual, attended)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = mlp(context, layer, x)
    return ops.add(residual, x)


def plain(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """A gated MLP."""
    return gated_mlp(layer, x, "feed_forward")


def rotating_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention, rotated as complex numbers and perhaps normed head by head."""
    return attention(context, layer, x, rotated)


def tempered_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention without positions; its queries may grow with their place."""
    return attention(context, layer, x, tempered)


def attention(context: Context, layer: Layer, x: Tensor, place: Part) -> Tensor:
    """Grouped attention; `place` tells queries, and keys if they rotate, where they stand."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q = place(context, layer, q)
    if place is rotated:
        k = place(context, layer, k)
    if context.attn_implementation == "eager":
        out = eager_attention(context, q, k, v)
    else:
        out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def rotated(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Rotate pairs of features as complex numbers, in float32; perhaps norm each head."""
    assert context.cos is not None
    wide = ops.mul(ops.to(x, FLOAT32, "pairs in float32"), context.cos, "rotated")
    x = ops.to(wide, x.dtype, "rotated")
    if not context.config.get("use_qk_norm", True):
        return x
    heads = ops.reshape(x, x.rows * x.width // context.head_dim, context.head_dim)
    return ops.reshape(ops.to(normed(heads), x.dtype, "normed"), x.rows, x.width)


def tempered(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Scale queries by their place, in float32."""
    if not context.config.get("attn_temperature_tuning", True):
        return x
    places = x.tape.new(context.length, 1, FLOAT32, "scale of each place")
    return ops.to(ops.mul(x, places, "scaled"), x.dtype, "scaled")


def eager_attention(context: Context, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Run eager attention with a softmax in the scores' own dtype."""
    k, v = repeated(context, q, k, v)
    scores = ops.scale(ops.matmul(q, k, q.rows * context.heads, context.length))
    scores = ops.add_mask(scores, context.mask_dtype)
    weights = ops.softmax(scores, FLOAT32 if q.tape.autocast else scores.dtype)
    return ops.contiguous(ops.matmul(weights, v, q.rows, v.width))


def moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """All experts on all tokens, and a shared one."""
    routing = router(context, layer, x)
    count = routing.scores.width
    layer.begin("feed_forward")
    inputs = mixture.repeat_rows(x, count)
    scores = ops.contiguous(ops.reshape(routing.scores, inputs.rows, 1))
    inputs = ops.mul(inputs, scores, "inputs of every expert")
    out = every_expert(layer, inputs, count)
    shared = gated_mlp(layer, x, "feed_forward.shared_expert")
    layer.begin("feed_forward")
    return ops.add_in_place(shared, mixture.sum_groups(out, count))


def router(context: Context, layer: Layer, x: Tensor) -> Routing:
    """Score the chosen experts by a sigmoid, and the others zero."""
    logits = layer.linear("feed_forward.router", x)
    layer.begin("feed_forward.router")
    best, chosen = mixture.top_k(logits, chosen_experts(context))
    scores = mixture.scatter(best, chosen, logits.width)
    scores = ops.sigmoid(ops.to(scores, FLOAT32))
    return Routing(logits, ops.to(scores, logits.dtype, "scores"), chosen)


def every_expert(layer: Layer, x: Tensor, count: int) -> Tensor:
    """Run each expert's gated MLP on its copy of all tokens."""
    name = "feed_forward.experts"
    layer.begin(name)
    both = mixture.batched_mm(x, layer.weight(f"{name}.gate_up_proj"))
    gate, up = ops.split(both, 2)
    product = ops.mul(up, ops.activation(gate, "act(gate)"), "act(gate) * up")
    return mixture.batched_mm(product, layer.weight(f"{name}.down_proj"))
