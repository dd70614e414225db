"""Activation checkpointing: PyTorch's two ways of it (torch/utils/checkpoint.py)."""

from __future__ import annotations

from collections.abc import Callable

from ..tape import Gradients, Node, Tensor
from .recorded import detach

Block = Callable[[Tensor], Tensor]


def checkpoint(run: Block, x: Tensor, offload: bool = False) -> Tensor:
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


def reentrant_checkpoint(run: Block, x: Tensor, offload: bool = False) -> Tensor:
    """Run a block without gradients; backward runs all of it again, then backward over that.

    This is ``CheckpointFunction``. It is an operator whose own backward calls the engine once more,
    and holds meanwhile what its variables refer to: the input, the output made again, and the
    output's gradient. What operators keep beside what autograd saves is kept for one block, and
    not for all of them: forward, without gradients, keeps none of it.
    """
    tape = x.tape
    recording, tape.recording = tape.recording, False
    outlasting, tape.outlasting = tape.outlasting, None
    out = run(x)
    tape.recording, tape.outlasting = recording, outlasting
    if not recording or x.node is None:  # no gradient would come: PyTorch warns of it
        return out
    saved = None if offload else detach(x)
    rows, width, dtype = x.rows, x.width, x.dtype

    def backward(grad: Tensor) -> Gradients:
        casts, tape.casts = tape.casts, {}
        outlasting, tape.outlasting = tape.outlasting, []
        held, tape.held_gradient = tape.held_gradient, grad
        again = detach(saved) if saved else tape.new(rows, width, dtype, "input, from the host")
        first = len(tape.nodes)
        again.node = entry = Node(tape, (), lambda grad: ())
        result = run(again)
        tape.casts = casts
        assert isinstance(result.node, Node)
        result.node.accumulate(grad)
        tape.backward(down_to=first + 1)
        tape.nodes.pop()
        tape.outlasting, tape.held_gradient = outlasting, held
        return (entry.grad,)

    tape.record(out, (x.node,), backward)
    return out
