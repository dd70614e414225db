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
from ...step.decoder import Block, Decoder
from ...step.layer import Layer
from ...step.ops import experts as mixture
from ...step.tape import BFLOAT16, FLOAT32, Tensor
from .layers import DecoderLayer, decoder, grouped, prenorm
from .mlp import gated_mlp, gated_mlp_weights
from .weights import Config, Weights


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


def expert_weights(name: str, count: int, hidden: int, inner: int) -> Weights:
    """Return the fused, 3-D weights of a layer's gated experts."""
    return {
        f"{name}.gate_up_proj": (count, 2 * inner, hidden),
        f"{name}.down_proj": (count, hidden, inner),
    }


def routed_weights(config: Config, inner: int, name: str = "mlp") -> Weights:
    """Return a router, which is no ``nn.Linear`` in transformers, and its experts."""
    hidden, count = config["hidden_size"], config["num_experts"]
    return {
        f"{name}.gate.weight": (count, hidden),
        **expert_weights(f"{name}.experts", count, hidden, inner),
    }


def mostly_sparse(
    config: Config, attention: Weights, plain_layer: Block, mixed_layer: Block
) -> Decoder:
    """Return DeepSeek's mixture: the first layers have a plain MLP, the others experts."""
    hidden, inner = config["hidden_size"], config["moe_intermediate_size"]
    mlp = gated_mlp_weights("mlp", hidden, config["intermediate_size"])
    shared = inner * (config.get("n_shared_experts") or 0)
    sparse = routed_weights(config, inner) | gated_mlp_weights("mlp.shared_experts", hidden, shared)
    plain = DecoderLayer(plain_layer, prenorm(hidden, attention, mlp))
    mixed = DecoderLayer(mixed_layer, prenorm(hidden, attention, sparse))
    first = config["first_k_dense_replace"]
    layers = grouped(plain if i < first else mixed for i in range(config["num_hidden_layers"]))
    return decoder(config, layers)


def qwen_router(context: Context, layer: Layer, name: str, x: Tensor) -> Routing:
    """Softmax over all experts; the scores of the chosen perhaps add up to one."""
    logits = layer.linear(name, x)
    layer.begin(name)
    scores, chosen = mixture.top_k(ops.softmax(logits, FLOAT32), chosen_experts(context))
    if context.config.get("norm_topk_prob"):
        scores = mixture.normalize(scores)
    return Routing(logits, ops.to(scores, logits.dtype, "scores"), chosen)


def deepseek_router(
    context: Context,
    layer: Layer,
    name: str,
    x: Tensor,
    scored: Callable[[Tensor], Tensor] = ops.sigmoid,
) -> Routing:
    """Scores of all experts in float32, of which the best count."""
    outer = layer.begin(name)
    weight = ops.to(layer.weight(f"{name}.weight"), FLOAT32)
    logits = ops.linear(ops.to(x, FLOAT32, "input in float32"), weight)
    scores = scored(logits)
    best, chosen = mixture.top_k(scores, chosen_experts(context))
    if context.config.get("norm_topk_prob"):
        best = mixture.normalize(best)
    best = ops.scale(best, "scores")
    layer.end(outer)
    return Routing(logits, best, chosen)


def chosen_experts(context: Context) -> int:
    """Experts that each token goes to."""
    return int(context.config["num_experts_per_tok"])


def swiglu(both: Tensor) -> Tensor:
    """act(gate) * up, of two halves of one tensor."""
    gate, up = ops.split(both, 2)
    return ops.mul(ops.activation(gate, "act(gate)"), up, "act(gate) * up")


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
    up = layer.experts(f"{name}.{first}")  # with an adapter a whole copy, there until the end
    out = gated(grouped_linear(up, selected, biases, ends))
    biases = chosen_biases(layer, f"{name}.down_proj", in_order)
    down = layer.experts(f"{name}.down_proj")
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
    if weight.dtype.packed > 1:
        out = mixture.quantized_grouped_mm(ops.to(x, BFLOAT16), weight, ends, outputs)
    else:
        out = mixture.grouped_mm(ops.to(x, weight.dtype), weight, ends, outputs)
    return ops.add_in_place(out, biases) if biases else out


def deepseek_moe(
    context: Context, layer: Layer, x: Tensor, scored: Callable[[Tensor], Tensor] = ops.sigmoid
) -> Tensor:
    """DeepSeek's routed experts, and an MLP for all tokens beside them."""
    routing = deepseek_router(context, layer, "mlp.gate", x, scored)
    routed = experts(context, layer, "mlp.experts", x, routing)
    return ops.add(routed, gated_mlp(layer, x, "mlp.shared_experts"))
