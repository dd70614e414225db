"""Normalisations, as each family's code in transformers computes them."""

from __future__ import annotations

from collections.abc import Callable

from . import ops
from .layer import Layer
from .tape import FLOAT32, Tensor

Norm = Callable[[Layer, str, Tensor], Tensor]


def rms_norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    """Llama's RMSNorm: computed in float32, scaled by its weight in x's dtype."""
    weight = layer.weights[f"{name}.weight"]
    outer = layer.begin(name)
    if layer.liger:
        out = ops.liger_rms_norm(x, weight)
    else:
        out = ops.mul(ops.to(normed(x), x.dtype, "normed"), weight, "output")
    layer.end(outer)
    return out


def float32_rms_norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    """OLMo 2's RMSNorm: scaled by its weight in float32, and only then turned to x's dtype."""
    weight = layer.weights[f"{name}.weight"]
    outer = layer.begin(name)
    if layer.liger:
        out = ops.liger_rms_norm(x, weight)
    else:
        out = ops.to(ops.mul(normed(x), weight, "scaled"), x.dtype, "output")
    layer.end(outer)
    return out


def gemma_rms_norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    """Gemma's RMSNorm: scaled by one plus its weight, all in float32."""
    weight = layer.weights[f"{name}.weight"]
    outer = layer.begin(name)
    if layer.liger:
        out = ops.liger_rms_norm(x, weight)
    else:
        scaled = ops.mul(normed(x), ops.scale(ops.to(weight, FLOAT32)), "scaled")
        out = ops.to(scaled, x.dtype, "output")
    layer.end(outer)
    return out


def gated_rms_norm(layer: Layer, name: str, x: Tensor, gate: Tensor) -> Tensor:
    """Mamba-2's RMSNorm: of x * act(gate), all in float32."""
    outer, dtype = layer.begin(name), x.dtype
    x = ops.to(x, FLOAT32, "input in float32")
    x = ops.mul(x, ops.activation(ops.to(gate, FLOAT32, "gate in float32"), "act(gate)"), "gated")
    out = ops.mul(ops.to(normed(x), dtype, "normed"), layer.weights[f"{name}.weight"], "output")
    layer.end(outer)
    return out


def norm_then_gate(gate: Tensor) -> Norm:
    """Return Qwen 3.5's gated RMSNorm: Llama's, times act(gate) in float32."""

    def norm(layer: Layer, name: str, x: Tensor) -> Tensor:
        outer, dtype = layer.begin(name), x.dtype
        out = ops.mul(ops.to(normed(x), dtype, "normed"), layer.weights[f"{name}.weight"])
        heads = ops.reshape(gate, x.rows, x.width)
        act = ops.activation(ops.to(heads, FLOAT32, "gate in float32"), "act(gate)")
        out = ops.to(ops.mul(out, act, "gated"), dtype, "output")
        layer.end(outer)
        return out

    return norm


def layer_norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    """LayerNorm: one kernel that keeps its input."""
    outer = layer.begin(name)
    out = ops.layer_norm(x, layer.weights[f"{name}.weight"], layer.weights.get(f"{name}.bias"))
    layer.end(outer)
    return out


def mean_centred_norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    """Cohere's LayerNorm: operator by operator in float32, scaled there, and no bias.

    A weight of several rows norms each head by itself.
    """
    weight = layer.weights[f"{name}.weight"]
    outer = layer.begin(name)
    rows, width, dtype = x.rows, x.width, x.dtype
    x = ops.reshape(x, rows * width // weight.width, weight.width)
    x = ops.to(x, FLOAT32, "input in float32")
    average = ops.mean(x)
    variance = ops.mean(ops.square(ops.sub(x, average)))
    normed = ops.mul(ops.sub(x, average), ops.rsqrt(variance), "normed")
    scaled = ops.mul(normed, ops.to(weight, FLOAT32), "scaled")
    out = ops.reshape(ops.to(scaled, dtype, "output"), rows, width)
    layer.end(outer)
    return out


def per_head(norm: Norm, layer: Layer, name: str, x: Tensor, head_dim: int) -> Tensor:
    """Normalise each head by itself."""
    heads = ops.reshape(x, x.rows * x.width // head_dim, head_dim)
    return ops.reshape(norm(layer, name, heads), x.rows, x.width)


def normed(x: Tensor) -> Tensor:
    """Divide each row by its root mean square, in float32."""
    x = ops.to(x, FLOAT32, "input in float32")
    variance = ops.mean(ops.square(x))
    return ops.mul(x, ops.rsqrt(variance), "normed")
