"""Gemma 4: norms on queries, keys and values, experts beside the MLP, inputs by layer."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import per_head
from ...step.ops import experts as mixture
from ...step.tape import FLOAT32, Tensor
from ..parts.attention import attend, rotary
from ..parts.experts import Routing, experts
from ..parts.mlp import gated_mlp


def gemma4(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Gemma 4's layer; its weights say whether it has experts, keys of its own, an input."""
    residual = x
    x = norm(layer, "input_layernorm", x)
    x = attention(context, layer, x)
    x = norm(layer, "post_attention_layernorm", x)
    x = ops.add(residual, x)
    residual = x
    x = norm(layer, "pre_feedforward_layernorm", x)
    x = gated_mlp(layer, x)
    if layer.has("router.proj"):
        x = norm(layer, "post_feedforward_layernorm_1", x)
        routing = router(context, layer, residual)
        mixed = norm(layer, "pre_feedforward_layernorm_2", residual)
        mixed = experts(context, layer, "experts", mixed, routing)
        mixed = norm(layer, "post_feedforward_layernorm_2", mixed)
        x = ops.add(x, mixed)
    x = norm(layer, "post_feedforward_layernorm", x)
    x = ops.add(residual, x)
    if context.per_layer_inputs is not None:
        residual = x
        x = ops.activation(layer.linear("per_layer_input_gate", x), "act(gate)")
        mine = ops.part(context.per_layer_inputs, x.width)
        x = layer.linear("per_layer_projection", ops.mul(x, mine, "gated input"))
        x = norm(layer, "post_per_layer_input_norm", x)
        x = ops.add(residual, x)
    return ops.follows(ops.detach(x), x)  # times a number, in place


def attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention with normed queries, keys and values; full layers may use keys as values."""
    q = layer.linear("self_attn.q_proj", x)
    head_dim = q.width // context.heads
    q = per_head(norm, layer, "self_attn.q_norm", q, head_dim)
    layer.begin("self_attn")
    q = rotary(layer, context, q)
    if layer.has("self_attn.k_proj"):
        k = layer.linear("self_attn.k_proj", x)
        v = k
        if layer.has("self_attn.v_proj"):
            v = layer.linear("self_attn.v_proj", x)
        k = per_head(norm, layer, "self_attn.k_norm", k, head_dim)
        k = rotary(layer, context, k)
        v = per_head(norm, layer, "self_attn.v_norm", v, head_dim)
    else:  # the keys and values of the last layer that has its own, which that layer keeps
        width = context.config["num_key_value_heads"] * head_dim
        k, v = (Tensor(x.tape, x.rows, width, x.dtype, None) for _ in range(2))
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def router(context: Context, layer: Layer, x: Tensor) -> Routing:
    """Softmax over all experts of a normed, scaled input; the chosen scores are scaled again."""
    outer = layer.begin("router")
    x = norm(layer, "router.norm", x)
    x = ops.mul(x, layer.weights["router.scale"], "scaled")
    x = ops.scale(x)
    scores = ops.softmax(layer.linear("router.proj", x), FLOAT32)
    best, chosen = mixture.top_k(scores, context.config["top_k_experts"])
    best = mixture.normalize(best)
    each = mixture.gather(layer.weights["router.per_expert_scale"], chosen, "scale of each")
    best = ops.mul(best, ops.reshape(each, best.rows, best.width), "scores")
    layer.end(outer)
    return Routing(scores, best, chosen)


def norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    """Gemma 4's RMSNorm: in float32, scaled by its weight where it has one."""
    weight = layer.weights.get(f"{name}.weight")
    outer = layer.begin(name)
    if layer.liger and weight is not None:
        out = ops.liger_rms_norm(x, weight)
    else:
        wide = ops.to(x, FLOAT32, "input in float32")
        normed = ops.mul(wide, ops.rsqrt(ops.mean(ops.square(wide))), "normed")
        if weight is not None:
            normed = ops.mul(normed, ops.to(weight, FLOAT32), "scaled")
        out = ops.to(normed, x.dtype, "output")
    layer.end(outer)
    return out
