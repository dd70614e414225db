"""Activation checkpointing."""

from __future__ import annotations

from collections.abc import Callable

from ..tape import Gradients, Node, Tensor
from .recorded import detach


def checkpoint(run: Callable[[Tensor], Tensor], x: Tensor, offload: bool = False) -> Tensor:
    """Run a block keeping only its input; backward runs it again (non-reentrant checkpointing).

    With `offload` the input waits in the host's memory and comes back when it is needed.
    """
    tape = x.tape
    recording, tape.recording = tape.recording, False
    out = run(x)
    tape.recording = recording
    if not recording:
        return out
    saved = None if offload else detach(x)
    rows, width, dtype, wants_gradient = x.rows, x.width, x.dtype, x.node is not None

    def backward(grad: Tensor) -> Gradients:
        outer, tape.casts = tape.casts, {}
        outlasting, tape.outlasting = tape.outlasting, None
        first, start = len(tape.nodes), len(tape.log)
        again = detach(saved) if saved else tape.new(rows, width, dtype, "input, from the host")
        again.node = entry = Node(tape, (), lambda grad: ()) if wants_gradient else None
        result = run(again)
        tape.casts, tape.outlasting = outer, outlasting
        assert isinstance(result.node, Node)
        result.node.accumulate(grad)
        del again, result, grad
        tape.backward_of_rerun(first + (entry is not None), start)
        if entry is None:
            return (None,)
        tape.nodes.pop()
        return (entry.grad,)

    tape.record(out, (x.node,), backward)
    return out
