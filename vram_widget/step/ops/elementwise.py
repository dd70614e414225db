"""Elementwise operators and reductions."""

from __future__ import annotations

from ..tape import BOOL, FLOAT16, FLOAT32, DType, Gradients, Leaf, Tensor
from .recorded import detach, follows, passes


def wider(a: DType, b: DType) -> DType:
    """Return the dtype that an operator on both gives (type promotion)."""
    if a.itemsize == b.itemsize:
        return a if a is b else FLOAT32  # neither bfloat16 nor float16 holds the other
    return a if a.itemsize > b.itemsize else b


def to(x: Tensor, dtype: DType, what: str = "copy") -> Tensor:
    """Convert; the tensor itself if it has that dtype already."""
    if x.dtype is dtype:
        return x
    return follows(x.tape.new(x.rows, x.width, dtype, what), x)


def add(a: Tensor, b: Tensor) -> Tensor:
    """Add, `b` broadcast to `a` if it is smaller; keeps nothing, both get the same gradient."""
    tape = a.tape
    out = tape.new(a.rows, a.width, wider(a.dtype, b.dtype), "sum")
    if tape.recording and (a.node is not None or b.node is not None):
        rows, width, a_dtype, b_dtype = a.rows, a.width, a.dtype, b.dtype
        b_rows = b.rows if b.node is not None else rows

        def backward(grad: Tensor) -> Gradients:
            # a gradient has the dtype of its input: the engine casts it where they differ
            to_a = grad if grad.dtype is a_dtype else tape.new(rows, width, a_dtype, "gradient")
            to_b = grad
            if grad.dtype is not b_dtype or b_rows < rows:
                to_b = tape.new(b_rows, width, b_dtype, "gradient")
            return to_a, to_b

        tape.record(out, (a.node, b.node), backward)
    return out


def sub(a: Tensor, b: Tensor) -> Tensor:
    """Subtract, `b` broadcast to `a` if it is smaller; keeps nothing, its gradient is negated."""
    tape, rows, width = a.tape, a.rows, a.width
    out = tape.new(rows, width, wider(a.dtype, b.dtype), "difference")
    if tape.recording and (a.node is not None or b.node is not None):
        negates, dtype, shape = b.node is not None, b.dtype, (b.rows, b.width)

        def backward(grad: Tensor) -> Gradients:
            to_b = tape.new(rows, width, dtype, "gradient") if negates else None
            if to_b is not None and shape != (rows, width):
                to_b = tape.new(*shape, dtype, "gradient")
            return grad, to_b

        tape.record(out, (a.node, b.node), backward)
    return out


def mul(a: Tensor, b: Tensor, what: str = "product") -> Tensor:
    """Multiply, `b` broadcast to `a` if it is smaller; keeps what the other's gradient needs."""
    tape, dtype = a.tape, wider(a.dtype, b.dtype)
    out = tape.new(a.rows, a.width, dtype, what)
    if tape.recording and (a.node is not None or b.node is not None):
        a_wants, b_wants = a.node is not None, b.node is not None
        saved = [a if b_wants else None, b if a_wants else None]
        rows, width, a_dtype = a.rows, a.width, a.dtype
        b_rows, b_width, b_dtype = b.rows, b.width, b.dtype
        b_component = "gradients" if isinstance(b.node, Leaf) else None

        def backward(grad: Tensor) -> Gradients:
            # both gradients in full, and then each brought to its input's shape and dtype
            to_a = tape.new(rows, width, dtype, "gradient") if a_wants else None
            to_b = tape.new(rows, width, dtype, "gradient") if b_wants else None
            if tape.rerunning:  # a checkpoint gives up what it made again as soon as it is used
                saved.clear()
            if to_a is not None and dtype is not a_dtype:
                to_a = tape.new(rows, width, a_dtype, "gradient")
            if to_b is not None and (b_rows, b_width, b_dtype) != (rows, width, dtype):
                to_b = tape.new(b_rows, b_width, b_dtype, "gradient", b_component)
            return to_a, to_b

        tape.record(out, (a.node, b.node), backward)
    return out


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Divide by a tensor that needs no gradient; keeps it."""
    return mul(a, b, "quotient")


def scale(x: Tensor, what: str = "scaled") -> Tensor:
    """Multiply, divide or shift by a number, or negate; keeps nothing."""
    return follows(x.tape.new(x.rows, x.width, x.dtype, what), x)


def scale_in_place(x: Tensor) -> Tensor:
    """Multiply or divide by a number in place; keeps nothing."""
    return follows(detach(x), x)


def add_in_place(x: Tensor, y: Tensor) -> Tensor:
    """Add ``y`` to x itself; both get the same gradient."""
    out = detach(x)
    if x.tape.recording and not (x.node is y.node is None):
        x.tape.record(out, (x.node, y.node), lambda grad: (grad, grad))
    return out


neg = scale


def shift(x: Tensor) -> Tensor:
    """Add a number; the gradient passes through."""
    return passes(x.tape.new(x.rows, x.width, x.dtype, "shifted"), x)


def clamp(x: Tensor, bounds: int) -> Tensor:
    """Clamp from one side or from both; keeps x, and compares it again in backward."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, "clamped")
    if tape.recording and x.node is not None:
        saved = x

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            inside = [tape.new(rows, width, BOOL, "inside") for _ in range(bounds)]
            result = tape.new(rows, width, dtype, "gradient")
            del inside
            return (result,)

        tape.record(out, (x.node,), backward)
    return out


def add_mask(scores: Tensor, mask: DType) -> Tensor:
    """Add an attention mask of numbers that trains nothing; the gradient passes through."""
    dtype = wider(scores.dtype, mask)
    out = scores.tape.new(scores.rows, scores.width, dtype, "masked scores")
    return passes(out, scores) if dtype is scores.dtype else follows(out, scores)


def square(x: Tensor) -> Tensor:
    """``x.pow(2)``; keeps x."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, "square")
    if tape.recording and x.node is not None:
        saved = x

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            power = tape.new(rows, width, dtype, "power")
            double = tape.new(rows, width, dtype, "power")
            result = tape.new(rows, width, dtype, "gradient")
            del power, double
            return (result,)

        tape.record(out, (x.node,), backward)
    return out


def mean(x: Tensor) -> Tensor:
    """Mean over the features; keeps nothing, its gradient is spread over a whole tensor."""
    return follows(x.tape.new(x.rows, 1, x.dtype, "mean"), x)


def rsqrt(x: Tensor) -> Tensor:
    """One over the square root; keeps its result."""
    out = x.tape.new(x.rows, x.width, x.dtype, "rstd")
    return follows(out, x, detach(out))


def activation(x: Tensor, what: str) -> Tensor:
    """SiLU, GELU, ReLU: one fused operator that keeps its input."""
    return follows(x.tape.new(x.rows, x.width, x.dtype, what), x, x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent; keeps its result."""
    return _keeps_result(x, "tanh")


def sigmoid(x: Tensor) -> Tensor:
    """Logistic function; keeps its result."""
    return _keeps_result(x, "sigmoid")


def relu(x: Tensor) -> Tensor:
    """Set what is below zero to zero; keeps its result."""
    return _keeps_result(x, "relu")


def softmax(x: Tensor, dtype: DType) -> Tensor:
    """Softmax computed in `dtype`; keeps its result.

    From float16 the kernel itself goes to float32; any other dtype is converted first (``softmax``
    in aten/src/ATen/native/SoftMax.cpp). Backward multiplies the gradient by the result into
    scratch of their dtype (``softmax_backward_cuda_out``, aten/src/ATen/native/cuda/SoftMax.cu).
    """
    converted = x if x.dtype is FLOAT16 and dtype is FLOAT32 else to(x, dtype)
    tape, rows, width, before = x.tape, x.rows, x.width, converted.dtype
    out = tape.new(rows, width, dtype, "softmax")
    if tape.recording and x.node is not None:
        saved = detach(out)

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            result = tape.new(rows, width, before, "gradient")
            scratch = tape.new(rows, width, dtype, "gradient * softmax")
            del scratch
            return (result,)

        tape.record(out, (converted.node,), backward)
    return out


def log_softmax(x: Tensor) -> Tensor:
    """Log-softmax; keeps its result."""
    return _keeps_result(x, "log-softmax")


def _keeps_result(x: Tensor, what: str) -> Tensor:
    out = x.tape.new(x.rows, x.width, x.dtype, what)
    return follows(out, x, detach(out))


def dropout(x: Tensor) -> Tensor:
    """Drop some elements (p > 0); keeps a one-byte mask."""
    out = x.tape.new(x.rows, x.width, x.dtype, "dropped")
    return follows(out, x, x.tape.new(x.rows, x.width, BOOL, "mask"))


def nll_loss(x: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of the labels; keeps x and the labels."""
    out = x.tape.new(1, 1, x.dtype, "loss")
    return follows(out, x, (x, labels, x.tape.new(1, 1, x.dtype, "weight of the labels")))
