"""One pass of a micro-batch: forward, loss and backward, and what they do to memory.

Layers that repeat are executed once and stand for all of them: what one of them adds to memory,
the others add too, so the cost of a pass does not grow with the number of layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from . import ops
from .architecture import Stretch
from .context import Context
from .decoder import LayerGroup
from .layer import Layer
from .methods.full import Method
from .methods.parameter import Shape
from .record import Segment, repetitions
from .run import Run
from .sharding.communication import Communication, Swaps
from .sharding.fsdp1 import FlatParameters
from .sharding.fsdp2 import FullyShard
from .sharding.sharding import COMPUTE
from .sharding.tables_apart import TablesApart
from .sharding.zero import STAGES
from .tape import Allocation, Boundary, Leaf, Node, Tape, Tensor

#: A strategy -> what is communicated then.
COMMUNICATIONS: dict[str, type[Communication]] = {
    "ddp": Communication,
    "fsdp1": FlatParameters,
    "fsdp2": FullyShard,
    **STAGES,
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
    loss : Tensor or None
        The loss, from forward to backward.
    """

    hidden: Tensor

    def __init__(self, run: Run, earlier: Pass | None = None) -> None:
        self.run = run
        self.architecture = run.architecture
        self.settings = settings = run.settings
        self.sharding = run.sharding
        autocast = None if run.sharding.compute else COMPUTE[settings.mixed_precision]
        self.tape = Tape(run.flops, run.bandwidth, autocast)
        communication = COMMUNICATIONS[run.sharding.strategy]
        if run.sharding.tables_apart:
            communication = TablesApart
        self.communication = communication(self.tape, run.sharding, run.architecture.num_parameters)
        self.earlier = earlier
        if earlier is not None:
            self.communication.take_over(earlier.communication)
        self.communication.is_last = (
            earlier is not None or settings.gradient_accumulation_steps == 1
        )
        self.segments: list[Segment] = []
        self.layers: list[Layer] = []
        self.held: list[Tensor] = []
        self.loss: Tensor | None = None
        self._opened = 0
        self._since = 0.0
        self._begun: list[tuple[int, list[Allocation]]] = []
        self.outside = self.layer(run.outside, run.method())

    def layer(self, weights: Mapping[str, Shape], method: Method) -> Layer:
        """Return a layer that is ready to run; the gradients of an earlier pass are there."""
        layer = Layer(
            self.tape, self.settings, self.sharding, method, weights, self.communication.leaf
        )
        self.layers.append(layer)
        if self.earlier is not None:
            same = self.earlier.layers[len(self.layers) - 1]
            for name, weight in layer.weights.items():
                before, leaf = same.weights[name].node, weight.node
                if isinstance(leaf, Leaf) and isinstance(before, Leaf):
                    leaf.accumulate_onto(before, weight)
        return layer

    def backward(self) -> None:
        """Run backward from the loss (``loss.backward()``)."""
        self.tape.casts.clear()
        self.cut("loss")
        self.communication.root_pre_backward(self.outside)
        loss, self.loss = self.loss, None
        assert loss is not None
        assert isinstance(loss.node, Node)
        loss.node.accumulate(self.tape.new(loss.rows, loss.width, loss.dtype, "gradient"))
        del loss
        self.tape.backward()
        self.communication.root_post_backward(self.outside)
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
        self._begun.append((len(self.segments), self.communication.held()))

    def repeat(
        self, phase: str, count: int, passed_on: Allocation | None, before_last: Swaps = NO_SWAPS
    ) -> None:
        """Let what happened since its beginning happen `count` times.

        `passed_on` is what a layer passes to the next one, which releases it: there is one, however
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
            for held in (passed_on, *self.communication.held()):
                if held is not None:
                    held.copies = 1
        left = (before_last.get(held, held) for held in self.communication.held())
        beyond_first = {a: b for a, b in zip(found, left, strict=True) if a is not b}
        self.segments[since:] = repetitions(happened, count, beyond_first, before_last)

    def run_layers(self, context: Context, inputs: list[Tensor], first_differs: bool) -> Tensor:
        """Run the layers, of which the first has another input than others (`first_differs`).

        Who holds on to the hidden state keeps its memory, so it is only here: in `self.hidden`.
        """
        self.hidden = inputs.pop()
        _name_hidden_state(self.hidden)
        self.communication.layers_pre_forward()
        Boundary(self.tape, self.communication.layers_post_backward)
        slides = context.sliding_mask is not None
        model = self.architecture
        for stretch in model.windowed_stretches if slides else model.stretches:
            self.run_stretch(context, stretch, first_differs)
        self.communication.layers_post_forward()
        Boundary(self.tape, self.communication.layers_pre_backward)
        x = self.hidden
        del self.hidden
        return x

    def run_stretch(self, context: Context, stretch: Stretch, first_differs: bool) -> None:
        """Run each layer of a pattern once for all its repetitions.

        The first stands for itself alone where its input is not like the others': of another
        dtype, without a gradient, or saved by somebody else too (`first_differs`).
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
            self.repeat("forward", count, _name_hidden_state(self.hidden))
            entrance.reached = partial(self._end_of_stretch, executed[-1], count, source)
            Boundary(self.tape, partial(self._begin_of_stretch, self.hidden.node))
            left -= count

    def _begin_of_stretch(self, output: Node | Leaf | None) -> None:
        """Backward has come to the last layer: its output's gradient is there."""
        _name_gradient(output)
        self.begin("backward")

    def _end_of_stretch(self, last: Layer, count: int, source: Node | Leaf | None) -> None:
        """Backward has left the first layer: there is one gradient of its input, for all."""
        before_last = self.communication.prefetched_between(last)
        since = self._begun[-1][0]
        self.repeat("backward", count, _name_gradient(source), before_last)
        if self.communication.fills_bucket and not self._begun:
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
        for count, place in self.communication.fill(copies):
            if count:
                self.segments.append(alike.repeated(count))
            if place is not None:
                before, after = alike.halves(min(max(place - start, 0), events))
                self.segments.append(before)
                self.communication.reduce()
                self.cut("backward")
                self.segments.append(after)

    def run_layer(self, context: Context, group: LayerGroup) -> None:
        """Run one layer on the hidden state."""
        layer = self.layer(group.oriented, self.run.method(group))
        if context.sliding_mask and group.sliding_window and context.length >= group.sliding_window:
            context = context._replace(mask=context.sliding_mask)
        block = partial(group.block, context, layer)
        layer.input_takes_gradient = self.hidden.node is not None
        self.communication.pre_forward(layer)
        Boundary(self.tape, partial(self.communication.post_backward, layer))
        if self.settings.gradient_checkpointing:
            reentrant = self.settings.use_reentrant
            checkpoint = ops.reentrant_checkpoint if reentrant else ops.checkpoint
            offload = self.settings.offload_activations
            self.hidden = checkpoint(block, self.hidden, offload=offload)
        else:
            self.hidden = block(self.hidden)
        _name_hidden_state(self.hidden)
        self.communication.post_forward(layer)
        Boundary(self.tape, partial(self.communication.pre_backward, layer))


def _name_hidden_state(x: Tensor) -> Allocation | None:
    """Name x as what layers hand to each other, so that one's counts for the other's."""
    if x.storage is None:
        return None
    allocation = x.storage.allocation
    allocation.operator, allocation.what = "layers", "hidden state"
    return allocation


def _name_gradient(node: Node | Leaf | None) -> Allocation | None:
    """Name the gradient that waits at a node as what layers hand back to each other."""
    if not isinstance(node, Node) or node.grad is None or node.grad.storage is None:
        return None
    allocation = node.grad.storage.allocation
    allocation.operator, allocation.what = "layers", "gradient of the hidden state"
    return allocation
