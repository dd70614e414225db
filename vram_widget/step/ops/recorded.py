"""How an operator on one tensor is recorded."""

from __future__ import annotations

from ..tape import Gradients, Tensor


def detach(x: Tensor) -> Tensor:
    """Return the same tensor with no history."""
    return Tensor(x.tape, x.rows, x.width, x.dtype, x.storage)


def follows(out: Tensor, x: Tensor, saved: object = None) -> Tensor:
    """Return `out`, made from x alone: its gradient becomes a new tensor of x's size.

    `saved` is what the operator keeps for backward.
    """
    tape = x.tape
    if tape.recording and x.node is not None:
        rows, width, dtype = x.rows, x.width, x.dtype

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            return (tape.new(rows, width, dtype, "gradient"),)

        tape.record(out, (x.node,), backward)
    return out


def passes(out: Tensor, x: Tensor) -> Tensor:
    """Return `out`, made from x alone, whose gradient is x's as it is."""
    if x.tape.recording and x.node is not None:
        x.tape.record(out, (x.node,), lambda grad: (grad,))
    return out


def require_grad(x: Tensor) -> None:
    """Make x a leaf that wants a gradient, which nobody reads."""
    x.tape.record(x, (), lambda grad: ())
