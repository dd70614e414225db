"""DeepSpeed's ZeRO: what its stages hold on one GPU beside weights, gradients and states.

Sources: deepspeed/runtime/zero/stage_1_and_2.py and stage3.py (0.19.8), whose functions are named
here, and traces of DeepSpeed's engine (tests/reference/zero.csv). Gradients are copied into a
bucket as they arrive, and reduced to shards when it is full. The GPU is the last: its shard holds
the last weights, whose gradients come first, so that it makes room for them before others do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ..layer import Layer
from ..methods.optimizers import update
from ..methods.parameter import Parameter, dropped, made
from ..tape import BFLOAT16, FLOAT32, FLOAT64, DType, Event, Leaf, Storage, Tape, Tensor
from .communication import Communication
from .sharding import Sharding


class ZeROLeaf(Leaf):
    """A gradient that DeepSpeed takes as soon as it is there (a hook after AccumulateGrad).

    Attributes
    ----------
    hook : callable
        Given the gradient, once autograd itself holds it no longer.
    temporaries : tuple of DType or None
        What the optimizer makes to update the weight in backward, if it does.
    """

    __slots__ = ("hook", "temporaries")

    def __init__(
        self, hook: Callable[[Tensor], None], temporaries: tuple[DType, ...] | None
    ) -> None:
        super().__init__()
        self.hook = hook
        self.temporaries = temporaries

    def take(self, grad: Tensor) -> None:
        """Keep the gradient, and have the hook run."""
        if self.temporaries is None:
            super().take(grad)
        else:
            update(grad.tape, grad.rows, grad.width, self.temporaries)
        grad.tape.post_accumulate_grad.append((self.hook, grad))


class ZeRO1Leaf(ZeROLeaf):
    """One whose gradient stays where it is from pass to pass."""

    __slots__ = ()

    def accumulate_onto(self, earlier: Leaf, weight: Tensor) -> None:
        """Take over the gradient of an earlier pass."""
        before = earlier.grad
        if before is not None and before.storage is not None:
            storage = Storage.taken_over(weight.tape.log, before.storage.allocation)
            self.grad = Tensor(weight.tape, weight.rows, weight.width, before.dtype, storage)


class ZeRO3Leaf(ZeROLeaf):
    """One whose first gradient is no view: another can be added to it in place."""

    __slots__ = ()

    owns_first = True


class ZeRO1(Communication):
    """Gradients stay unsharded until the last of the passes that are summed is over.

    Attributes
    ----------
    bucket_size : int
        Elements of the bucket, however small the model.
    buffers : list of Tensor
        What is there until backward is over, or until the last pass is.
    """

    operator = "DeepSpeed"
    fills_bucket = True
    #: The CUDA stream that gradients are lined up in; stages 1 and 2 have one of its own for
    #: overlap_comm alone, which is off by default there.
    reduction_stream = ""
    kind_of_leaf: type[ZeROLeaf] = ZeRO1Leaf

    def __init__(self, tape: Tape, sharding: Sharding, elements: int) -> None:
        super().__init__(tape, sharding, elements)
        self.bucket_size = sharding.sizes.reduce_bucket_size
        self.layers: list[Layer] = []
        self.buffers: list[Tensor] = []

    def take_over(self, earlier: Communication) -> None:
        """Go on with the bucket, which nobody has emptied."""
        assert isinstance(earlier, ZeRO1)
        for held in earlier.buffers:
            assert held.storage is not None
            bytes_held = Storage.taken_over(self.tape.log, held.storage.allocation)
            self.buffers.append(Tensor(self.tape, held.rows, held.width, held.dtype, bytes_held))

    def pre_forward(self, layer: Layer) -> None:
        """Remember the layer."""
        self.layers.append(layer)

    def leaf(
        self, layer: Layer, parameter: Parameter, temporaries: tuple[DType, ...] | None
    ) -> Leaf:
        """Return a leaf whose gradient goes to the bucket."""
        return self.kind_of_leaf(partial(self.bucket, layer, parameter), temporaries)

    def bucket(self, layer: Layer, parameter: Parameter, gradient: Tensor) -> None:
        """Make the bucket for the first gradient (``setup_buckets``)."""
        self._make_bucket()

    def layers_pre_backward(self) -> None:
        """Make the bucket for the layers' gradients, unless others came before them."""
        self._make_bucket()

    def root_post_backward(self, outside: Layer) -> None:
        """Reduce all gradients, to what lies in this GPU's shard."""
        if self.is_last:
            for leaf in _leaves(self.layers):
                leaf.grad = None
            left, several = _left_for_room(self.layers, self.sharding)
            waiting = self.buffer("gradients to be reduced", left, _dtype(self.layers))
            assert waiting.storage is not None
            waiting.storage.allocation.component = "gradients"
            self.buffer("gradients to be reduced", several, _dtype(self.layers))
            self._make_room()
            del waiting
            self.buffers.clear()  # _release_ipg_buffers

    def hold(self, what: str, elements: int, dtype: DType) -> None:
        """Make a buffer that is there until backward is over."""
        self.buffers.append(self.buffer(what, elements, dtype))

    def _make_bucket(self) -> None:
        if not self.buffers:
            self.hold("reduce bucket", self.bucket_size, _dtype(self.layers))

    def _make_room(self) -> None:
        """Make room for the gradients of this GPU's shard (``copy_grads_in_partition``)."""
        (elements, _), dtype = _in_shard(self.layers, self.sharding), _dtype(self.layers)
        room = self.buffer("gradient", 0 if self.sharding.optimizer_on_host else elements, dtype)
        assert room.storage is not None
        room.storage.allocation.component = "gradients"
        for leaf in _leaves(self.layers):
            leaf.grad = room


class ZeRO2(ZeRO1):
    """Gradients leave the bucket for this GPU's shard, for all of which there is room at once.

    Attributes
    ----------
    arrived : list of (int, int)
        When, by the log, gradients of layers came, and the elements of all these layers.
    filled : int
        Elements in the bucket.
    beside : Tensor or None
        A gradient for which the bucket is too small by itself: it waits where it is.
    behind : int
        Elements of a layer that come into the bucket once it is empty.
    gradients, gradients_behind : int
        How many gradients these are: a single one is not lined up (``_flatten_dense_tensors``).
    reductions : int
        How often the bucket was full.
    sums : bool
        Whether there are gradients of an earlier pass.
    """

    kind_of_leaf = ZeROLeaf

    def __init__(self, tape: Tape, sharding: Sharding, elements: int) -> None:
        super().__init__(tape, sharding, elements)
        self.arrived: list[tuple[int, int]] = []
        self.filled = self.behind = 0
        self.gradients = self.gradients_behind = 0
        self.beside: Tensor | None = None
        self.reductions = 0
        self.sums = False

    def root_pre_backward(self, outside: Layer) -> None:
        """Expect gradients to go to the bucket as they come."""
        self.sums = next(_leaves(self.layers)).grad is not None
        for leaf in _leaves(self.layers):
            leaf.grad = leaf.grad or Tensor(self.tape, 1, 1, _dtype(self.layers), None)

    def bucket(self, layer: Layer, parameter: Parameter, gradient: Tensor) -> None:
        """Put a gradient into the bucket; those of layers wait until it is known how many."""
        super().bucket(layer, parameter, gradient)
        if layer is not self.layers[0]:
            self.arrived.append((len(self.tape.log), layer.copies * parameter.size))
            return
        if self._overflows(parameter.size):
            self.reduce()
        self.filled += parameter.size
        self.gradients += 1
        if parameter.size > self.bucket_size:
            self.beside = gradient

    def fill(self, copies: int) -> Iterator[tuple[int, int | None]]:
        """Put the gradients of layers into the bucket.

        Only the first two times that it is full matter: there are fewer activations then. The
        second time the room for the shards is there.
        """
        arrived = [(place, elements // copies) for place, elements in self.arrived]
        self.arrived.clear()
        of_one = sum(elements for _, elements in arrived)
        while copies and self.reductions < 2:
            room = max(0, self.bucket_size - self.filled)
            fit = min(copies, room // of_one) if of_one else copies
            copies -= fit
            self.filled += fit * of_one
            self.gradients += fit * len(arrived)
            place = self._full_at(arrived) if copies else None
            yield fit, place
            copies -= place is not None
        self.filled = min(self.filled + copies * of_one, self.bucket_size)
        self.gradients += copies * len(arrived)
        if copies:
            yield copies, None

    def _full_at(self, arrived: list[tuple[int, int]]) -> int | None:
        """Put one more layer's gradients into the bucket; return where it was full."""
        for number, (place, elements) in enumerate(arrived):
            if self._overflows(elements):
                self._fill_behind([elements for _, elements in arrived[number:]])
                return place
            self.filled += elements
            self.gradients += 1
        return None

    def _fill_behind(self, sizes: list[int]) -> None:
        """Put the rest of a layer's gradients into the empty bucket, however often it is full."""
        self.behind = self.gradients_behind = 0
        for elements in sizes:
            if self.behind and self.behind + elements > self.bucket_size:
                self.behind = self.gradients_behind = 0
            self.behind += elements
            self.gradients_behind += 1

    def _overflows(self, elements: int) -> bool:
        return self.filled > 0 and self.filled + elements > self.bucket_size

    def root_post_backward(self, outside: Layer) -> None:
        """Reduce what is left in the bucket, and drop it."""
        self.reduce()
        self.buffers.clear()

    def reduce(self) -> None:
        """Line up what is in the bucket once more (``allreduce_bucket``), and keep the shards."""
        self._line_up()
        self.beside = None
        if self.reductions == 0:
            self._make_room()
        self.reductions += 1
        self.filled, self.behind = self.behind, 0
        self.gradients, self.gradients_behind = self.gradients_behind, 0

    def _line_up(self) -> None:
        if self.gradients > 1:
            dtype, stream = _dtype(self.layers), self.reduction_stream
            self.buffer("gradients to be reduced", self.filled, dtype, stream)

    def _make_room(self) -> None:
        if not self.sums:
            super()._make_room()
        elif not self.sharding.optimizer_on_host:
            elements, _ = _in_shard(self.layers, self.sharding)
            self.hold("gradients of this pass", elements, _dtype(self.layers))


class ZeRO3(ZeRO2):
    """Weights are gathered for use and stay for reuse, as many as DeepSpeed lets live.

    The bucket, and the room for the gradients' shards, last from loading on (`lasting`).

    Attributes
    ----------
    live : int
        Elements of layers that stay gathered.
    fits : bool
        Whether those are all: then each stays until backward has gone through it.
    gathers : bool
        Whether weights are copied at all: one GPU has them, unless they are on the host.
    gathered : dict of (Layer, str) to Tensor
        Gathered weights by layer and name: those outside the layers, and all if they fit.
    of_layers : Tensor or None
        As many of the layers' as may live, if they do not fit.
    beyond : Tensor or None
        What the last layer needs beyond those, to be used again when backward begins.
    of_experts : list of Tensor
        Gradients of a block of experts, which are reduced together.
    """

    kind_of_leaf = ZeRO3Leaf
    #: overlap_comm is on by default: weights are gathered, and copied out, in a stream of their
    #: own (``__allgather_stream``), and gradients joined in another.
    reduction_stream = "reduce_and_partition"

    def __init__(self, tape: Tape, sharding: Sharding, elements: int) -> None:
        super().__init__(tape, sharding, elements)
        sizes = sharding.sizes
        self.live = max(sizes.stage3_max_live_parameters, sizes.stage3_max_reuse_distance)
        self.fits = elements <= self.live
        self.gathers = sharding.parameters > 1 or sharding.parameters_on_host
        self.gathered: dict[tuple[Layer, str], Tensor] = {}
        self.of_layers: Tensor | None = None
        self.beyond: Tensor | None = None
        self.of_experts: list[tuple[Parameter, Tensor]] = []

    def bucket(self, layer: Layer, parameter: Parameter, gradient: Tensor) -> None:
        """Put a gradient into the bucket, and release the weight (``release_sub_module``).

        Blocks of experts are leaf modules by default (leaf_module_config.py: Mixtral's, Qwen's):
        their gradients go to the bucket when all are there (``reduce_leaf_module_grads``).
        """
        if not _is_of_experts(parameter):
            super().bucket(layer, parameter, gradient)
        else:
            self.of_experts.append((parameter, gradient))
            if len(self.of_experts) == sum(map(_is_of_experts, layer.parameters)):
                for p, together in self.of_experts:
                    super().bucket(layer, p, together)
                self.of_experts.clear()
        if layer is not self.layers[0]:
            self.gathered.pop((layer, parameter.name), None)

    def pre_forward(self, layer: Layer) -> None:
        """Gather, up to the limit; what a layer needs beyond it is gathered nevertheless."""
        super().pre_forward(layer)
        if not self.gathers:
            return
        if layer is self.layers[0]:
            self._gather_each(layer)
            self.live = max(0, self.live - _elements(layer))
            if not self.fits:
                left = min(self.live, self.elements - _elements(layer))
                self.of_layers = self._gathered(left, _as_stored(_largest(layer))[1])
            return
        together, last = _fetched_together(layer, self.sharding)
        dtype = _as_stored(_largest(layer))[1]
        flat = self.buffer("weights fetched together", together, dtype, "all_gather")
        layer.until_used[last] = flat
        if self.fits:
            self._gather_each(layer)
        else:
            layer.unsharded = self._beyond(layer)

    def post_forward(self, layer: Layer) -> None:
        """Release what is not kept for reuse."""
        layer.unsharded = None
        layer.until_used.clear()

    def layers_post_forward(self) -> None:
        """Keep all that the last layer needs."""
        if self.gathers and not self.fits:
            self.beyond = self._beyond(self.layers[-1])

    def pre_backward(self, layer: Layer) -> None:
        """Gather again."""
        if self.gathers and not self.fits:
            layer.unsharded = self._beyond(layer)

    def post_backward(self, layer: Layer) -> None:
        """Release the weights."""
        layer.unsharded = None
        self._release(layer, layer.parameters)

    def layers_pre_backward(self) -> None:
        """Release what lies behind the layers."""
        super().layers_pre_backward()
        self.beyond = None
        embedding, *behind = self.layers[0].parameters
        self._release(self.layers[0], behind if embedding.trainable else [embedding, *behind])

    def layers_post_backward(self) -> None:
        """Keep of what was gathered only what lies outside the layers."""
        self.of_layers = None

    def root_post_backward(self, outside: Layer) -> None:
        """Release all weights, and reduce what is left in the bucket."""
        self._release(outside, outside.parameters)
        super().root_post_backward(outside)

    def _make_bucket(self) -> None:
        """It is there."""

    def _make_room(self) -> None:
        """It is there."""

    def _gathered(self, elements: int, dtype: DType) -> Tensor:
        return self.buffer("gathered weights", elements, dtype, "all_gather")

    def _gather_each(self, layer: Layer) -> None:
        for p in layer.parameters:
            self.gathered[layer, p.name] = self._gathered(*_as_stored(p))

    def _release(self, layer: Layer, parameters: list[Parameter]) -> None:
        for p in parameters:
            self.gathered.pop((layer, p.name), None)

    def _beyond(self, layer: Layer) -> Tensor | None:
        elements = _elements(layer) - self.live
        if elements <= 0:
            return None
        return self._gathered(elements, _as_stored(_largest(layer))[1])


#: sharding -> its stage.
STAGES: dict[str, type[Communication]] = {"zero1": ZeRO1, "zero2": ZeRO2, "zero3": ZeRO3}


def lasting(layers: list[Layer], sharding: Sharding) -> list[Event]:
    """Return what DeepSpeed makes before the first step: float32 weights, stage 3's buffers."""
    events: list[Event] = []
    if sharding.masters and not sharding.optimizer_on_host:
        for layer, p in trained(layers):
            shard = p.flat_shard(sharding.optimizer)._replace(dtype=FLOAT32)
            events.append(made("optimizer", "weight in float32", shard, layer.copies))
    if sharding.strategy in ("zero1", "zero2") and sharding.optimizer_on_host:
        largest = max((p for _, p in trained(layers)), key=lambda p: p.size)
        events.append(made("buffers", "gradient, on its way to the host", largest))
    if sharding.strategy == "zero3":
        bucket = Parameter("DeepSpeed", 1, sharding.sizes.reduce_bucket_size, _dtype(layers), False)
        events.append(made("buffers", "reduce bucket", bucket))
        if not sharding.optimizer_on_host:
            for layer, p in trained(layers):
                shard = p.flat_shard(sharding.gradients)
                events.append(made("gradients", "gradient", shard, layer.copies))
    return events


def step(
    layers: list[Layer], sharding: Sharding, gone: list[Event], temporaries: int
) -> list[Event]:
    """Return what an optimizer step does to memory, beside making states.

    The shards are copied to one flat tensor and cast to float32; stage 3 takes a group of them at a
    time.

    Parameters
    ----------
    gone : list of (int, Allocation)
        The release of the gradients that backward left.
    temporaries : int
        How many tensors as large as the gradients the optimizer makes.
    """
    if sharding.optimizer_on_host:
        return gone
    elements = _shard_of_all(layers, sharding)
    if sharding.strategy == "zero3":
        elements = min(elements, sharding.sizes.sub_group_size)
        largest = max(p.flat_shard(sharding.gradients).size for _, p in trained(layers))
    else:
        _, largest = _in_shard(layers, sharding)
    exact = Parameter("DeepSpeed", 1, largest, FLOAT64, False)
    norm = made("buffers", "gradient in float64, for the norm", exact)
    flat = Parameter("DeepSpeed", 1, elements, _dtype(layers), False)
    gradient = made("gradients", "flat gradients", flat)
    events = [norm, dropped(norm), gradient]
    if flat.dtype is not FLOAT32:
        flat = flat._replace(dtype=FLOAT32)
        cast = made("gradients", "gradients in float32", flat)
        events += [cast, dropped(gradient)]
        gradient = cast
    events += gone
    scratch = [made("optimizer", "temporary", flat) for _ in range(temporaries)]
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


def _leaves(layers: list[Layer]) -> Iterator[Leaf]:
    """Yield where the gradients of the weights that train arrive."""
    for layer, p in trained(layers):
        leaf = layer.weights[p.name].node
        assert isinstance(leaf, Leaf)
        yield leaf


def _in_shard(layers: list[Layer], sharding: Sharding) -> tuple[int, int]:
    """Return what lies in the last GPU's shard.

    Returns
    -------
    total, largest : int
        Elements of all weights that lie in it, if only in part, and of the largest part.
    """
    shard = left = _shard_of_all(layers, sharding)
    largest = 0
    for size in reversed(_sizes(layers)):
        largest = max(largest, min(size, left))
        left -= size
        if left <= 0:
            return shard - left, largest
    return shard, largest


def _sizes(layers: list[Layer]) -> list[int]:
    """Return the elements of each weight that trains, in the model's order."""
    outside, *inner = layers
    embedding, *behind = outside.parameters
    sizes = [embedding.size] if embedding.trainable else []
    for layer in inner:
        sizes += [p.size for p in layer.parameters if p.trainable] * layer.copies
    return sizes + [p.size for p in behind if p.trainable]


def _left_for_room(layers: list[Layer], sharding: Sharding) -> tuple[int, int]:
    """Return what waits beside the bucket when stage 1 makes room for the gradients of a shard.

    Gradients go to the bucket in the model's order once backward is over. Those that are larger by
    themselves stay where they are (``extra_large_param_to_reduce``): only stage 2 clears them
    (``reduce_ipg_grads``).

    Returns
    -------
    waiting, lined_up : int
        Elements that are not in the bucket, and those that are lined up beside it.
    """
    sizes, bucket = _sizes(layers), sharding.sizes.reduce_bucket_size
    start = sum(sizes) - _in_shard(layers, sharding)[0]
    filled = gradients = passed = large = 0
    for size in sizes:
        if filled + size > bucket:
            if passed > start:
                break
            filled = gradients = 0
        if size > bucket:
            large += size
        filled += size
        gradients += 1
        passed += size
    waiting = sum(sizes) - passed + large
    filled = min(filled, bucket)
    return waiting, filled if gradients > 1 else 0


def _as_stored(parameter: Parameter) -> tuple[int, DType]:
    """Return a weight's elements and dtype, in bfloat16 if it is packed into that."""
    p = parameter
    if p.dtype.packed == 1:
        return p.size, p.dtype
    return p.size * p.dtype.itemsize // (p.dtype.packed * BFLOAT16.itemsize), BFLOAT16


def _elements(layer: Layer) -> int:
    """Return the elements of a layer's weights."""
    return sum(_as_stored(p)[0] for p in layer.parameters)


def _is_of_experts(parameter: Parameter) -> bool:
    """Return whether it is a trained weight of all experts at once."""
    return parameter.trainable and ".experts." in parameter.name


def _fetched_together(layer: Layer, sharding: Sharding) -> tuple[int, str]:
    """Return the most elements that are gathered at once and then copied out, weight by weight.

    Weights are queued until they are enough (``fetch_sub_module``); one alone is not copied
    (``_all_gather_sequential``). The last of them to be used lets go of them all: the handle of
    the gathering, of which each weight holds one, has the elements (``AllGatherCoalescedHandle``).

    Returns
    -------
    elements, name : int, str
        The elements, and the linear of the layer that is the last to use some.
    """
    sizes = sharding.sizes
    found, last = 0, ""
    elements = weights = 0
    if sharding.parameters == 1:  # _no_gather_coalesced
        return found, last
    for p in layer.parameters * 4:
        if p.size < sizes.stage3_param_persistence_threshold:
            continue
        elements += _as_stored(p)[0]
        weights += 1
        if elements >= sizes.stage3_prefetch_bucket_size:
            if weights > 1 and elements > found:
                found, last = elements, p.name.rpartition(".")[0]
            elements = weights = 0
    return found, last


def _shard_of_all(layers: list[Layer], sharding: Sharding) -> int:
    """Return how many elements that train are one GPU's."""
    return sum(layer.copies * p.flat_shard(sharding.optimizer).size for layer, p in trained(layers))


def _dtype(layers: list[Layer]) -> DType:
    """Return the dtype of the weights that train; DeepSpeed has one for all."""
    return next(p.dtype for _, p in trained(layers))
