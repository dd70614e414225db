"""Mamba-2 as transformers runs it in plain PyTorch.

With the packages mamba-ssm and causal-conv1d a CUDA kernel takes its place, which keeps none of
the chunks' tensors; without them a layer keeps far more than one with attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import gated_rms_norm
from ...step.ops import scan
from ...step.tape import FLOAT32, Tensor
from .weights import Weights, convolution, linear, norm


def mamba2_weights(
    name: str,
    hidden: int,
    inner: int,
    heads: int,
    groups: int,
    state: int,
    kernel: int,
    *,
    conv_bias: bool,
    proj_bias: bool,
    out_bias: bool,
    normed: bool = True,
) -> Weights:
    """Return the weights of a Mamba-2 mixer of `inner` channels."""
    channels = inner + 2 * groups * state
    weights: Weights = {
        f"{name}.dt_bias": (heads,),
        f"{name}.A_log": (heads,),
        f"{name}.D": (heads,),
        **convolution(f"{name}.conv1d", channels, kernel, conv_bias),
        **linear(f"{name}.in_proj", hidden, inner + channels + heads, proj_bias),
        **linear(f"{name}.out_proj", inner, hidden, out_bias),
    }
    return weights | norm(f"{name}.norm", inner) if normed else weights


class Mixer(NamedTuple):
    """Dimensions of a Mamba-2 mixer.

    Attributes
    ----------
    name : str
        Its name in the layer.
    heads, head_dim, groups, state, chunk : int
        As in config.json.
    """

    name: str
    heads: int
    head_dim: int
    groups: int
    state: int
    chunk: int


def named_mixer(config: Mapping[str, Any], inner: int) -> Mixer:
    """Return the mixer that is called mamba, here and in config.json; `inner` is its width."""
    heads = config["mamba_n_heads"]
    return Mixer(
        "mamba",
        heads,
        inner // heads,
        config["mamba_n_groups"],
        config["mamba_d_state"],
        config["mamba_chunk_size"],
    )


def mamba2(context: Context, layer: Layer, mixer: Mixer, x: Tensor) -> Tensor:
    """Project, convolve over time, scan, norm behind a gate, and project."""
    layer.begin(mixer.name)
    projected = layer.linear(f"{mixer.name}.in_proj", masked(context, x))
    scanned, gate = scan_projected(context, layer, mixer, projected)
    scanned = gated_rms_norm(layer, f"{mixer.name}.norm", scanned, gate)
    return layer.linear(f"{mixer.name}.out_proj", ops.to(scanned, x.dtype, "output in x's dtype"))


def scan_projected(
    context: Context, layer: Layer, mixer: Mixer, projected: Tensor
) -> tuple[Tensor, Tensor]:
    """Convolve and scan what the first projection made; return that, and the gate for it."""
    name = mixer.name
    inner, states = mixer.heads * mixer.head_dim, mixer.groups * mixer.state
    decay = ops.neg(scan.exp(ops.to(layer.weights[f"{name}.A_log"], FLOAT32)))
    gate, convolved, step = ops.split_widths(projected, inner, inner + 2 * states, mixer.heads)
    convolved = masked(context, convolve(context, layer, f"{name}.conv1d", convolved))
    x, b, c = ops.split_widths(convolved, inner, states, states)
    return chunk_scan(context, layer, mixer, x, step, decay, b, c), gate


def masked(context: Context, x: Tensor) -> Tensor:
    """Set padding to zero where there is any."""
    return ops.scale(x, "without padding") if context.mask is not None else x


def sequences(context: Context, x: Tensor) -> int:
    """Return how many sequences the tokens of x are."""
    return -(-x.rows // context.length)


def convolve(
    context: Context, layer: Layer, name: str, x: Tensor, activates: bool = True
) -> Tensor:
    """Convolve over the last few tokens; what is made at the margins is cut off."""
    weight = layer.weights[f"{name}.weight"]
    rows = x.rows + sequences(context, x) * (weight.width - 1)
    out = scan.conv1d(ops.to(x, weight.dtype), weight, layer.weights.get(f"{name}.bias"), rows)
    out = scan.first_positions(out, x.rows)
    if activates:
        out = ops.activation(out, "act(convolved)")
    return ops.to(out, x.dtype)


def chunk_scan(
    context: Context,
    layer: Layer,
    mixer: Mixer,
    x: Tensor,
    step: Tensor,
    decay: Tensor,
    b: Tensor,
    c: Tensor,
) -> Tensor:
    """Scan within chunks, then from chunk to chunk (``mamba2_chunk_scan``)."""
    heads, chunk, name = mixer.heads, mixer.chunk, mixer.name
    tokens, inner, state = x.rows, heads * mixer.head_dim, heads * mixer.state
    many = sequences(context, x)
    chunks = many * -(-context.length // chunk)
    rows = chunks * chunk
    step = ops.clamp(scan.softplus(ops.add_bias(step, layer.weights[f"{name}.dt_bias"])), bounds=2)
    x = ops.to(x, FLOAT32, "x in float32")
    b = ops.copy_heads(ops.to(b, FLOAT32), state)
    c = ops.copy_heads(ops.to(c, FLOAT32), state)
    skipped = ops.mul(scan.pad(x, rows), layer.weights[f"{name}.D"], "D * x")
    x = ops.mul(x, ops.to(step, FLOAT32), "x * dt")
    decay = ops.mul(ops.to(step, FLOAT32), decay, "A * dt")
    x, decay, b, c = [scan.pad(each, rows) for each in (x, decay, b, c)]
    total = scan.cumsum(decay)
    # from position to position within a chunk, as attention
    within = scan.exp(segment_sum(decay, rows * heads, chunk))
    scores = scan.einsum(c, b, rows * heads, chunk)
    weights = ops.mul(scores, within, "scores * decay")
    inside = scan.einsum(weights, x, rows, inner, copies="second")
    # each chunk's state, and what it finds from the chunks before
    until_end = scan.exp(scan.like(total))
    b_decay = ops.mul(b, until_end, "B * decay")
    states = scan.einsum(b_decay, x, chunks * heads * mixer.head_dim, mixer.state)
    start = x.tape.new(many * heads * mixer.head_dim, mixer.state, states.dtype, "first states")
    states = scan.append(start, states)
    states = scan.carry(states)
    found = scan.first_positions(states, chunks * heads * mixer.head_dim)
    from_start = scan.exp(total)
    carried = scan.einsum(c, found, rows, inner)
    outside = ops.mul(carried, from_start, "from chunks before")
    out = ops.contiguous(ops.add(inside, outside))
    out = ops.add(out, skipped)
    return scan.first_positions(out, tokens) if rows > tokens else out


def segment_sum(x: Tensor, rows: int, width: int) -> Tensor:
    """Return the sums between any two positions of a chunk."""
    x = scan.masked_fill(x, rows, width)
    total = scan.cumsum(x)
    return scan.masked_fill(total, rows, width)
