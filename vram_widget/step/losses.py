"""The loss over the vocabulary, by kernel: usually the largest tensors of a step.

Each takes the hidden states, not the logits, since some kernels never make all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from . import ops
from .ops import experts as mixture
from .tape import FLOAT32, INT32, INT64, Gradients, Tensor

Head = Callable[[Tensor], Tensor]

#: torchtune's losses (num_output_chunks) and Unsloth's fused loss use this many.
CHUNKS = 8


def eager(x: Tensor, labels: Tensor, head: Head) -> Tensor:
    """Transformers' own: logits in float32, their log-softmax, the mean over the labels."""
    logits = head(x)
    return _cross_entropy(logits, labels)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    logits = ops.to(logits, FLOAT32, "logits in float32")
    return ops.nll_loss(ops.log_softmax(logits), labels)


def fused(x: Tensor, labels: Tensor, head: Head) -> Tensor:
    """A Triton cross-entropy: logits in float32 once; their gradient is written over them."""
    logits = head(x)
    tape = logits.tape
    wide = ops.to(logits, FLOAT32, "logits in float32")
    loss = tape.new(1, 1, FLOAT32, "loss")
    if tape.recording and wide.node is not None:
        saved = ops.detach(wide)

        def backward(grad: Tensor) -> Gradients:
            return (saved,)

        tape.record(loss, (wide.node,), backward)
    return loss


def chunked(x: Tensor, labels: Tensor, head: Head) -> Tensor:
    """A part of the tokens at a time: its logits and loss are made, and made again in backward.

    Two parts stand for all: the first makes the weight's gradient, each other one adds to it, and
    the gradients of the others' inputs wait until the last is there.
    """
    tape = x.tape

    def run(part: Tensor) -> Tensor:
        return _cross_entropy(head(part), labels)

    losses = [ops.checkpoint(run, part) for part in ops.first_rows(x, CHUNKS)]
    total = tape.new(1, 1, FLOAT32, "loss")
    if tape.recording:
        edges = tuple(loss.node for loss in losses)
        tape.record(total, edges, lambda grad: tuple(grad for _ in edges))
    return total


def saved_parts(x: Tensor, labels: Tensor, head: Head) -> Tensor:
    """A part of the tokens at a time, whose log-probabilities are saved: nothing is made again.

    Source: LinearCrossEntropyLoss in torchtune's modules/loss/cross_entropy_loss.py, which first
    takes the tokens that have a label: all of them, at most.
    """
    tape = x.tape
    labelled = mixture.gather(x, tape.new(x.rows, 1, INT64, "tokens with a label"), "hidden state")
    parts = ops.tensor_split(labelled, CHUNKS)
    losses = []
    while parts:
        losses.append(_cross_entropy(head(parts.pop(0)), labels))
    total = tape.new(1, 1, FLOAT32, "loss")
    if tape.recording:
        edges = tuple(loss.node for loss in losses)
        tape.record(total, edges, lambda grad: tuple(grad for _ in edges))
    return total


def liger(x: Tensor, weight: Tensor) -> Tensor:
    """Liger's fused linear and cross-entropy: gradients are made in forward, chunk by chunk.

    Sources: liger_kernel/ops/fused_linear_cross_entropy.py. A chunk has about as many logits as x
    has elements; what is saved is the gradient of x and, where it trains, of the weight.
    """
    tape = x.tape
    if tape.autocast is not None:
        x, weight = ops.to(x, tape.autocast), ops.cast_weight(weight)
    rows, width, dtype, vocabulary = x.rows, x.width, x.dtype, weight.rows
    to_x = tape.new(rows, width, dtype, "gradient")
    trains = weight.node is not None
    to_weight = None
    if trains:
        to_weight = tape.new(vocabulary, width, weight.dtype, "gradient", "gradients")
    loss = tape.new(rows, 1, FLOAT32, "loss")
    chunk = _power_of_two(-(-rows // -(-vocabulary // width)))
    logits = tape.new(min(chunk, rows), vocabulary, dtype, "logits of a chunk")
    tape.work(6.0 * rows * width * vocabulary)
    product = tape.new(vocabulary, width, dtype, "gradient of a chunk") if trains else None
    del logits, product
    if tape.recording:

        def backward(grad: Tensor) -> Gradients:
            return to_x, to_weight

        tape.record(loss, (x.node, weight.node), backward)
    return loss


def cut(x: Tensor, weight: Tensor) -> Tensor:
    """Cut cross-entropy: a block of logits at a time, on the chip; gradients come in backward.

    Source: cut_cross_entropy/cce.py and cce_backward.py (25.1). Saved are x, the weight, a number
    for each token, and for each word of the vocabulary its mean logit.
    """
    tape = x.tape
    if tape.autocast is not None:
        x, weight = ops.to(x, tape.autocast), ops.cast_weight(weight)
    rows, width, dtype, vocabulary = x.rows, x.width, x.dtype, weight.rows
    lse = tape.new(rows, 1, FLOAT32, "log-sum-exp")
    average = tape.new(vocabulary, 1, FLOAT32, "mean logits")
    nll = tape.new(rows, 1, FLOAT32, "negative log-likelihood")
    loss = tape.new(1, 1, FLOAT32, "loss")
    del nll
    flops = 2.0 * rows * width * vocabulary
    tape.work(flops)
    if tape.recording:
        saved = x, weight, lse, average
        trains = weight.node is not None

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            tape.work((3 if trains else 2) * flops)
            order = tape.new(vocabulary, 1, INT32, "vocabulary in order")
            to_x = tape.new(rows, width, dtype, "gradient")
            if not trains:
                return to_x, None
            to_weight = tape.new(vocabulary, width, dtype, "gradient", "gradients")
            del order
            return to_x, to_weight

        tape.record(loss, (x.node, weight.node), backward)
    return loss


def _power_of_two(number: int) -> int:
    """Return the smallest power of two that is no less than `number`."""
    return 1 << max(number - 1, 0).bit_length()


#: loss_kernel -> the loss over what the head makes.
OVER_LOGITS = {
    "eager": eager,
    "fused": fused,
    "chunked": chunked,
    "saved_parts": saved_parts,
}
#: loss_kernel -> the loss over the hidden state and the lm_head's weight.
OVER_HIDDEN_STATES = {"liger": liger, "cut": cut}
