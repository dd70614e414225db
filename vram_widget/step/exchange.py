"""What the GPUs of a run exchange around a layer: nothing, where each holds all weights.

A pass tells its exchange when a layer runs; the strategies that divide the weights (`fsdp`,
`zero3`) say there what they gather, how long they hold it, and how gradients are handed out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .parameter import Parameter
from .sharding import Sharding
from .tape import Allocation, Leaf, Tape

if TYPE_CHECKING:
    from .layer import Layer

#: Weights whose gradients wait to be handed out.
Arrived = list[tuple[Parameter, Leaf]]

#: What takes the place of an allocation.
Swaps = dict[Allocation, Allocation]


class Exchange:
    """Each GPU holds all weights; its gradients are whole, or it keeps its share of them (ZeRO-2).

    Parameters
    ----------
    tape : Tape
        Where allocations are written down.
    sharding : Sharding
        How the states are divided.
    """

    def __init__(self, tape: Tape, sharding: Sharding) -> None:
        self.tape = tape
        self.sharding = sharding

    def before_forward(self, layer: Layer) -> None:
        """Make the weights of a layer whole."""

    def after_forward(self, layer: Layer) -> None:
        """Give them up until its backward comes."""

    def after_layers(self) -> None:
        """Forward is through all layers."""

    def begin_backward(self, outside: Layer) -> None:
        """Forward is over; `outside` holds what lies outside the layers."""

    def before_backward(self, layer: Layer) -> None:
        """Make the weights whole again."""

    def after_backward(self, layer: Layer) -> None:
        """Give them up, and hand out the gradients."""
        self.divide(layer)

    def end_backward(self, outside: Layer) -> None:
        """Backward is over."""
        self.after_backward(outside)

    def held(self) -> list[Allocation]:
        """Return what the layer that runs next will release."""
        return []

    def gathered_between(self, layer: Layer) -> Swaps:
        """Return what layers that repeat gather in place of what the last of them gathered.

        `layer` runs backward first of them; what it needs is gathered ahead by the one behind it.
        """
        return {}

    def divide(self, layer: Layer) -> None:
        """Leave this GPU its share of the gradients that have arrived."""
        for p, leaf in arrived(layer):
            self.keep_share(p, leaf)
            leaf.whole = None

    def keep_share(self, p: Parameter, leaf: Leaf) -> None:
        """Take this GPU's share of a gradient, or add it in place to the one that is there."""
        if leaf.grad is not None or self.sharding.parameters_on_host:
            return
        tape, share = self.tape, self.sharding.share(p, self.sharding.gradients)
        outer, tape.operator = tape.operator, p.name
        grad = tape.new(share.rows, share.width, p.dtype, "gradient", "gradients")
        if leaf.updated:  # the optimizer steps at once, with its temporary, and drops both
            tape.new(share.rows, share.width, p.dtype, "temporary", "optimizer")
        else:
            leaf.grad = grad
        tape.operator = outer


def arrived(layer: Layer) -> Arrived:
    """Return the weights of a layer whose whole gradients wait to be handed out."""
    return [
        (p, leaf)
        for p in layer.parameters
        if isinstance(leaf := layer.weights[p.name].node, Leaf) and leaf.whole is not None
    ]
