"""Replays the first training steps of one GPU and writes down every allocation.

Layers that repeat are executed once and stand for all of them: what one of them adds to memory,
the others add too, so the cost of a replay does not grow with the number of layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ..config import TrainingConfig
from ..errors import ModelError
from ..families.blocks import BLOCKS
from ..gpu import GPU
from . import collector, ops
from .architecture import Architecture, LayerRun, Shape, Stretch
from .context import Context
from .forward import forward
from .layer import Layer
from .liger import as_run
from .methods.methods import check_adapters, divides_scales, method_for, upcasts
from .record import Record, Segment, repetitions
from .sharding import zero
from .sharding.communication import Exchange, Swaps
from .sharding.fsdp1 import FlatParameters
from .sharding.fsdp2 import FullyShard
from .sharding.sharding import COMPUTE, sharding
from .states import load, optimizer_step
from .tape import FLOAT32, Allocation, Boundary, Event, Leaf, Node, Storage, Tape, Tensor

#: Who divides -> what is exchanged then.
EXCHANGES: dict[str, type[Exchange]] = {
    "ddp": Exchange,
    "fsdp": FullyShard,
    "flat": FlatParameters,
    **zero.STAGES,
}
NO_SWAPS: Swaps = {}


class Pass:
    """Forward, loss and backward of one micro-batch.

    Attributes
    ----------
    segments : list of Segment
        What the pass did to memory.
    held : list of Tensor
        What the training loop holds until the pass is over.
    layers : list of Layer
        Every layer that was executed; its `copies` say how many it stands for.
    hidden : Tensor
        What goes from layer to layer.
    """

    hidden: Tensor

    def __init__(
        self,
        architecture: Architecture,
        config: TrainingConfig,
        gpu: GPU,
        earlier: Pass | None = None,
    ) -> None:
        self.architecture = architecture
        self.config = config = as_run(config, architecture.model_type)
        self.sharding = sharding(config)
        autocast = None if self.sharding.compute else COMPUTE[config.mixed_precision]
        self.tape = Tape(gpu.bf16_flops, gpu.bandwidth, autocast)
        exchange = EXCHANGES[self.sharding.strategy]
        self.exchange = exchange(self.tape, self.sharding, architecture.num_parameters)
        self.earlier = earlier
        if earlier is not None:
            self.exchange.take_over(earlier.exchange)
        self.exchange.is_last = earlier is not None or config.gradient_accumulation_steps == 1
        self.segments: list[Segment] = []
        self.layers: list[Layer] = []
        self.held: list[Tensor] = []
        self._opened = 0
        self._since = 0.0
        self._begun: list[tuple[int, list[Allocation]]] = []
        self.outside = self.layer(architecture.outside)
        self.run()

    def layer(self, weights: Mapping[str, Shape], run: LayerRun | None = None) -> Layer:
        """Return a layer that is ready to run; the gradients of an earlier pass are there."""
        method = method_for(self.config, self.architecture, run)
        layer = Layer(self.tape, method, weights, self.exchange, self.config)
        self.layers.append(layer)
        if self.earlier is not None:
            self._take_over_gradients(self.earlier.layers[len(self.layers) - 1], layer)
        return layer

    def _take_over_gradients(self, earlier: Layer, layer: Layer) -> None:
        """Let a layer add to the gradients that the same layer left in an earlier pass."""
        for name, weight in layer.weights.items():
            before, leaf = earlier.weights[name].node, weight.node
            if not isinstance(leaf, Leaf) or not isinstance(before, Leaf):
                continue
            if before.summed is not None and before.summed.storage is not None:
                allocation, dtype = before.summed.storage.allocation, before.summed.dtype
                storage = Storage.taken_over(self.tape.log, allocation)
                leaf.summed = Tensor(self.tape, weight.rows, weight.width, dtype, storage)
            elif self.sharding.strategy == "zero1" and before.grad and before.grad.storage:
                taken = Storage.taken_over(self.tape.log, before.grad.storage.allocation)
                leaf.grad = Tensor(self.tape, weight.rows, weight.width, before.grad.dtype, taken)
            elif not self.sharding.reduces_once:
                leaf.grad = Tensor(self.tape, 1, 1, FLOAT32, None)

    def run(self) -> None:
        """Run the pass."""
        self.exchange.before_forward(self.outside)
        loss = forward(self)
        self.tape.casts.clear()
        self.cut("loss")
        self.exchange.begin_backward(self.outside)
        assert isinstance(loss.node, Node)
        loss.node.accumulate(self.tape.new(1, 1, FLOAT32, "gradient"))
        del loss
        self.tape.backward()
        self.exchange.end_backward(self.outside)
        self.held.clear()
        self.tape.outlasting = None
        self.cut("backward")

    def keep(self, *tensors: object) -> None:
        """Keep tensors until backward gets to this place."""
        Boundary(self.tape, partial(self.cut, "backward"), keeps=tensors)

    def cut(self, phase: str) -> None:
        """End the segment of the log that began at the last cut."""
        events = self.tape.log[self._opened :]
        if events:
            self.segments.append(Segment(phase, events, self.tape.clock - self._since))
            self._opened += len(events)
            self._since = self.tape.clock

    def begin(self, phase: str) -> None:
        """Begin what may happen several times."""
        self.cut(phase)
        self._begun.append((len(self.segments), self.exchange.held()))

    def repeat(
        self, phase: str, count: int, handed_on: Allocation | None, before_last: Swaps = NO_SWAPS
    ) -> None:
        """Let what happened since its beginning happen `count` times.

        `handed_on` is what a layer hands to the next one, which releases it: there is one, however
        many layers there are. `before_last` says what takes the place of an allocation in all but
        the last.
        """
        self.cut(phase)
        since, found = self._begun.pop()
        happened = self.segments[since:]
        if not happened or count == len(happened) == 1:
            return
        if count > 1:
            made = {a for segment in happened for nbytes, a in segment.events if nbytes > 0}
            for allocation in made:
                allocation.copies *= count
            for held in (handed_on, *self.exchange.held()):
                if held is not None:
                    held.copies = 1
        left = (before_last.get(held, held) for held in self.exchange.held())
        beyond_first = {a: b for a, b in zip(found, left, strict=True) if a is not b}
        self.segments[since:] = repetitions(happened, count, beyond_first, before_last)

    def run_layers(
        self, context: Context, handed_over: list[Tensor], first_differs: bool
    ) -> Tensor:
        """Run the layers, of which the first has another input than others (`first_differs`).

        Who holds on to the hidden state keeps its memory, so it is only here: in `self.hidden`.
        """
        self.hidden = handed_over.pop()
        _hidden_state(self.hidden)
        Boundary(self.tape, self.exchange.end_of_layers)
        slides = context.sliding_mask is not None
        model = self.architecture
        for stretch in model.windowed_stretches if slides else model.stretches:
            self.run_stretch(context, stretch, first_differs)
        self.exchange.after_layers()
        Boundary(self.tape, self.exchange.begin_of_layers)
        x = self.hidden
        del self.hidden
        return x

    def run_stretch(self, context: Context, stretch: Stretch, first_differs: bool) -> None:
        """Run each layer of a pattern once for all its repetitions.

        The first stands for itself alone where its input is not like the others': of another
        dtype, without a gradient, or kept by somebody else too (`first_differs`).
        """
        left = stretch.count
        while left:
            source, dtype, first = self.hidden.node, self.hidden.dtype, len(self.layers)
            alike = source is not None and not (first_differs and self.layers[-1] is self.outside)
            entrance = Boundary(self.tape, partial(self.cut, "backward"))
            self.begin("forward")
            for part in stretch.parts:
                if isinstance(part, Stretch):
                    self.run_stretch(context, part, first_differs)
                else:
                    self.run_layer(context, part)
            executed = self.layers[first:]
            count = left if alike and self.hidden.dtype is dtype else 1
            for layer in executed:
                layer.copies *= count
            self.repeat("forward", count, _hidden_state(self.hidden))
            entrance.reached = partial(self._end_of_stretch, executed[-1], count, source)
            Boundary(self.tape, partial(self._begin_of_stretch, self.hidden.node))
            left -= count

    def _begin_of_stretch(self, output: Node | Leaf | None) -> None:
        """Backward has come to the last layer: its output's gradient is there."""
        _handed_gradient(output)
        self.begin("backward")

    def _end_of_stretch(self, last: Layer, count: int, source: Node | Leaf | None) -> None:
        """Backward has left the first layer: there is one gradient of its input, for all."""
        before_last = self.exchange.gathered_between(last)
        since = self._begun[-1][0]
        self.repeat("backward", count, _handed_gradient(source), before_last)
        if self.exchange.takes_gradients and not self._begun:
            self._reduce_between(since, count)

    def _reduce_between(self, since: int, copies: int) -> None:
        """Let gradients be reduced amid a layer, whenever enough of them are there.

        It is behind the layers of a pattern if some of them repeat themselves.
        """
        if len(self.segments) == since:
            return
        alike = self.segments.pop()
        events = len(alike.events)
        start = self._opened - events
        for count, place in self.exchange.fill(copies):
            if count:
                self.segments.append(alike.repeated(count))
            if place is not None:
                before, after = alike.halves(min(max(place - start, 0), events))
                self.segments.append(before)
                self.exchange.reduce()
                self.cut("backward")
                self.segments.append(after)

    def run_layer(self, context: Context, run: LayerRun) -> None:
        """Run one layer on the hidden state."""
        layer = self.layer(run.oriented, run)
        if context.sliding_mask and run.sliding_window and context.length >= run.sliding_window:
            context = context._replace(mask=context.sliding_mask)
        block = partial(BLOCKS[run.block], context, layer)
        layer.enter(self.hidden)
        if self.config.gradient_checkpointing:
            offload = self.config.offload_activations
            self.hidden = ops.checkpoint(block, self.hidden, offload=offload)
        else:
            self.hidden = block(self.hidden)
        _hidden_state(self.hidden)
        layer.leave()


def _hidden_state(x: Tensor) -> Allocation | None:
    """Name x as what layers hand to each other, so that one's counts for the other's."""
    if x.storage is None:
        return None
    allocation = x.storage.allocation
    allocation.operator, allocation.what = "layers", "hidden state"
    return allocation


def _handed_gradient(node: Node | Leaf | None) -> Allocation | None:
    """Name the gradient that waits at a node as what layers hand back to each other."""
    if not isinstance(node, Node) or node.grad is None or node.grad.storage is None:
        return None
    allocation = node.grad.storage.allocation
    allocation.operator, allocation.what = "layers", "gradient of the hidden state"
    return allocation


#: Bytes a second at which weights come from a disk: nominal, for the timeline only.
LOADING = 3e9
#: Fields that change nothing that a GPU does in a step.
ELSEWHERE = {
    "model_path",
    "gpu",
    "gpu_memory",
    "num_samples",
    "tokens_per_sample",
    "num_epochs",
    "gpu_hour_price",
    "memory_model",
}
#: Records of late, so that moving a field of the hardware or of the run replays nothing again.
_recent: dict[tuple[object, ...], Record] = {}
RECENT = 64


def replay(architecture: Architecture, config: TrainingConfig, gpu: GPU) -> Record:
    """Return the record of loading the model and taking two training steps.

    Parameters
    ----------
    architecture : Architecture
        The model.
    config : TrainingConfig
        The choices.
    gpu : GPU
        Its speeds set the timeline's seconds.
    """
    config = as_run(config, architecture.model_type)
    values = (value for name, value in config.config.items() if name not in ELSEWHERE)
    choices = (tuple(value) if isinstance(value, list) else value for value in values)
    of_trainer = (upcasts(config), divides_scales(config), sharding(config))
    key = (architecture, gpu.bf16_flops, gpu.bandwidth, of_trainer, *choices)
    if key not in _recent:
        if len(_recent) >= RECENT:
            del _recent[next(iter(_recent))]
        with collector.paused():
            _recent[key] = _replay(architecture, config, gpu)
    return _recent[key]


def _replay(architecture: Architecture, config: TrainingConfig, gpu: GPU) -> Record:
    missing = {run.block for run in architecture.layers} - BLOCKS.keys()
    if missing:
        raise ModelError(
            f"The layers of {architecture.model_type} are known by their weights, but not yet by "
            f"what they do; memory_model='rule_of_thumb' gives a rough figure."
        )
    if config.training_method in ("lora", "qlora"):
        check_adapters(architecture, config)
    one = Pass(architecture, config, gpu)
    body, holds_gradients = one.segments, one
    if config.gradient_accumulation_steps > 1:
        another = Pass(architecture, config, gpu, earlier=one)
        body = body + another.segments
        holds_gradients = another if one.sharding.reduces_once else one
    weights = load(one.layers, architecture, config)
    first, later = optimizer_step(holds_gradients.layers, config)
    loading = Segment("load", weights, _moved(weights) / LOADING)
    seconds = (_moved(weights) + _moved(first)) / gpu.bandwidth
    return Record(
        [
            (0, [loading]),
            (1, [*body, Segment("optimizer_step", first, seconds)]),
            (2, [*body, Segment("optimizer_step", later, seconds)]),
        ]
    )


def _moved(events: list[Event]) -> int:
    """Return the bytes of everything that events take or give back."""
    return sum(abs(nbytes) * allocation.copies for nbytes, allocation in events)
