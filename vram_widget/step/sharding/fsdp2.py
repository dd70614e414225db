"""FSDP as PyTorch's ``fully_shard`` runs it: the life of a layer's weights and gradients.

Each layer is a group that communicates as one, and what lies outside the layers is another. The
shares of a group's weights are gathered in one tensor and copied out to whole weights; its whole
gradients are lined up in one tensor and reduced to shares. Read in torch/distributed/fsdp/
_fully_shard (PyTorch 2.13), whose functions are named here: what a local variable there holds is
held here for as long.
"""

from __future__ import annotations

from typing import NamedTuple

from ..layer import Layer
from ..methods.parameter import Parameter
from ..tape import UINT8, Allocation, DType, Leaf, Tape, Tensor, rounded
from .communication import Arrived, Exchange, Swaps, arrived
from .sharding import Sharding


class Sizes(NamedTuple):
    """Bytes of a group's weights: shares in the compute dtype, gathered shares, copied out."""

    cast: int
    gathered: int
    whole: int


class FullyShard(Exchange):
    """The communication of all groups of one GPU (``FSDPCommContext``).

    Attributes
    ----------
    order : list of Layer
        The layers that have run forward and not yet backward.
    gathered : Tensor
        What the last all-gather brought. Forward holds it until the next one is copied out;
        backward gathers ahead, while the layer before runs.
    cast : Allocation
        What the last all-gather took in.
    reducing : Tensor
        What the last reduce-scatter took in, held until the next layer's gradients are there.
    kept : Tensor
        The last layer's whole weights from forward to backward, where they are kept.
    replicated : list of Tensor
        What is summed over the replicas of a hybrid, held until backward is over.
    waiting : list of Layer
        Layers whose input takes no gradient: PyTorch does not see the end of their backward.
    """

    operator = "FSDP"
    waits = True

    def __init__(self, tape: Tape, sharding: Sharding, elements: int) -> None:
        super().__init__(tape, sharding, elements)
        self.sizes: dict[Layer, Sizes] = {}
        self.order: list[Layer] = []
        self.gathered = self.buffer("gathered shares", 0)
        self.cast = _allocation(self.gathered)
        self.reducing = self.buffer("gradients to be reduced", 0)
        self.kept = self.buffer("whole weights", 0)
        self.replicated: list[Tensor] = []
        self.waiting: list[Layer] = []

    def before_forward(self, layer: Layer) -> None:
        """Gather a layer's weights and copy them out (``pre_forward``)."""
        self.sizes[layer] = self._sizes(layer)
        gathered = self._gather(self.sizes[layer])
        self._copy_out(layer)
        self.gathered = gathered  # lets go of the one before, which a local variable held so long

    def after_forward(self, layer: Layer) -> None:
        """Free the whole weights (``post_forward``)."""
        layer.whole = None
        self.order.append(layer)

    def after_layers(self) -> None:
        """Have the last layer whole still, where that is the one to be kept."""
        if not self.sharding.keeps_outside:
            self.kept = self.buffer("whole weights", self.sizes[self.order[-1]].whole)

    def begin_backward(self, outside: Layer) -> None:
        """End forward, and gather ahead for the first layer to run backward."""
        self._forget_gathered()
        if self.sharding.keeps_outside:
            self._gather_ahead()
        else:
            outside.whole = None
            gathered = self._gather(self.sizes[outside])
            self._copy_out(outside)
            del gathered

    def before_backward(self, layer: Layer) -> None:
        """Copy out what was gathered ahead, and gather ahead for the next (``pre_backward``)."""
        self.kept = self.buffer("whole weights", 0)
        self._copy_out(layer)
        self._forget_gathered()
        self.order.pop()
        self._gather_ahead()

    def after_backward(self, layer: Layer) -> None:
        """Free the whole weights and reduce the gradients (``post_backward``)."""
        if layer.input_takes_gradient:
            self._give_up(layer)
        else:
            self.waiting.append(layer)

    def end_backward(self, outside: Layer) -> None:
        """Do so for the groups that are left, the outermost first."""
        for layer in (outside, *self.waiting):
            self._give_up(layer)
        self.waiting.clear()
        self.replicated.clear()
        self.reducing = self.buffer("gradients to be reduced", 0)

    def held(self) -> list[Allocation]:
        """Return what was gathered, what is being reduced, and what was kept."""
        return [_allocation(held) for held in (self.gathered, self.reducing, self.kept)]

    def gathered_between(self, layer: Layer) -> Swaps:
        """Return what repeated layers gather ahead in place of what the last of them gathered."""
        size = self.sizes[layer]
        return {
            self.cast: _described("shares in the compute dtype", size.cast),
            _allocation(self.gathered): _described("gathered shares", size.gathered),
        }

    # -- a group's weights ---------------------------------------------------------------------
    def _sizes(self, layer: Layer) -> Sizes:
        gpus = self.sharding.parameters
        cast = gathered = whole = 0
        for p in layer.parameters:
            if not p.divided:
                continue
            dtype = layer.weights[p.name].dtype
            nbytes = -(-self.sharding.share(p, gpus).size * dtype.itemsize // dtype.packed)
            if dtype is not p.dtype or self.sharding.parameters_on_host:
                cast += nbytes
            gathered += gpus * nbytes
            whole += rounded(gpus * nbytes)
        return Sizes(cast, gathered, whole) if gpus > 1 else Sizes(0, 0, whole)

    def _gather(self, sizes: Sizes) -> Tensor:
        """Gather the shares of all GPUs (``foreach_all_gather``)."""
        cast = self.buffer("shares in the compute dtype", sizes.cast)
        self.cast = _allocation(cast)
        return self.buffer("gathered shares", sizes.gathered)

    def _gather_ahead(self) -> None:
        """Gather for the next layer to run backward, unless it is whole (``_prefetch_unshard``)."""
        sizes = self.sizes[self.order[-1]] if self.order else Sizes(0, 0, 0)
        self.gathered = self._gather(sizes)

    def _forget_gathered(self) -> None:
        self.gathered = self.buffer("gathered shares", 0)

    def _copy_out(self, layer: Layer) -> None:
        """Make the weights whole of what was gathered (``foreach_all_gather_copy_out``)."""
        layer.whole = self.buffer("whole weights", self.sizes[layer].whole)

    # -- a group's gradients -------------------------------------------------------------------
    def _give_up(self, layer: Layer) -> None:
        if self.sharding.reduces_once:
            _add_up(layer)
        layer.whole = None
        if self.sharding.reduces_once and not self.is_last:
            self._keep_whole(layer)
        else:
            self._reduce(layer)

    def _keep_whole(self, layer: Layer) -> None:
        """Leave whole gradients to the next pass, in the dtype in which they will be summed."""
        for p, leaf in arrived(layer):
            assert leaf.whole is not None
            dtype = self.sharding.reduce or leaf.whole.dtype
            if dtype is not leaf.whole.dtype:
                outer, self.tape.operator = self.tape.operator, p.name
                leaf.whole = self.tape.new(p.rows, p.width, dtype, "summed gradient", "gradients")
                self.tape.operator = outer
            leaf.summed, leaf.whole = leaf.whole, None

    def _reduce(self, layer: Layer) -> None:
        """Sum the gradients over the GPUs (``foreach_reduce``)."""
        gpus, grads = self.sharding.parameters, arrived(layer)
        elements = sum(self.sharding.share(p, gpus).size for p, _ in grads)
        self.reducing = self.buffer("gradients to be reduced", 0)
        if not grads:
            return
        last = grads[-1][1]
        assert last.whole is not None
        dtype = self.sharding.reduce or last.whole.dtype
        self.reducing = self.buffer("gradients to be reduced", gpus * elements, dtype)
        for _, leaf in grads[:-1]:
            leaf.whole = None
        reduced = self._hand_out(grads, elements, dtype)
        last.whole = None  # a loop's variable held it
        if reduced is not None and self.sharding.replicas > 1:
            self.replicated.append(reduced)

    def _hand_out(self, grads: Arrived, elements: int, dtype: DType) -> Tensor | None:
        """Keep the shares; return what was reduced, where that is not itself the shares."""
        p, leaf = grads[0]
        is_share = leaf.grad is None and dtype is p.dtype and not self.sharding.parameters_on_host
        reduced = None if is_share else self.buffer("reduced gradients", elements, dtype)
        for p, leaf in grads:
            self._keep_share(p, leaf)
        return reduced

    def _keep_share(self, p: Parameter, leaf: Leaf) -> None:
        """Take this GPU's share of a gradient, or add it in place to the one that is there."""
        if leaf.grad is not None or self.sharding.parameters_on_host:
            return
        tape, share = self.tape, self.sharding.share(p, self.sharding.gradients)
        outer, tape.operator = tape.operator, p.name
        grad = tape.new(share.rows, share.width, p.dtype, "gradient", "gradients")
        if leaf.updated:  # the optimizer steps at once, and drops it
            leaf.step(tape, share.rows, share.width)
        else:
            leaf.grad = grad
        tape.operator = outer


def _add_up(layer: Layer) -> None:
    """Add a layer's gradients to those of the passes before (``accumulate_unsharded_grad``)."""
    for _, leaf in arrived(layer):
        if leaf.summed is not None:
            leaf.whole, leaf.summed = leaf.summed, None


def _allocation(tensor: Tensor) -> Allocation:
    assert tensor.storage is not None
    return tensor.storage.allocation


def _described(what: str, nbytes: int) -> Allocation:
    return Allocation("buffers", "FSDP", what, 1, nbytes, UINT8, rounded(nbytes))
