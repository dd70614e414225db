"""Fused norms and gates: PyTorch's LayerNorm, and Liger's kernels."""

from __future__ import annotations

from ..tape import FLOAT32, Gradients, Tensor
from .elementwise import to
from .recorded import detach, passes


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """LayerNorm in one kernel; keeps x, and the mean and rstd of each row in float32."""
    tape = x.tape
    if tape.autocast is not None:
        x = to(x, FLOAT32, "input in float32")
    rows, width, dtype = x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, "output")
    statistics = tape.new(rows, 1, FLOAT32, "mean"), tape.new(rows, 1, FLOAT32, "rstd")
    nodes = (x.node, weight.node, bias.node if bias is not None else None)
    if tape.recording and any(node is not None for node in nodes):
        saved = detach(x), statistics

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            to_x = tape.new(rows, width, dtype, "gradient") if nodes[0] is not None else None
            return to_x, *(
                tape.new(1, width, dtype, "gradient", "gradients") if node is not None else None
                for node in nodes[1:]
            )

        tape.record(out, nodes, backward)
    return out


def liger_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Liger's RMSNorm: one kernel; keeps x itself and rstd, and writes x's gradient in place."""
    tape, width = x.tape, x.width
    out = tape.new(x.rows, width, x.dtype, "output")
    rstd = tape.new(x.rows, 1, FLOAT32, "rstd")
    if tape.recording and not (x.node is weight.node is None):
        saved, trains, dtype = (detach(x), rstd), weight.node is not None, weight.dtype

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            return grad, tape.new(1, width, dtype, "gradient", "gradients") if trains else None

        tape.record(out, (x.node, weight.node), backward)
    return out


def liger_gated(gate: Tensor, up: Tensor) -> Tensor:
    """Liger's SwiGLU or GeGLU: keeps both inputs, and writes their gradients over them."""
    tape = gate.tape
    out = tape.new(gate.rows, gate.width, gate.dtype, "gated")
    if tape.recording and not (gate.node is up.node is None):
        saved = detach(gate), detach(up)
        tape.record(out, (gate.node, up.node), lambda grad: saved)
    return out


def liger_rotate(x: Tensor) -> Tensor:
    """Liger's rotary embedding: rotates in place, forwards and backwards."""
    return passes(detach(x), x)
