"""Operators of recurrent layers: convolutions over time, decays, and sums over chunks."""

from __future__ import annotations

from ..tape import FLOAT32, Gradients, Tensor
from .elementwise import to
from .products import cast_weight, matmul
from .recorded import detach, follows, passes
from .views import contiguous


def conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, rows: int) -> Tensor:
    """Convolve each feature over time; keeps x and the weight. `rows` counts its margins too."""
    tape = x.tape
    if tape.autocast is not None:
        x = to(x, tape.autocast, "input in the compute dtype")
        weight = cast_weight(weight)
        bias = cast_weight(bias) if bias is not None else None
    width, dtype = x.width, x.dtype
    out = tape.new(rows, width, dtype, "convolved")
    nodes = (x.node, weight.node, bias.node if bias is not None else None)
    if tape.recording and any(node is not None for node in nodes):
        kept, x_rows, shape = (x, weight), x.rows, (weight.rows, weight.width)

        def backward(grad: Tensor) -> Gradients:
            _ = kept
            to_x = tape.new(x_rows, width, dtype, "gradient") if nodes[0] else None
            to_weight = tape.new(*shape, dtype, "gradient", "gradients") if nodes[1] else None
            to_bias = tape.new(1, width, dtype, "gradient", "gradients") if nodes[2] else None
            return to_x, to_weight, to_bias

        tape.record(out, nodes, backward)
    return out


def first_positions(x: Tensor, rows: int) -> Tensor:
    """Return a view without the last positions; its gradient is x's size."""
    return follows(Tensor(x.tape, rows, x.width, x.dtype, x.storage), x)


def pad(x: Tensor, rows: int) -> Tensor:
    """Add positions behind the last one: a copy, even where none is missing."""
    return follows(x.tape.new(rows, x.width, x.dtype, "padded"), x)


def softplus(x: Tensor) -> Tensor:
    """``log(1 + exp(x))``, under autocast in float32; keeps x."""
    if x.tape.autocast is not None:
        x = to(x, FLOAT32, "in float32")
    return follows(x.tape.new(x.rows, x.width, x.dtype, "softplus"), x, x)


def exp(x: Tensor) -> Tensor:
    """Exponential; keeps its result."""
    out = x.tape.new(x.rows, x.width, x.dtype, "exp")
    return follows(out, x, detach(out))


def masked_fill(x: Tensor, rows: int, width: int) -> Tensor:
    """Fill where a small mask says so, x repeated to `rows` x `width`."""
    out = x.tape.new(rows, width, x.dtype, "masked")
    if (rows, width) == (x.rows, x.width):
        return follows(out, x)
    tape, x_rows, x_width, dtype = x.tape, x.rows, x.width, x.dtype
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            filled = tape.new(rows, width, dtype, "gradient")
            summed = tape.new(x_rows, x_width, dtype, "gradient")
            del filled
            return (summed,)

        tape.record(out, (x.node,), backward)
    return out


def cumsum(x: Tensor) -> Tensor:
    """Cumulative sum; its gradient is summed from the other end, in two more copies."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, "cumulative sum")
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            flipped = tape.new(rows, width, dtype, "flipped")
            summed = tape.new(rows, width, dtype, "cumulative sum")
            result = tape.new(rows, width, dtype, "gradient")
            del flipped, summed
            return (result,)

        tape.record(out, (x.node,), backward)
    return out


def einsum(a: Tensor, b: Tensor, rows: int, width: int, copies: str = "both") -> Tensor:
    """Multiply two tensors that are laid out for it first; keeps the copies.

    `copies` says which of them need one: ``"both"`` or ``"second"``.
    """
    first = contiguous(a) if copies == "both" else a
    return relaid(matmul(first, contiguous(b), rows, width))


def relaid(x: Tensor) -> Tensor:
    """Return x with its axes in another order, without a copy; its gradient needs one."""
    return follows(detach(x), x)


def like(x: Tensor) -> Tensor:
    """Return what a few operators make of x together; they keep nothing."""
    return follows(x.tape.new(x.rows, x.width, x.dtype, "difference"), x)


def append(first: Tensor, x: Tensor) -> Tensor:
    """Put x behind numbers that need no gradient; its gradient is a view."""
    return passes(x.tape.new(first.rows + x.rows, x.width, x.dtype, "concatenated"), x)


def carry(x: Tensor) -> Tensor:
    """Carry states from chunk to chunk: one product with small decays; keeps a copy of x."""
    laid = contiguous(x)
    return relaid(follows(x.tape.new(x.rows, x.width, x.dtype, "states"), laid, laid))
