"""What the GPUs of a run communicate around a layer: nothing, where each holds all weights.

A pass calls these hooks in PyTorch's own order, and each strategy that shards (`fsdp2`, `fsdp1`,
`zero`) says there what it unshards, how long it holds it, and where gradients go. With two layers::

    pre_forward(outside)                    embed
    layers_pre_forward()
    pre_forward(1)  post_forward(1)         layer 1 runs between the two
    pre_forward(2)  post_forward(2)         layer 2
    layers_post_forward()                   last norm, lm_head, loss
    root_pre_backward(outside)              backward of loss
    lm_head_pre_backward()                  backward of lm_head and last norm
    layers_pre_backward()
    pre_backward(2) post_backward(2)        each gradient comes to its leaf between the two
    pre_backward(1) post_backward(1)
    layers_post_backward()                  backward of the embedding
    root_post_backward(outside)

With ``fully_shard`` on 4 GPUs, `pre_forward(1)` all-gathers the quarters of layer 1 and copies them
out, `post_forward(1)` frees them, `root_pre_backward` prefetches layer 2, `pre_backward(2)` copies
that out and prefetches layer 1, and `post_backward(2)` frees layer 2 and reduce-scatters its
gradients. With DDP none of them does anything.

Layers that repeat are executed once. What one of them prefetches for the next is then not what the
one that was executed prefetched for the last: `prefetched_between` says what takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..methods.optimizers import UpdatedInBackward
from ..methods.parameter import Parameter
from ..tape import UINT8, Allocation, DType, Leaf, Tape, Tensor
from .sharding import Sharding

if TYPE_CHECKING:
    from ..layer import Layer

#: What takes the place of an allocation.
Swaps = dict[Allocation, Allocation]


class Communication:
    """Each GPU holds all weights and all of its gradients: nothing is communicated around a layer.

    Parameters
    ----------
    tape : Tape
        Where allocations are written down.
    sharding : Sharding
        How the states are sharded.
    elements : int
        Of all weights.

    Attributes
    ----------
    operator : str
        Whose buffers it makes.
    is_last : bool
        Whether this is the last of the passes whose gradients are summed.
    fills_bucket : bool
        Whether gradients are copied to a bucket as they come, and reduced whenever it is full.
    """

    operator = ""
    fills_bucket = False

    def __init__(self, tape: Tape, sharding: Sharding, elements: int) -> None:
        self.tape = tape
        self.sharding = sharding
        self.elements = elements
        self.is_last = True

    def take_over(self, earlier: Communication) -> None:
        """Go on where the communication of the pass before has ended."""

    def leaf(
        self, layer: Layer, parameter: Parameter, temporaries: tuple[DType, ...] | None
    ) -> Leaf:
        """Return where a trainable weight's gradient arrives.

        `temporaries` are those of an optimizer that updates the weight in backward, if one does.
        """
        return Leaf() if temporaries is None else UpdatedInBackward(temporaries)

    def layers_pre_forward(self) -> None:
        """Forward has come to the layers."""

    def pre_forward(self, layer: Layer) -> None:
        """Unshard the weights of a layer."""

    def post_forward(self, layer: Layer) -> None:
        """Reshard them until its backward comes."""

    def layers_post_forward(self) -> None:
        """Forward is through all layers."""

    def root_pre_backward(self, outside: Layer) -> None:
        """Forward is over; `outside` holds what lies outside the layers."""

    def lm_head_pre_backward(self) -> None:
        """The gradient of the logits is there."""

    def pre_backward(self, layer: Layer) -> None:
        """Unshard the weights again."""

    def post_backward(self, layer: Layer) -> None:
        """Reshard them, and reduce the gradients."""

    def fill(self, copies: int) -> Iterator[tuple[int, int | None]]:
        """Put the gradients of layers that were executed once for `copies` of them in the bucket.

        Yields
        ------
        count, place : int, int or None
            How many layers run before gradients are to be reduced, and where in the log of the
            next one that is; None if it is nowhere.
        """
        yield copies, None

    def reduce(self) -> None:
        """Reduce the gradients in the bucket."""

    def layers_pre_backward(self) -> None:
        """Backward has come to the layers."""

    def layers_post_backward(self) -> None:
        """Backward is through all layers."""

    def root_post_backward(self, outside: Layer) -> None:
        """Backward is over."""

    def held(self) -> list[Allocation]:
        """Return what the layer that runs next will release."""
        return []

    def prefetched_between(self, layer: Layer) -> Swaps:
        """Return what layers that repeat prefetch in place of what the last of them prefetched.

        `layer` runs backward first of them; what it needs is prefetched by the one behind it.
        """
        return {}

    def buffer(self, what: str, elements: int, dtype: DType = UINT8, stream: str = "") -> Tensor:
        """Make a tensor of the communication's own, in a CUDA stream of this name."""
        outer, self.tape.operator = self.tape.operator, self.operator
        made = self.tape.new(1, elements, dtype, what, "buffers")
        self.tape.operator = outer
        assert made.storage is not None
        made.storage.allocation.stream = stream
        return made
