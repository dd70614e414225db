"""DeepSpeed's ZeRO: what its stages hold on one GPU beside weights, gradients and states.

Sources: deepspeed/runtime/zero/stage_1_and_2.py and stage3.py (0.19.6), whose functions are named
here. The constants are DeepSpeed's defaults for ``zero_optimization``, by its names for them.
Gradients are copied into a bucket as they arrive, and reduced to shares when it is full.
"""

from __future__ import annotations

from collections.abc import Iterator

from .exchange import Exchange
from .layer import Layer
from .parameter import Parameter, dropped, made
from .sharding import Sharding
from .tape import FLOAT32, DType, Event, Leaf, Tape, Tensor

#: reduce_bucket_size: elements of the bucket, however small the model.
BUCKET = 500_000_000
#: stage3_max_live_parameters, stage3_max_reuse_distance: elements that stay gathered for reuse.
LIVE = 1_000_000_000
#: sub_group_size: elements that stage 3 updates at a time.
SUB_GROUP = 1_000_000_000


class ZeRO1(Exchange):
    """Gradients are whole until the optimizer steps; the bucket is there during backward."""

    operator = "DeepSpeed"

    def __init__(self, tape: Tape, sharding: Sharding, elements: int) -> None:
        super().__init__(tape, sharding, elements)
        self.layers: list[Layer] = []
        self.buffers: list[Tensor] = []

    def before_forward(self, layer: Layer) -> None:
        """Remember the layer."""
        self.layers.append(layer)

    def begin_backward(self, outside: Layer) -> None:
        """Make the bucket (``setup_buckets``)."""
        self.hold("reduce bucket", BUCKET, _dtype(self.layers))

    def after_backward(self, layer: Layer) -> None:
        """Leave the gradients where they are."""

    def end_backward(self, outside: Layer) -> None:
        """Drop the bucket (``_release_ipg_buffers``)."""
        self.buffers.clear()

    def hold(self, what: str, elements: int, dtype: DType) -> None:
        """Make a buffer that is there until backward is over."""
        self.buffers.append(self.buffer(what, elements, dtype))


class ZeRO2(ZeRO1):
    """Gradients leave the bucket for this GPU's share, for all of which there is room at once."""

    def begin_backward(self, outside: Layer) -> None:
        """Make the bucket, and room for the shares (``copy_grads_in_partition``)."""
        super().begin_backward(outside)
        if self.sharding.optimizer_on_host:
            largest = max(p.size for _, p in trained(self.layers))
            self.hold("gradient, on its way to the host", largest, _dtype(self.layers))
        elif _summed(self.layers):
            summed = _share_of_all(self.layers, self.sharding)
            self.hold("gradients of this pass", summed, _dtype(self.layers))
        for layer in self.layers:
            for p in layer.parameters:
                self._make_room(layer, p)

    def _make_room(self, layer: Layer, p: Parameter) -> None:
        """Make room for a gradient's share; those that arrive from now on are added to it."""
        leaf = layer.weights[p.name].node
        if not isinstance(leaf, Leaf) or leaf.grad is not None:
            return
        share = p.flat_share(self.sharding.gradients)
        if self.sharding.optimizer_on_host:
            leaf.grad = Tensor(self.tape, 1, share.size, p.dtype, None)
            return
        self.tape.operator = p.name
        leaf.grad = self.tape.new(1, share.size, p.dtype, "gradient", "gradients")
        assert leaf.grad.storage is not None
        leaf.grad.storage.allocation.copies = layer.copies


class ZeRO3(ZeRO1):
    """Weights are gathered for use and stay for reuse, as many as DeepSpeed lets live.

    The bucket, and the room for the gradients' shares, last from loading on (`lasting`).
    """

    def before_forward(self, layer: Layer) -> None:
        """Gather, up to the limit; a weight that is larger by itself is gathered nevertheless."""
        if not self.layers:
            self.live = min(LIVE, self.elements)
            self.hold("gathered weights", self.live, _largest(layer).dtype)
        super().before_forward(layer)
        self._gather(layer)
        for p in layer.parameters:
            leaf = layer.weights[p.name].node
            if isinstance(leaf, Leaf) and leaf.grad is None:
                leaf.grad = Tensor(self.tape, 1, 1, p.dtype, None)

    def after_forward(self, layer: Layer) -> None:
        """Release what is not kept for reuse."""
        layer.whole = None

    def before_backward(self, layer: Layer) -> None:
        """Gather again."""
        self._gather(layer)

    def begin_backward(self, outside: Layer) -> None:
        """Know how much there is to reduce."""
        self.reduced = min(BUCKET, sum(layer.copies * p.size for layer, p in trained(self.layers)))

    def after_backward(self, layer: Layer) -> None:
        """Release the weights; reduce what is in the bucket (``reduce_scatter_coalesced``)."""
        layer.whole = None
        self.buffer("gradients to be reduced", self.reduced, _dtype(self.layers))

    def end_backward(self, outside: Layer) -> None:
        """Release all weights."""
        self.after_backward(outside)
        self.buffers.clear()

    def _gather(self, layer: Layer) -> None:
        beyond = _largest(layer).size - self.live
        if beyond > 0:
            layer.whole = self.buffer("gathered weights", beyond, _largest(layer).dtype)


#: sharding -> its stage.
STAGES: dict[str, type[Exchange]] = {"zero1": ZeRO1, "zero2": ZeRO2, "zero3": ZeRO3}


def lasting(layers: list[Layer], shares: Sharding) -> list[Event]:
    """Return what DeepSpeed makes before the first step: float32 weights, stage 3's buffers."""
    events: list[Event] = []
    if shares.masters and not shares.optimizer_on_host:
        for layer, p in trained(layers):
            share = p.flat_share(shares.optimizer)._replace(dtype=FLOAT32)
            events.append(made("optimizer", "weight in float32", share, layer.copies))
    if shares.strategy == "zero3":
        bucket = Parameter("DeepSpeed", 1, BUCKET, _dtype(layers), False)
        events.append(made("buffers", "reduce bucket", bucket))
        if not shares.optimizer_on_host:
            for layer, p in trained(layers):
                share = p.flat_share(shares.gradients)
                events.append(made("gradients", "gradient", share, layer.copies))
    return events


def step(layers: list[Layer], shares: Sharding, gone: list[Event], temporaries: int) -> list[Event]:
    """Return what an optimizer step does to memory, beside making states.

    The shares are joined in one tensor and cast to float32; stage 3 takes a group of them at a
    time.

    Parameters
    ----------
    gone : list of (int, Allocation)
        The release of the gradients that backward left.
    temporaries : int
        How many tensors as large as the gradients the optimizer makes.
    """
    if shares.optimizer_on_host:
        return gone
    elements = _share_of_all(layers, shares)
    if shares.strategy == "zero3":
        elements = min(elements, SUB_GROUP)
    joined = Parameter("DeepSpeed", 1, elements, _dtype(layers), False)
    events: list[Event] = []
    if shares.strategy == "zero1":  # the whole gradients are reduced when all are there
        share = made("gradients", "share of the gradients", joined)
        events += [share, *gone]
        gone = [dropped(share)]
    gradient = made("gradients", "gradients joined", joined)
    events.append(gradient)
    if shares.masters:
        joined = joined._replace(dtype=FLOAT32)
        cast = made("gradients", "gradients in float32", joined)
        events += [cast, dropped(gradient)]
        gradient = cast
    events += gone
    scratch = [made("optimizer", "temporary", joined) for _ in range(temporaries)]
    events += [*scratch, *map(dropped, scratch), dropped(gradient)]
    return events


def trained(layers: list[Layer]) -> Iterator[tuple[Layer, Parameter]]:
    """Yield the weights that train, each with its layer."""
    for layer in layers:
        for p in layer.parameters:
            if p.trainable:
                yield layer, p


def _largest(layer: Layer) -> Parameter:
    """Return a layer's largest weight."""
    return max(layer.parameters, key=lambda p: p.size)


def _summed(layers: list[Layer]) -> bool:
    """Return whether gradients of an earlier pass are there, to which this one's are added."""
    layer, p = next(trained(layers))
    leaf = layer.weights[p.name].node
    return isinstance(leaf, Leaf) and leaf.grad is not None


def _share_of_all(layers: list[Layer], shares: Sharding) -> int:
    """Return how many elements that train are one GPU's."""
    return sum(layer.copies * p.flat_share(shares.optimizer).size for layer, p in trained(layers))


def _dtype(layers: list[Layer]) -> DType:
    """Return the dtype of the weights that train; DeepSpeed has one for all."""
    return next(p.dtype for _, p in trained(layers))
