"""The loss over the vocabulary, by kernel: usually the largest tensors of a step."""

from __future__ import annotations

from . import ops
from .tape import FLOAT32, Tensor


def eager(logits: Tensor, labels: Tensor) -> Tensor:
    """transformers' own: logits in float32, their log-softmax, the mean over the labels."""
    logits = ops.to(logits, FLOAT32, "logits in float32")
    return ops.nll_loss(ops.log_softmax(logits), labels)
