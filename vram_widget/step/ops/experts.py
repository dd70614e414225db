"""Operators of mixtures of experts: routing tokens, and running all experts in one product."""

from __future__ import annotations

from ..tape import FLOAT32, INT32, INT64, Gradients, Tensor
from .elementwise import to
from .products import cast_weight
from .recorded import follows


def top_k(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest `count` of each row and where they are, which is what it keeps."""
    values = x.tape.new(x.rows, count, x.dtype, "largest")
    indices = x.tape.new(x.rows, count, INT64, "chosen experts")
    return follows(values, x, indices), indices


def normalize(x: Tensor) -> Tensor:
    """Divide each row by its sum in place; keeps the sum and what was there before."""
    total = x.tape.new(x.rows, 1, x.dtype, "sum")
    before = x.tape.new(x.rows, x.width, x.dtype, "before")
    return follows(Tensor(x.tape, x.rows, x.width, x.dtype, x.storage), x, (total, before))


def sort(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sort integers; return them in order, and where each was."""
    tape, count = x.tape, x.rows * x.width
    return tape.new(count, 1, INT64, "in order"), tape.new(count, 1, INT64, "order")


def like(x: Tensor, what: str) -> Tensor:
    """Return numbers computed from x that need no gradient."""
    return x.tape.new(x.rows, x.width, x.dtype, what)


def offsets(count: int, of: Tensor) -> Tensor:
    """Return where the tokens of each of `count` experts end."""
    return of.tape.new(count, 1, INT32, "offsets")


def gather(x: Tensor, indices: Tensor, what: str) -> Tensor:
    """``x[indices]``; keeps the indices."""
    return follows(x.tape.new(indices.rows, x.width, x.dtype, what), x, indices)


def grouped_mm(x: Tensor, weight: Tensor, ends: Tensor, outputs: int) -> Tensor:
    """Multiply each expert's rows by its own matrix; keeps x and all matrices, as `linear`.

    Autocast does not know this operator: it runs in the weights' dtype.
    """
    tape, rows, inputs, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, outputs, dtype, "output")
    flops = 2.0 * rows * inputs * outputs
    tape.work(flops)
    if tape.recording and not (x.node is weight.node is None):
        kept_x = x if weight.node is not None else None
        kept_weight = (weight, ends) if x.node is not None else None
        shape = weight.rows, weight.width

        def backward(grad: Tensor) -> Gradients:
            to_x = to_weight = None
            if kept_x is not None:
                tape.work(flops)
                to_weight = tape.new(*shape, dtype, "gradient", "gradients")
            if kept_weight is not None:
                tape.work(flops)
                to_x = tape.new(rows, inputs, dtype, "gradient")
            return to_x, to_weight

        tape.record(out, (x.node, weight.node), backward)
    return out


def quantized_grouped_mm(x: Tensor, weight: Tensor, ends: Tensor, outputs: int) -> Tensor:
    """Multiply by matrices that are frozen and packed: dequantised here, and again in backward."""
    tape, rows, inputs, dtype = x.tape, x.rows, x.width, x.dtype
    shape = weight.rows, weight.width
    whole = tape.new(*shape, dtype, "dequantised experts", "buffers")
    out = tape.new(rows, outputs, dtype, "output")
    del whole
    flops = 2.0 * rows * inputs * outputs
    tape.work(flops)
    if tape.recording and x.node is not None:
        saved = ends

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            whole = tape.new(*shape, dtype, "dequantised experts", "buffers")
            tape.work(flops)
            to_x = tape.new(rows, inputs, dtype, "gradient")
            del whole
            return (to_x,)

        tape.record(out, (x.node,), backward)
    return out


def sum_groups(x: Tensor, count: int) -> Tensor:
    """Sum every `count` rows, under autocast in float32; the gradient is repeated for each."""
    dtype = FLOAT32 if x.tape.autocast else x.dtype
    return follows(x.tape.new(x.rows // count, x.width, dtype, "sum over experts"), x)


def expand(x: Tensor, rows: int) -> Tensor:
    """Return a small weight as a column of `rows`, without a copy; gradients are summed up."""
    tape, own_rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    view = Tensor(tape, rows, 1, dtype, x.storage)
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            return (tape.new(own_rows, width, dtype, "gradient", "gradients"),)

        tape.record(view, (x.node,), backward)
    return view


def subtract_max(x: Tensor) -> Tensor:
    """Subtract each row's largest element, through which the gradient flows too."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    largest, saved = tape.new(rows, 1, dtype, "largest"), tape.new(rows, 1, INT64, "where")
    out = tape.new(rows, width, dtype, "shifted")
    del largest
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            negated = tape.new(rows, width, dtype, "gradient of the largest")
            del negated
            scattered = tape.new(rows, width, dtype, "gradient of the largest")
            del scattered
            return (grad,)

        tape.record(out, (x.node,), backward)
    return out


def repeat_rows(x: Tensor, count: int) -> Tensor:
    """Copy all rows `count` times; their gradients are summed up again."""
    return follows(x.tape.new(count * x.rows, x.width, x.dtype, "a copy for every expert"), x)


def scatter(x: Tensor, indices: Tensor, width: int) -> Tensor:
    """Put x's features where the indices say, among `width`; keeps the indices."""
    return follows(x.tape.new(x.rows, width, x.dtype, "scores of all"), x, indices)


def batched_mm(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply each expert's rows by its own matrix, all as many; keeps x and all matrices."""
    if x.tape.autocast is not None:
        x, weight = to(x, x.tape.autocast), cast_weight(weight)
    return grouped_mm(x, weight, weight, weight.width)
