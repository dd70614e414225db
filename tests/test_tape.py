"""The tape against what PyTorch's autograd does."""

from __future__ import annotations

import pytest

from vram_widget.step import ops
from vram_widget.step.tape import BFLOAT16, FLOAT32, Leaf, Node, Tape, Tensor


@pytest.fixture
def tape() -> Tape:
    return Tape(1e12, 1e12)


def alive(tape: Tape) -> int:
    return sum(nbytes for nbytes, _ in tape.log)


def weight(tape: Tape, size: int) -> tuple[Tensor, Leaf]:
    leaf = Leaf()
    return Tensor(tape, size, size, FLOAT32, None, leaf), leaf


def test_a_checkpoint_without_gradients_records_nothing(tape):
    square, leaf = weight(tape, 128)
    x = tape.new(16, 128, FLOAT32, "input")
    tape.recording = False
    out = ops.checkpoint(lambda x: ops.linear(x, square), x)
    assert tape.recording is False
    assert out.node is None
    assert (tape.nodes, leaf.uses) == ([], 0)
    assert alive(tape) == 2 * 16 * 128 * 4


def test_torchs_checkpoint_without_gradients_records_nothing():
    torch = pytest.importorskip("torch")
    linear = torch.nn.Linear(128, 128)
    with torch.no_grad():
        out = torch.utils.checkpoint.checkpoint(linear, torch.ones(16, 128), use_reentrant=False)
    assert out.grad_fn is None


def test_a_checkpoint_within_a_checkpoint_runs_again_with_gradients(tape):
    square, leaf = weight(tape, 128)
    x = ops.linear(tape.new(16, 128, FLOAT32, "input"), weight(tape, 128)[0])

    def inner(x: Tensor) -> Tensor:
        return ops.linear(x, square)

    out = ops.checkpoint(lambda x: ops.checkpoint(inner, x), x)
    assert tape.recording
    assert leaf.uses == 0  # neither has been run with gradients yet
    assert out.node is not None
    out.node.accumulate(tape.new(16, 128, FLOAT32, "gradient"))
    tape.backward()
    assert leaf.reached
    assert leaf.grad is not None
    assert (leaf.grad.rows, leaf.grad.width) == (128, 128)


def test_gradients_of_two_uses_are_summed_before_they_are_taken(tape):
    class Counting(Leaf):
        taken = 0

        def take(self, grad: Tensor) -> None:
            super().take(grad)
            self.taken += 1

    leaf = Counting()
    square = Tensor(tape, 128, 128, FLOAT32, None, leaf)
    x = tape.new(16, 128, FLOAT32, "input")
    out = ops.linear(ops.linear(x, square), square)
    assert leaf.uses == 2
    assert out.node is not None
    out.node.accumulate(tape.new(16, 128, FLOAT32, "gradient"))
    tape.backward()
    assert (leaf.uses, leaf.taken) == (0, 1)


def test_autocast_saves_the_copy_of_a_leaf_alone() -> None:
    """``cached_cast`` asks for ``is_leaf()``: what is made of weights goes, and others come.

    A copy that was saved for it would be found for whatever lies in its place by then.
    """
    tape = Tape(1e15, 1e12, BFLOAT16)
    leaf = Tensor(tape, 4, 8, FLOAT32, None, Leaf())
    assert ops.cast_weight(leaf) is ops.cast_weight(leaf)
    made = ops.add(leaf, leaf)
    assert isinstance(made.node, Node)
    first = ops.cast_weight(made)
    assert ops.cast_weight(made) is not first
    del made, first
    assert len(tape.casts) == 1
