"""The weights of one layer as a method stores them, and the operators that use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import ops
from .methods.full import Method
from .methods.optimizers import temporaries
from .methods.parameter import Parameter, Shape
from .settings import Settings
from .sharding.sharding import Sharding
from .tape import DTYPES, FLOAT32, DType, Leaf, Tape, Tensor


def has_compute_dtype(p: Parameter) -> bool:
    """Whether it is unsharded in the compute dtype: packed weights and their scales never are."""
    return p.sharded and p.dtype.name in DTYPES


def stored(method: Method, sharding: Sharding, name: str, shape: Shape) -> list[Parameter]:
    """Return the tensors that stand for a weight, unsharded."""
    parameters, compute = method.parameters(name, shape), sharding.compute
    if sharding.upcasts_trained:
        return [p._replace(dtype=FLOAT32) if p.trainable else p for p in parameters]
    if not sharding.masters or compute is None:
        return parameters
    return [p._replace(dtype=compute) if has_compute_dtype(p) else p for p in parameters]


class Layer:
    """One layer (or what lies outside the layers), ready to run.

    Parameters
    ----------
    leaf_of : callable
        Makes the leaf of a trainable weight, from the layer, the weight and what an optimizer that
        updates it in backward makes (`Communication.leaf`).

    Attributes
    ----------
    parameters : list of Parameter
        Every stored tensor, unsharded.
    weights : dict of str to Tensor
        The same by name, as the operators see them: unsharded, in the dtype they are used in.
    copies : int
        How many layers it stands for.
    unsharded : Tensor or None
        The memory of its unsharded weights, where they are sharded until it runs.
    until_used : dict of str to Tensor
        What is there until a linear of this name runs.
    input_takes_gradient : bool
        Whether backward goes on below it.
    """

    def __init__(
        self,
        tape: Tape,
        settings: Settings,
        sharding: Sharding,
        method: Method,
        weights: Mapping[str, Shape],
        leaf_of: Callable[[Layer, Parameter, tuple[DType, ...] | None], Leaf],
    ) -> None:
        self.tape = tape
        self.method = method
        self.parameters = [
            parameter
            for name, shape in weights.items()
            for parameter in stored(method, sharding, name, shape)
        ]
        self.weights: dict[str, Tensor] = {}
        self.copies = 1
        self.unsharded: Tensor | None = None
        self.until_used: dict[str, Tensor] = {}
        self.input_takes_gradient = True
        self.liger = settings.use_liger
        for p in self.parameters:
            computed = has_compute_dtype(p) and sharding.compute
            leaf = None
            if p.trainable:
                in_backward = settings.optimizer_in_backward
                made = temporaries(settings.optim, p.dtype) if in_backward else None
                leaf = leaf_of(self, p, made)
            self.weights[p.name] = Tensor(tape, p.rows, p.width, computed or p.dtype, None, leaf)

    def begin(self, operator: str) -> str:
        """Name what runs from here on; return what ran before."""
        outer, self.tape.operator = self.tape.operator, operator
        self.until_used.pop(operator, None)
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

    def experts(self, name: str) -> Tensor:
        """Return the stacked weights of experts as the method has a grouped product take them."""
        outer = self.begin(name)
        out = self.method.experts(self.weights, name)
        self.end(outer)
        return out

    def embedding(self, name: str, tokens: Tensor) -> Tensor:
        """Look up rows of the table `name` as the method does."""
        outer = self.begin(name)
        out = self.method.embedding(self.weights, name, tokens)
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
