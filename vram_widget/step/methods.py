"""How a training method stores a weight, which part of it trains, and how it runs a linear."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import prod
from typing import NamedTuple

from ..config import TrainingConfig
from ..model.architecture import Architecture, LayerRun, Shape
from . import ops
from .tape import DTYPES, DType, Leaf, Tape, Tensor


class Parameter(NamedTuple):
    """A tensor that holds (part of) a weight: `rows` x `width` elements of `dtype`."""

    name: str
    rows: int
    width: int
    dtype: DType
    trainable: bool


def as_matrix(shape: Shape) -> tuple[int, int]:
    """Return a weight's shape as rows and width."""
    return (prod(shape[:-1]), shape[-1]) if shape else (1, 1)


class Full:
    """Full fine-tuning (`sft`): every weight is stored as it is and trains."""

    trainable = True

    def __init__(self, config: TrainingConfig) -> None:
        self.dtype = DTYPES[config.param_dtype]

    def parameters(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the tensors that stand for the weight `name`."""
        return [Parameter(name, *as_matrix(shape), self.dtype, self.trainable)]

    def linear(self, weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
        """Run the linear `name` on x."""
        return ops.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


class LoRA(Full):
    """A frozen base with two small trainable matrices beside each targeted linear (PEFT)."""

    trainable = False

    def __init__(self, config: TrainingConfig, is_target: Callable[[str], bool]) -> None:
        super().__init__(config)
        self.rank = config.lora_r
        self.adapter_dtype = DTYPES[config.lora_dtype]
        self.drops = config.lora_dropout > 0
        self.is_target = is_target

    def parameters(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the base weight and, where it is targeted, its adapter."""
        base = super().parameters(name, shape)
        module = name.removesuffix(".weight")
        if module == name or not self.is_target(module):
            return base
        outputs, inputs = shape
        return [
            *base,
            Parameter(f"{module}.lora_A", self.rank, inputs, self.adapter_dtype, True),
            Parameter(f"{module}.lora_B", outputs, self.rank, self.adapter_dtype, True),
        ]

    def linear(self, weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
        """Run the base, and add the adapter's share in the base's dtype."""
        result = super().linear(weights, name, x)
        down = weights.get(f"{name}.lora_A")
        if down is None:
            return result
        up = weights[f"{name}.lora_B"]
        dtype = result.dtype
        x = ops.to(x, down.dtype, "input in the adapter's dtype")
        kept = ops.dropout(x) if self.drops else x
        result = ops.add(result, ops.scale(ops.linear(ops.linear(kept, down), up)))
        return ops.to(result, dtype)


Method = Full


def target(config: TrainingConfig, run: LayerRun) -> Callable[[str], bool]:
    """Return the test for the modules of `run` that get an adapter, as PEFT matches them."""
    wanted = config.target_modules
    linears = {
        name.removesuffix(".weight")
        for name, shape in run.weights.items()
        if name.endswith(".weight") and len(shape) == 2
    }
    if wanted == "all-linear":
        return linears.__contains__
    if isinstance(wanted, str):
        pattern = re.compile(wanted)
        return lambda name: name in linears and bool(pattern.fullmatch(f"model.layers.0.{name}"))
    return lambda name: name in linears and any(
        name == end or name.endswith("." + end) for end in wanted
    )


class Layer:
    """The weights of one layer as the method stores them, and the operators that use them."""

    def __init__(self, tape: Tape, method: Method, weights: Mapping[str, Shape]) -> None:
        self.tape = tape
        self.method = method
        self.parameters = [
            parameter for name, shape in weights.items() for parameter in method.parameters(name, shape)
        ]
        self.weights = {
            p.name: Tensor(tape, p.rows, p.width, p.dtype, None, Leaf() if p.trainable else None)
            for p in self.parameters
        }

    def linear(self, name: str, x: Tensor) -> Tensor:
        """Run the linear `name` on x as the method does."""
        outer, self.tape.operator = self.tape.operator, name
        out = self.method.linear(self.weights, name, x)
        self.tape.operator = outer
        return out

    def rms_norm(self, name: str, x: Tensor) -> Tensor:
        """Llama's RMSNorm: computed in float32, scaled by its weight in x's dtype."""
        self.tape.operator = name
        dtype = x.dtype
        x = ops.to(x, ops.FLOAT32, "input in float32")
        variance = ops.mean(ops.square(x))
        x = ops.mul(x, ops.rsqrt(variance), "normed")
        return ops.mul(ops.to(x, dtype, "normed"), self.weights[f"{name}.weight"], "output")


def method_for(config: TrainingConfig, architecture: Architecture, run: LayerRun | None) -> Method:
    if config.training_method == "lora":
        return LoRA(config, target(config, run) if run else lambda name: False)
    return Full(config)


def num_trainable(architecture: Architecture, config: TrainingConfig) -> int:
    """Return how many parameters the method trains."""
    parts = [(1, None, architecture.outside)]
    parts += [(run.count, run, run.weights) for run in architecture.layers]
    total = 0
    for count, run, weights in parts:
        method = method_for(config, architecture, run)
        for name, shape in weights.items():
            for parameter in method.parameters(name, shape):
                if parameter.trainable:
                    total += count * parameter.rows * parameter.width
    return total
