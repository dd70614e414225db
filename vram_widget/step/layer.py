"""The weights of one layer as a method stores them, and the operators that use them."""

from __future__ import annotations

from collections.abc import Mapping

from ..config import TrainingConfig
from ..model.architecture import Shape
from .methods import Method
from .parameter import Parameter
from .sharding import Sharding
from .tape import DTYPES, UINT8, Boundary, Leaf, Tape, Tensor


def stored(method: Method, sharding: Sharding, name: str, shape: Shape) -> list[Parameter]:
    """Return the tensors that stand for a weight on this GPU, whole."""
    parameters, compute = method.parameters(name, shape), sharding.compute
    if not sharding.masters or compute is None:
        return parameters
    return [p._replace(dtype=compute) if p.dtype.name in DTYPES else p for p in parameters]


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
    """

    def __init__(
        self,
        tape: Tape,
        method: Method,
        weights: Mapping[str, Shape],
        sharding: Sharding,
        config: TrainingConfig,
    ) -> None:
        self.tape = tape
        self.method = method
        self.sharding = sharding
        self.parameters = [
            parameter
            for name, shape in weights.items()
            for parameter in stored(method, sharding, name, shape)
        ]
        self.weights: dict[str, Tensor] = {}
        self.copies = 1
        self.whole: Tensor | None = None
        self.blocks = 1
        self.liger = config.use_liger
        divided = sharding.gradients > 1 or sharding.parameters_on_host
        for p in self.parameters:
            computed = p.dtype.name in DTYPES and sharding.compute
            leaf = Leaf(divided, config.optimizer_in_backward) if p.trainable else None
            self.weights[p.name] = Tensor(tape, p.rows, p.width, computed or p.dtype, None, leaf)

    def enter(self, ahead: bool = True) -> None:
        """Make the weights whole before the layer runs; after its backward, give them up.

        FSDP makes the next block whole while this one runs (`ahead`): its rate limiter lets two be.
        """
        self.blocks = 2 if ahead else 1
        if self.sharding.gathers:
            self.whole = self._gather()
        Boundary(self.tape, self._end)

    def leave(self) -> None:
        """Give up the whole weights after the layer has run, until its backward comes."""
        if self.sharding.gathers:
            self.whole = None
            Boundary(self.tape, self._begin)

    def _begin(self) -> None:
        self.whole = self._gather()

    def _end(self) -> None:
        self.divide_gradients()
        self.whole = None

    def _gather(self) -> Tensor:
        outer, self.tape.operator = self.tape.operator, "gathered weights"
        nbytes = sum(
            -(-weight.rows * weight.width * weight.dtype.itemsize // weight.dtype.packed)
            for weight in self.weights.values()
        )
        what = "this block and the next" if self.blocks > 1 else "embedding, last norm, lm_head"
        whole = self.tape.new(1, self.blocks * nbytes, UINT8, what, "buffers")
        self.tape.operator = outer
        return whole

    def divide_gradients(self) -> None:
        """Leave this GPU its share of the gradients that have arrived, in the stored dtype."""
        self.tape.operator = "gradients"
        for p in self.parameters:
            leaf = self.weights[p.name].node
            if isinstance(leaf, Leaf) and leaf.whole is not None:
                share = None
                if not self.sharding.parameters_on_host:
                    elements = -(-p.size // self.sharding.gradients)
                    self.tape.operator = p.name
                    share = self.tape.new(1, elements, p.dtype, "gradient", "gradients")
                leaf.grad = leaf.grad or share
                leaf.whole = None

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

    def linear(self, name: str, x: Tensor) -> Tensor:
        """Run the linear `name` on x as the method does."""
        outer = self.begin(name)
        out = self.method.linear(self.weights, name, x)
        self.end(outer)
        return out
