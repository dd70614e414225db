"""Mixtures of experts: what transformers' routers and fused experts do.

Transformers runs all experts of a layer in one grouped matrix product (``experts_implementation``
is ``grouped_mm`` unless said; integrations/moe.py, ``grouped_mm_experts_forward``), on every GPU:
where the card has no such kernel, a loop fills the same tensors. So what is kept depends on how
many pairs of token and expert there are, and not on which experts are chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.ops import experts as mixture
from ...step.tape import FLOAT32, Tensor


class Routing(NamedTuple):
    """What a router returns; like the models' own code, its caller holds on to the logits.

    Attributes
    ----------
    logits : Tensor
        Tokens x experts.
    scores : Tensor
        Tokens x chosen experts: how much each counts.
    chosen : Tensor
        Tokens x chosen experts: which.
    """

    logits: Tensor
    scores: Tensor
    chosen: Tensor


def mixtral_router(context: Context, layer: Layer, name: str, x: Tensor) -> Routing:
    """Softmax over all experts; the scores of the chosen add up to one, in float32."""
    logits = layer.linear(name, x)
    layer.begin(name)
    scores, chosen = mixture.top_k(ops.softmax(logits, FLOAT32), chosen_experts(context))
    return Routing(logits, mixture.normalize(scores), chosen)


def qwen_router(context: Context, layer: Layer, name: str, x: Tensor) -> Routing:
    """Softmax over all experts; the scores of the chosen perhaps add up to one."""
    logits = layer.linear(name, x)
    layer.begin(name)
    scores, chosen = mixture.top_k(ops.softmax(logits, FLOAT32), chosen_experts(context))
    if context.config.get("norm_topk_prob"):
        scores = mixture.normalize(scores)
    return Routing(logits, ops.to(scores, logits.dtype, "scores"), chosen)


def granite_router(context: Context, layer: Layer, name: str, x: Tensor) -> Routing:
    """Softmax over the chosen experts only."""
    logits = ops.to(layer.linear(name, x), FLOAT32, "logits in float32")
    layer.begin(name)
    best, chosen = mixture.top_k(logits, chosen_experts(context))
    return Routing(logits, ops.to(ops.softmax(best, FLOAT32), x.dtype, "scores"), chosen)


def gpt_oss_router(context: Context, layer: Layer, name: str, x: Tensor) -> Routing:
    """Softmax over the chosen experts only, in the logits' dtype."""
    logits = layer.linear(name, x)
    layer.begin(name)
    best, chosen = mixture.top_k(logits, chosen_experts(context))
    return Routing(logits, ops.softmax(best, best.dtype), chosen)


def chosen_experts(context: Context) -> int:
    """Experts that each token goes to."""
    return int(context.config["num_experts_per_tok"])


def swiglu(both: Tensor) -> Tensor:
    """act(gate) * up, of two halves of one tensor."""
    gate, up = ops.split(both, 2)
    return ops.mul(ops.activation(gate, "act(gate)"), up, "act(gate) * up")


def clamped_swiglu(both: Tensor) -> Tensor:
    """gpt-oss: (up + 1) * gate * sigmoid(alpha * gate), both clamped, gate and up interleaved."""
    gate, up = ops.part(both, both.width // 2), ops.part(both, both.width // 2)
    gate = ops.clamp(gate, bounds=1)
    up = ops.clamp(up, bounds=2)
    glu = ops.mul(gate, ops.sigmoid(ops.scale(gate)), "gate * sigmoid")
    return ops.mul(ops.shift(up), glu, "gated")


def experts(
    context: Context,
    layer: Layer,
    name: str,
    x: Tensor,
    routing: Routing,
    gated: Callable[[Tensor], Tensor] = swiglu,
    first: str = "gate_up_proj",
) -> Tensor:
    """Run each token's experts, and sum what they make of it, weighted by its scores.

    `first` names the projection that comes before `gated`, ``down_proj`` the one behind it.
    """
    layer.begin(name)
    count = routing.chosen.width
    in_order, order = mixture.sort(routing.chosen)
    tokens = mixture.like(order, "token of each pair")
    selected = mixture.gather(x, tokens, "inputs, expert by expert")
    pairs = ops.reshape(routing.scores, x.rows * count, 1)
    scores = mixture.gather(pairs, order, "scores, expert by expert")
    ends = mixture.offsets(int(context.config["num_experts"]), of=order)
    biases = chosen_biases(layer, f"{name}.{first}", in_order)
    up = layer.weight(f"{name}.{first}")  # with an adapter a whole copy, there until the end
    out = gated(grouped_linear(up, selected, biases, ends))
    biases = chosen_biases(layer, f"{name}.down_proj", in_order)
    down = layer.weight(f"{name}.down_proj")
    out = grouped_linear(down, out, biases, ends)
    weighted = ops.mul(out, scores, "weighted outputs")
    inverse = mixture.like(order, "place of each pair")
    weighted = mixture.gather(weighted, inverse, "outputs, token by token")
    total = mixture.sum_groups(weighted, count)
    return ops.to(total, x.dtype, "output")


def chosen_biases(layer: Layer, name: str, in_order: Tensor) -> Tensor | None:
    """Return each row's bias, where the experts have biases; `in_order` says whose it is."""
    bias = layer.weights.get(f"{name}_bias")
    return mixture.gather(bias, in_order, "biases, expert by expert") if bias else None


def grouped_linear(weight: Tensor, x: Tensor, biases: Tensor | None, ends: Tensor) -> Tensor:
    """Run each expert's own linear on its rows."""
    outputs = weight.rows // ends.rows
    if weight.width != x.width:  # gpt-oss stores its experts transposed
        outputs = weight.width
    out = mixture.grouped_mm(ops.to(x, weight.dtype), weight, ends, outputs)
    return ops.add_in_place(out, biases) if biases else out
