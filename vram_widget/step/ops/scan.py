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
        saved, x_rows, shape = (x, weight), x.rows, (weight.rows, weight.width)

        def backward(grad: Tensor) -> Gradients:
            _ = saved
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


def between(total: Tensor, width: int) -> Tensor:
    """Return the differences between any two positions of a chunk, from their running sums."""
    tape, rows, own_width, dtype = total.tape, total.rows, total.width, total.dtype
    out = tape.new(rows * own_width, width, dtype, "differences")
    if tape.recording and total.node is not None:

        def backward(grad: Tensor) -> Gradients:
            negated = tape.new(rows * own_width, width, dtype, "gradient")
            del negated
            return (tape.new(rows, own_width, dtype, "gradient"),)

        tape.record(out, (total.node,), backward)
    return out


def append(first: Tensor, x: Tensor) -> Tensor:
    """Put x behind numbers that need no gradient; its gradient is a view."""
    return passes(x.tape.new(first.rows + x.rows, x.width, x.dtype, "concatenated"), x)


def carry(x: Tensor) -> Tensor:
    """Carry states from chunk to chunk: one product with small decays; keeps a copy of x."""
    laid = contiguous(x)
    return relaid(follows(x.tape.new(x.rows, x.width, x.dtype, "states"), laid, laid))


def sum_features(x: Tensor) -> Tensor:
    """Sum over the features; the gradient is looked at once for each of them."""
    out = x.tape.new(x.rows, 1, x.dtype, "sum")
    if x.tape.recording and x.node is not None:
        tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype

        def backward(grad: Tensor) -> Gradients:
            return (Tensor(tape, rows, width, dtype, grad.storage),)

        tape.record(out, (x.node,), backward)
    return out


def solve_triangular(system: Tensor, b: Tensor) -> Tensor:
    """Solve a triangular system for each chunk; keeps the system and its solution."""
    tape, rows, width, dtype = b.tape, b.rows, b.width, b.dtype
    out = tape.new(rows, width, dtype, "solution")
    tape.work(float(rows) * system.width * width)
    if tape.recording and not (system.node is b.node is None):
        saved, shape = (system, detach(out)), (system.rows, system.width)

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            tape.work(2.0 * rows * system.width * width)
            to_b = tape.new(rows, width, dtype, "gradient")
            product = tape.new(*shape, dtype, "product")
            negated = tape.new(*shape, dtype, "product")
            del product
            to_system = tape.new(*shape, dtype, "gradient")
            del negated
            return to_system, to_b

        tape.record(out, (system.node, b.node), backward)
    return out


def delta_rule(
    query: Tensor,
    key: Tensor,
    values: Tensor,
    decayed: Tensor,
    weights: Tensor,
    state: Tensor,
    steps: int,
) -> Tensor:
    """Go from chunk to chunk: read each chunk's state, and write to the next one's.

    One operator for the `steps` of the loop in ``torch_chunk_gated_delta_rule``. It keeps every
    chunk's state and corrected values; `state` has the shape of all states. Backward copies the
    whole gradient anew for each chunk, and that of each input is as large as the input.
    """
    tape, rows, width, low = query.tape, values.rows, values.width, query.tape.autocast
    out = tape.new(rows, width, values.dtype, "output")
    tape.work(2.0 * rows * (query.width * 3 + weights.width) * width)
    if not tape.recording or query.node is None:  # each step's tensors go with it
        tape.new(4 * rows // steps, width, values.dtype, "one step")
        return out
    if low is None:
        corrected = tape.new(rows, width, values.dtype, "corrected values")
        states = tape.new(state.rows, state.width, state.dtype, "states")
        saved = [query, key, decayed, weights, corrected, states]
    else:
        # Each product keeps copies of its own. Nobody reads the first state's gradient, nor what
        # the last step would hand on: they keep nothing for those.
        before_last = (steps - 1) / steps
        saved = [
            tape.new(int(x.rows * before_last), x.width, low, "in the compute dtype")
            for x in (query, key, decayed)
        ]
        saved += [tape.new(weights.rows, weights.width, low, "in the compute dtype")]
        saved += [tape.new(int(rows * n), width, low, "corrected values") for n in (1, before_last)]
        saved += [tape.new(state.rows, state.width, low, "states") for _ in range(2)]
        saved += [tape.new(int(state.rows * before_last), state.width, state.dtype, "states")]
    shapes = [(x.rows, x.width, x.dtype) for x in (values, decayed, query, weights, key)]

    def backward(grad: Tensor) -> Gradients:
        _ = saved
        gradients = [tape.new(*shape, "gradient") for shape in shapes]
        again = [tape.new(*shapes[0], "gradient of the output") for _ in range(2)]
        del again
        return tuple(gradients)

    tape.record(out, tuple(x.node for x in (values, decayed, query, weights, key)), backward)
    return out
