"""The weights of one layer as a method stores them, and the operators that use them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ..config import TrainingConfig
from . import ops
from .architecture import Shape
from .methods.methods import Method
from .methods.optimizers import temporaries
from .methods.parameter import Parameter
from .sharding.communication import Exchange
from .sharding.sharding import Sharding
from .tape import DTYPES, Boundary, Leaf, Tape, Tensor


def computes(p: Parameter) -> bool:
    """Whether it is gathered in the compute dtype: packed weights and their scales never are."""
    return p.divided and p.dtype.name in DTYPES


def stored(method: Method, sharding: Sharding, name: str, shape: Shape) -> list[Parameter]:
    """Return the tensors that stand for a weight on this GPU, whole."""
    parameters, compute = method.parameters(name, shape), sharding.compute
    if not sharding.masters or compute is None:
        return parameters
    return [p._replace(dtype=compute) if computes(p) else p for p in parameters]


class Layer:
    """One layer (or what lies outside the layers), ready to run.

    Attributes
    ----------
    parameters : list of Parameter
        Every stored tensor, whole.
    weights : dict of str to Tensor
        The same by name, as the operators see them: whole, in the dtype they are used in.
    copies : int
        How many layers it stands for.
    whole : Tensor or None
        The memory of its whole weights, where they are gathered only while it runs.
    input_takes_gradient : bool
        Whether backward goes on below it.
    """

    def __init__(
        self,
        tape: Tape,
        method: Method,
        weights: Mapping[str, Shape],
        exchange: Exchange,
        config: TrainingConfig,
    ) -> None:
        self.tape = tape
        self.method = method
        sharding = exchange.sharding
        self.exchange = exchange
        self.parameters = [
            parameter
            for name, shape in weights.items()
            for parameter in stored(method, sharding, name, shape)
        ]
        self.weights: dict[str, Tensor] = {}
        self.copies = 1
        self.whole: Tensor | None = None
        self.input_takes_gradient = True
        self.liger = config.use_liger
        for p in self.parameters:
            computed = computes(p) and sharding.compute
            leaf = None
            if p.trainable:
                steps = config.optimizer_in_backward
                leaf = Leaf(exchange.waits, steps, temporaries(config.optim, p.dtype))
                leaf.owned = exchange.owns_gradients
                if exchange.takes_gradients:
                    leaf.arrives = partial(exchange.arrive, self, p)
            self.weights[p.name] = Tensor(tape, p.rows, p.width, computed or p.dtype, None, leaf)

    def enter(self, x: Tensor) -> None:
        """Make the weights whole before the layer runs on x; after its backward, give them up."""
        self.input_takes_gradient = x.node is not None
        self.exchange.before_forward(self)
        Boundary(self.tape, partial(self.exchange.after_backward, self))

    def leave(self) -> None:
        """Give up the whole weights after the layer has run, until its backward comes."""
        self.exchange.after_forward(self)
        Boundary(self.tape, partial(self.exchange.before_backward, self))

    def begin(self, operator: str) -> str:
        """Name what runs from here on; return what ran before."""
        outer, self.tape.operator = self.tape.operator, operator
        return outer

    def end(self, outer: str) -> None:
        """Go back to what `begin` returned."""
        self.tape.operator = outer

    def has(self, name: str) -> bool:
        """Return whether the layer has a linear of this name, however it is stored."""
        return any(f"{name}.{part}" in self.weights for part in ("weight", "V_low"))

    def weight(self, name: str) -> Tensor:
        """Return the weight `name` as the method has it used."""
        outer = self.begin(name)
        out = self.method.weight(self.weights, name)
        self.end(outer)
        return out

    def linear(self, name: str, x: Tensor, transposes: bool = False) -> Tensor:
        """Run the linear `name` on x as the method does.

        One that `transposes` is written as ``x @ weight.T + bias``.
        """
        outer, weights, weight = self.begin(name), self.weights, f"{name}.weight"
        if transposes and weight in weights:
            weights = {**weights, weight: ops.view_of(weights[weight])}
        out = self.method.linear(weights, name, x)
        self.end(outer)
        return out
