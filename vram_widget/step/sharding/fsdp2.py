"""FSDP as PyTorch's ``fully_shard`` runs it: the life of a layer's weights and gradients.

Each layer is a group that communicates as one, and what lies outside the layers is another. The
shards of a group's weights are all-gathered in one tensor and copied out; its unsharded gradients
are copied in one tensor and reduce-scattered. Read in torch/distributed/fsdp/_fully_shard
(PyTorch 2.13), whose functions are named here: what a local variable there holds is held here for
as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..layer import Layer
from ..methods.optimizers import update
from ..methods.parameter import Parameter
from ..tape import UINT8, Allocation, DType, Leaf, Storage, Tape, Tensor, rounded
from .communication import Communication, Swaps
from .sharding import Sharding


class FSDPLeaf(Leaf):
    """A gradient that waits, unsharded, until the backward of its layer is over.

    Attributes
    ----------
    unsharded : Tensor or None
        This pass's gradient.
    accumulated : Tensor or None
        The unsharded gradients of earlier passes, where all passes are reduced at once.
    temporaries : tuple of DType or None
        What the optimizer makes to update the shard as soon as it is there, if it does.
    """

    __slots__ = ("accumulated", "temporaries", "unsharded")

    def __init__(self, temporaries: tuple[DType, ...] | None) -> None:
        super().__init__()
        self.temporaries = temporaries
        self.unsharded: Tensor | None = None
        self.accumulated: Tensor | None = None

    def take(self, grad: Tensor) -> None:
        """Add the gradient in place to those of earlier passes, where it has their dtype."""
        in_place = self.accumulated is not None and self.accumulated.dtype is grad.dtype
        self.unsharded = self.accumulated if in_place else grad

    def accumulate_onto(self, earlier: Leaf, weight: Tensor) -> None:
        """Take over the unsharded gradient of an earlier pass, or add to its shard."""
        assert isinstance(earlier, FSDPLeaf)
        before = earlier.accumulated
        if before is None or before.storage is None:
            super().accumulate_onto(earlier, weight)
            return
        storage = Storage.taken_over(weight.tape.log, before.storage.allocation)
        self.accumulated = Tensor(weight.tape, weight.rows, weight.width, before.dtype, storage)


#: Weights whose unsharded gradients wait to be reduced.
Unsharded = list[tuple[Parameter, FSDPLeaf]]


@dataclass(eq=False)
class Group:
    """Some of the weights outside the layers, which communicate as one.

    Attributes
    ----------
    parameters, weights, unsharded
        As a `Layer` has them.
    """

    parameters: list[Parameter]
    weights: Mapping[str, Tensor]
    unsharded: Tensor | None = None


class Sizes(NamedTuple):
    """Bytes of a group's weights in an all-gather, and copied out of it.

    It takes shards in where they are cast to the compute dtype or come from the host; others it
    takes where they are.
    """

    all_gather_input: int
    all_gather_output: int
    unsharded: int


class FullyShard(Communication):
    """The communication of all groups of one GPU (``FSDPCommContext``).

    Attributes
    ----------
    post_forward_order : list of Layer
        The layers that have run forward and not yet backward.
    all_gather_output : Tensor
        Forward holds the last one until the next is copied out; backward prefetches, while the
        layer before runs.
    all_gather_input : Allocation
        What the last all-gather took in.
    reduce_scatter_input : Tensor
        Of the last reduce-scatter, held until the next layer's gradients are there.
    last_unsharded : Tensor
        The last layer's weights from forward to backward, where they stay unsharded.
    all_reduce_inputs : list of Tensor
        What is summed over the replicas of a hybrid, held until backward is over.
    without_input_grad : list of Layer
        Layers whose input takes no gradient: PyTorch does not see the end of their backward.
    """

    operator = "FSDP"
    #: The CUDA streams in which an all-gather's input and output are made (``foreach_all_gather``)
    #: and what is reduced (``foreach_reduce``). What is copied out, or in, is in the default one.
    copy_in_stream = all_gather_stream = "all_gather"
    reduce_stream = "reduce_scatter"

    def __init__(self, tape: Tape, sharding: Sharding, elements: int) -> None:
        super().__init__(tape, sharding, elements)
        self.sizes: dict[Layer | Group, Sizes] = {}
        self.post_forward_order: list[Layer | Group] = []
        self.all_gather_output = self.buffer("all-gather output", 0)
        self.all_gather_input = _allocation(self.all_gather_output)
        self.reduce_scatter_input = self.buffer("reduce-scatter input", 0)
        self.last_unsharded = self.buffer("unsharded weights", 0)
        self.all_reduce_inputs: list[Tensor] = []
        self.without_input_grad: list[Layer] = []

    def leaf(
        self, layer: Layer, parameter: Parameter, temporaries: tuple[DType, ...] | None
    ) -> Leaf:
        """Return a leaf that waits for the end of the layer's backward."""
        return FSDPLeaf(temporaries)

    def pre_forward(self, layer: Layer | Group) -> None:
        """All-gather a layer's weights and copy them out (``pre_forward``)."""
        self.sizes[layer] = self._sizes(layer)
        gathered = self._all_gather(self.sizes[layer])
        self._copy_out(layer)
        self.all_gather_output = gathered  # frees the one before, which a local variable held

    def post_forward(self, layer: Layer | Group) -> None:
        """Reshard the weights (``post_forward``)."""
        layer.unsharded = None
        self.post_forward_order.append(layer)

    def layers_post_forward(self) -> None:
        """Leave the last layer unsharded, where that is the one that stays so."""
        if not self.sharding.root_stays_unsharded:
            self.last_unsharded = self.buffer(
                "unsharded weights", self.sizes[self.post_forward_order[-1]].unsharded
            )

    def root_pre_backward(self, outside: Layer) -> None:
        """End forward, and prefetch the first layer to run backward."""
        self._free_all_gather()
        if self.sharding.root_stays_unsharded:
            self._prefetch()
        else:
            outside.unsharded = None
            gathered = self._all_gather(self.sizes[outside])
            self._copy_out(outside)
            del gathered

    def pre_backward(self, layer: Layer | Group) -> None:
        """Copy out what was prefetched, and prefetch the next (``pre_backward``)."""
        self.last_unsharded = self.buffer("unsharded weights", 0)
        self._copy_out(layer)
        self._free_all_gather()
        self.post_forward_order.pop()
        self._prefetch()

    def post_backward(self, layer: Layer) -> None:
        """Reshard the weights and reduce-scatter the gradients (``post_backward``)."""
        if layer.input_takes_gradient:
            self._post_backward(layer)
        else:
            self.without_input_grad.append(layer)

    def root_post_backward(self, outside: Layer) -> None:
        """Do so for the groups that are left, the outermost first."""
        self._post_backward(outside)
        self._end_backward()

    def _end_backward(self) -> None:
        for layer in self.without_input_grad:
            self._post_backward(layer)
        self.without_input_grad.clear()
        self.all_reduce_inputs.clear()
        self.reduce_scatter_input = self.buffer("reduce-scatter input", 0)

    def held(self) -> list[Allocation]:
        """Return what was gathered, what is being reduced, and the last layer's weights."""
        return [
            _allocation(self.all_gather_output),
            _allocation(self.reduce_scatter_input),
            _allocation(self.last_unsharded),
        ]

    def prefetched_between(self, layer: Layer) -> Swaps:
        """Return what repeated layers prefetch in place of what the last of them prefetched."""
        size = self.sizes[layer]
        return {
            self.all_gather_input: _described(
                "all-gather input", size.all_gather_input, self.copy_in_stream
            ),
            _allocation(self.all_gather_output): _described(
                "all-gather output", size.all_gather_output, self.all_gather_stream
            ),
        }

    # -- a group's weights ---------------------------------------------------------------------
    def _sizes(self, layer: Layer | Group) -> Sizes:
        gpus = self.sharding.parameters
        taken_in = gathered = copied = 0
        for p in layer.parameters:
            if not p.sharded:
                continue
            dtype = layer.weights[p.name].dtype
            nbytes = -(-self.sharding.shard(p, gpus).size * dtype.itemsize // dtype.packed)
            if dtype is not p.dtype or self.sharding.parameters_on_host:
                taken_in += nbytes
            gathered += gpus * nbytes
            copied += rounded(gpus * nbytes)
        return Sizes(taken_in, gathered, copied) if gpus > 1 else Sizes(0, 0, copied)

    def _all_gather(self, sizes: Sizes) -> Tensor:
        """Gather the shards of all GPUs (``foreach_all_gather``)."""
        taken_in = self.buffer(
            "all-gather input", sizes.all_gather_input, stream=self.copy_in_stream
        )
        self.all_gather_input = _allocation(taken_in)
        return self.buffer(
            "all-gather output", sizes.all_gather_output, stream=self.all_gather_stream
        )

    def _prefetch(self) -> None:
        """All-gather the next layer to run backward, if there is one (``_prefetch_unshard``)."""
        sizes = (
            self.sizes[self.post_forward_order[-1]] if self.post_forward_order else Sizes(0, 0, 0)
        )
        self.all_gather_output = self._all_gather(sizes)

    def _free_all_gather(self) -> None:
        self.all_gather_output = self.buffer("all-gather output", 0)

    def _copy_out(self, layer: Layer | Group) -> None:
        """Unshard the weights (``foreach_all_gather_copy_out``)."""
        layer.unsharded = self.buffer("unsharded weights", self.sizes[layer].unsharded)

    # -- a group's gradients -------------------------------------------------------------------
    def _post_backward(self, layer: Layer | Group) -> None:
        if self.sharding.reduces_in_last_pass:
            _accumulate_unsharded_grads(layer)
        layer.unsharded = None
        if self.sharding.reduces_in_last_pass and not self.is_last:
            self._keep_unsharded_grads(layer)
        else:
            self._reduce_scatter(layer)

    def _keep_unsharded_grads(self, layer: Layer | Group) -> None:
        """Leave unsharded gradients to the next pass, in the dtype in which they will be summed."""
        for p, leaf in unsharded(layer):
            assert leaf.unsharded is not None
            dtype = self.sharding.reduce or leaf.unsharded.dtype
            if dtype is not leaf.unsharded.dtype:
                outer, self.tape.operator = self.tape.operator, p.name
                leaf.unsharded = self.tape.new(
                    p.rows, p.width, dtype, "accumulated gradient", "gradients"
                )
                self.tape.operator = outer
            leaf.accumulated, leaf.unsharded = leaf.unsharded, None

    def _reduce_scatter(self, layer: Layer | Group) -> None:
        """Sum the gradients over the GPUs (``foreach_reduce``)."""
        gpus, grads = self.sharding.parameters, unsharded(layer)
        elements = sum(self.sharding.shard(p, gpus).size for p, _ in grads)
        self.reduce_scatter_input = self.buffer("reduce-scatter input", 0)
        if not grads:
            return
        last = grads[-1][1]
        assert last.unsharded is not None
        dtype = self.sharding.reduce or last.unsharded.dtype
        self.reduce_scatter_input = self.buffer("reduce-scatter input", gpus * elements, dtype)
        for _, leaf in grads[:-1]:
            leaf.unsharded = None
        reduced = self._keep_shards(grads, elements, dtype)
        last.unsharded = None  # a loop's variable held it
        if reduced is not None and self.sharding.replicas > 1:
            self.all_reduce_inputs.append(reduced)

    def _keep_shards(self, grads: Unsharded, elements: int, dtype: DType) -> Tensor | None:
        """Keep the shards; return what was reduced, where that is not itself the shards."""
        p, leaf = grads[0]
        is_shard = leaf.grad is None and dtype is p.dtype and not self.sharding.parameters_on_host
        reduced = None
        if not is_shard:
            reduced = self.buffer("reduce-scatter output", elements, dtype, self.reduce_stream)
        for p, leaf in grads:
            self._keep_shard(p, leaf)
        return reduced

    def _keep_shard(self, p: Parameter, leaf: FSDPLeaf) -> None:
        """Take this GPU's shard of a gradient, or add it in place to the one that is there."""
        if leaf.grad is not None or self.sharding.parameters_on_host:
            return
        tape, shard = self.tape, self.sharding.shard(p, self.sharding.gradients)
        outer, tape.operator = tape.operator, p.name
        grad = tape.new(shard.rows, shard.width, p.dtype, "gradient", "gradients")
        _allocation(grad).stream = self.reduce_stream
        if leaf.temporaries is None:
            leaf.grad = grad
        else:  # the optimizer updates the weight at once, and drops the gradient
            update(tape, shard.rows, shard.width, leaf.temporaries)
        tape.operator = outer


def _accumulate_unsharded_grads(layer: Layer | Group) -> None:
    """Add a layer's gradients to those of the passes before (``accumulate_unsharded_grad``)."""
    for _, leaf in unsharded(layer):
        if leaf.accumulated is not None:
            leaf.unsharded, leaf.accumulated = leaf.accumulated, None


def unsharded(layer: Layer | Group) -> Unsharded:
    """Return the weights of a layer whose unsharded gradients wait to be reduced."""
    return [
        (p, leaf)
        for p in layer.parameters
        if isinstance(leaf := layer.weights[p.name].node, FSDPLeaf) and leaf.unsharded is not None
    ]


def _allocation(tensor: Tensor) -> Allocation:
    assert tensor.storage is not None
    return tensor.storage.allocation


def _described(what: str, nbytes: int, stream: str) -> Allocation:
    described = Allocation("buffers", "FSDP", what, 1, nbytes, UINT8, rounded(nbytes))
    described.stream = stream
    return described
