"""What the GPUs of a run exchange around a layer: nothing, where each holds all weights.

A pass tells its exchange when a layer runs; the strategies that divide weights (`fsdp`,
`flat`, `zero`) say there what they gather, how long they hold it, and where gradients go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..methods.parameter import Parameter
from ..tape import UINT8, Allocation, DType, Leaf, Tape, Tensor
from .sharding import Sharding

if TYPE_CHECKING:
    from ..layer import Layer

#: Weights whose gradients wait to be handed out.
Arrived = list[tuple[Parameter, Leaf]]

#: What takes the place of an allocation.
Swaps = dict[Allocation, Allocation]


class Exchange:
    """Each GPU holds all weights and its whole gradients: nothing is exchanged around a layer.

    Parameters
    ----------
    tape : Tape
        Where allocations are written down.
    sharding : Sharding
        How the states are divided.
    elements : int
        Of all weights.

    Attributes
    ----------
    operator : str
        Whose buffers an exchange makes.
    is_last : bool
        Whether this is the last of the passes whose gradients are summed.
    waits : bool
        Whether gradients wait, whole, until the backward of their layer is over.
    takes_gradients : bool
        Whether each gradient is taken as it arrives.
    owns_gradients : bool
        Whether a linear's gradient is no view of another, so that one can be added to it in place.
    """

    operator = ""
    waits = False
    takes_gradients = False
    owns_gradients = False

    def __init__(self, tape: Tape, sharding: Sharding, elements: int) -> None:
        self.tape = tape
        self.sharding = sharding
        self.elements = elements
        self.is_last = True

    def take_over(self, earlier: Exchange) -> None:
        """Go on where the exchange of the pass before has ended."""

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

    def arrive(self, layer: Layer, parameter: Parameter, gradient: Tensor) -> None:
        """Take the gradient of a weight."""

    def fill(self, copies: int) -> Iterator[tuple[int, int | None]]:
        """Take the gradients of layers that were executed once for `copies` of them.

        Yields
        ------
        count, place : int, int or None
            How many layers run before gradients are to be reduced, and where in the log of the
            next one that is; None if it is nowhere.
        """
        yield copies, None

    def reduce(self) -> None:
        """Reduce the gradients that were taken."""

    def begin_of_layers(self) -> None:
        """Backward has come to the layers."""

    def end_of_layers(self) -> None:
        """Backward is through all layers."""

    def end_backward(self, outside: Layer) -> None:
        """Backward is over."""

    def held(self) -> list[Allocation]:
        """Return what the layer that runs next will release."""
        return []

    def gathered_between(self, layer: Layer) -> Swaps:
        """Return what layers that repeat gather in place of what the last of them gathered.

        `layer` runs backward first of them; what it needs is gathered ahead by the one behind it.
        """
        return {}

    def buffer(self, what: str, elements: int, dtype: DType = UINT8) -> Tensor:
        """Make a tensor of the exchange's own."""
        outer, self.tape.operator = self.tape.operator, self.operator
        made = self.tape.new(1, elements, dtype, what, "buffers")
        self.tape.operator = outer
        return made


def arrived(layer: Layer) -> Arrived:
    """Return the weights of a layer whose whole gradients wait to be handed out."""
    return [
        (p, leaf)
        for p in layer.parameters
        if isinstance(leaf := layer.weights[p.name].node, Leaf) and leaf.whole is not None
    ]
