"""How a training method stores a weight, which part of it trains, and how it runs a linear."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import floor, prod
from types import MappingProxyType

from ...errors import ConfigError, shown
from ...trainers import TRAINERS
from .. import ops
from ..architecture import Architecture, LayerRun, Shape
from ..settings import Settings
from ..sharding.sharding import Sharding
from ..tape import BFLOAT16, DTYPES, FLOAT32, INT8, NF4, DType, Tensor
from .expert_targets import expert_targets, named_targets
from .parameter import Parameter, as_matrix, stacked
from .quantized import quantized
from .targets import Matches, nothing, osft_target, target

Weights = Mapping[str, Tensor]


class Full:
    """Full fine-tuning (`sft`): every weight is stored as it is and trains."""

    trains_base = True

    def __init__(self, settings: Settings) -> None:
        self.dtype = DTYPES[settings.param_dtype]

    def parameters(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the tensors that stand for the weight `name`."""
        matrix, stack = as_matrix(shape), stacked(shape)
        return [Parameter(name, *matrix, self.dtype, self.trains_base, stack)]

    def weight(self, weights: Weights, name: str) -> Tensor:
        """Return the weight `name` as operators use it."""
        return weights[name]

    def linear(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        """Run the linear `name` on x."""
        weight, bias = self.weight(weights, f"{name}.weight"), weights.get(f"{name}.bias")
        if bias is not None and weight.is_view:
            return ops.add_bias(ops.linear(x, weight), bias)
        return ops.linear(x, weight, bias)


class LoRA(Full):
    """A frozen base with two small trainable matrices beside each targeted linear (PEFT)."""

    trains_base = False

    def __init__(
        self,
        settings: Settings,
        is_target: Matches,
        expert_targets: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().__init__(settings)
        self.expert_targets = expert_targets
        self.rank = settings.lora_r
        self.adapter_dtype = DTYPES[settings.lora_dtype]
        self.drops = settings.lora_dropout > 0
        self.dora = settings.use_dora
        self.is_target = is_target

    def parameters(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the base weight and, where it is targeted, its adapter."""
        module = name.removesuffix(".weight")
        base = self.base(name, shape)
        if name in self.expert_targets:
            return [*base, *self.expert_adapter(name, shape)]
        if module == name or not self.is_target(module):
            return base
        outputs, inputs = shape
        dtype = self.adapter_dtype
        adapter = [
            Parameter(f"{module}.lora_A", self.rank, inputs, dtype, True),
            Parameter(f"{module}.lora_B", outputs, self.rank, dtype, True),
        ]
        if self.dora:
            adapter.append(Parameter(f"{module}.lora_magnitude", 1, outputs, dtype, True))
        return [*base, *adapter]

    def expert_adapter(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the adapter of a stacked parameter: the adapters of all experts in one."""
        *experts, outputs, inputs = shape
        rank = self.rank * self.expert_targets[name] * prod(experts)
        return [
            Parameter(f"{name}.lora_A", rank, inputs, self.adapter_dtype, True),
            Parameter(f"{name}.lora_B", outputs, rank, self.adapter_dtype, True),
        ]

    def weight(self, weights: Weights, name: str) -> Tensor:
        """Return a weight; one with an adapter of its own is the sum of both, as a new tensor."""
        down = weights.get(f"{name}.lora_A")
        if down is None:
            return weights[name]
        return ops.adapted_weight(weights[name], down, weights[f"{name}.lora_B"])

    def base(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the tensors that hold the frozen weight."""
        return super().parameters(name, shape)

    def run_base(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        """Run the frozen linear."""
        return super().linear(weights, name, x)

    def linear(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        """Run the base, and add the adapter's share in the base's dtype."""
        result = self.run_base(weights, name, x)
        down = weights.get(f"{name}.lora_A")
        if down is None:
            return result
        up = weights[f"{name}.lora_B"]
        dtype = result.dtype
        x = ops.to(x, down.dtype, "input in the adapter's dtype")
        if self.dora:
            share = self.dora_share(weights, name, x, result)
            result = ops.add(result, share)
        else:
            dropped = ops.dropout(x) if self.drops else x
            result = ops.add(result, ops.scale(ops.linear(ops.linear(dropped, down), up)))
        return ops.to(result, dtype)

    def dora_share(self, weights: Weights, name: str, x: Tensor, result: Tensor) -> Tensor:
        """Return what DoRA adds: the adapter's share and the base's, scaled by a magnitude.

        The norm it divides by takes the adapter as a matrix (made by running it on an
        identity) and the base in the adapter's dtype; both are there until the share is.
        """
        tape = x.tape
        down, up = weights[f"{name}.lora_A"], weights[f"{name}.lora_B"]
        outputs, inputs = up.rows, down.width
        identity = tape.new(inputs, inputs, down.dtype, "identity")
        for weight in (down, up):
            ops.cast_weight(weight)  # autocast's copies are used again below, with gradients
        recording, tape.recording = tape.recording, False
        cast = ops.to(identity, tape.autocast) if tape.autocast else identity
        narrow = ops.linear(cast, down)
        graph = (cast, narrow) if recording else None
        del cast
        adapter = ops.linear(narrow, up, what="adapter as a matrix")
        tape.recording = recording  # its graph is dropped with it, before backward
        del identity, narrow
        adapter = ops.to(ops.detach(adapter), x.dtype)
        base = weights[f"{name}.weight"]
        if base.dtype is not x.dtype:
            base = tape.new(outputs, inputs, x.dtype, "base in the adapter's dtype", "buffers")
        scaled = tape.new(outputs, inputs, x.dtype, "adapter scaled")
        total = tape.new(outputs, inputs, x.dtype, "base and adapter")
        del scaled
        norm = tape.new(1, outputs, x.dtype, "norm of each row")
        del total
        magnitude = ops.divide(weights[f"{name}.lora_magnitude"], norm)
        if self.drops:  # the base runs again, on what dropout left
            x = ops.dropout(x)
        elif f"{name}.bias" in weights:  # which is no part of what is scaled
            result = ops.add(result, weights[f"{name}.bias"])
        low = ops.linear(ops.linear(x, down), up)
        if self.drops:
            frozen = Tensor(tape, outputs, inputs, x.dtype, base.storage)
            result = ops.linear(x, frozen)
        share = ops.add(ops.mul(result, ops.scale(magnitude)), ops.scale(ops.mul(low, magnitude)))
        del graph, adapter, base
        return share


class QLoRA(LoRA):
    """LoRA on a base whose linears are stored in few bits and dequantised as they run."""

    def __init__(
        self,
        settings: Settings,
        sharding: Sharding,
        is_target: Matches,
        expert_targets: Mapping[str, int],
        is_linear: Matches,
        quantization: str,
    ) -> None:
        super().__init__(settings, is_target, expert_targets)
        self.is_linear = is_linear
        self.quantization = quantization
        self.double = settings.bnb_4bit_use_double_quant
        trainer = TRAINERS[settings.trainer]
        self.shards_scales = quantization != "nf4" or trainer.shards_quantization_scales
        self.compute_dtype = BFLOAT16
        if trainer.upcasts_quantized_base and sharding.parameters == 1:
            self.dtype = FLOAT32

    def base(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the packed weight and its scales; what is no linear is not quantised."""
        module = name.removesuffix(".weight")
        if module == name or not self.is_linear(module):
            return super().base(name, shape)
        matrix = as_matrix(shape)
        return [*quantized(self.quantization, name, *matrix, self.double, self.shards_scales)]

    def linear(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        """Run the base and add the adapter's share, as PEFT does over a quantised linear.

        Under autocast it leaves the casts to that, where over a plain linear it casts first
        (peft/tuners/lora/bnb.py); it copies what a 4-bit product gave.
        """
        packed, down = weights[f"{name}.weight"], weights.get(f"{name}.lora_A")
        if down is None or self.dora or packed.dtype in DTYPES.values():
            return super().linear(weights, name, x)
        result = self.run_base(weights, name, x)
        if packed.dtype is NF4:
            result = ops.contiguous(result)
        if x.tape.autocast is None:
            x = ops.to(x, down.dtype, "input in the adapter's dtype")
        dropped = ops.dropout(x) if self.drops else x
        share = ops.scale(ops.linear(ops.linear(dropped, down), weights[f"{name}.lora_B"]))
        if x.tape.autocast is None:
            share = ops.to(share, result.dtype)
        return ops.add(result, share)

    def run_base(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        """Run a quantised linear in the compute dtype, on its dequantised weight."""
        packed = weights[f"{name}.weight"]
        if packed.dtype in DTYPES.values():
            return super().run_base(weights, name, x)
        if packed.dtype is INT8:
            return ops.int8_linear(x, packed.rows, packed.width)
        dtype = x.dtype
        x = ops.to(x, self.compute_dtype, "input in the compute dtype")
        out = ops.quantized_linear(x, packed.rows, packed.width)
        return ops.to(out, dtype)


class OSFT(Full):
    """Orthogonal subspace fine-tuning: U, S, V of each target; the low directions train.

    mini-trainer, ``osft_utils.py``: `create_svd_dict`, `_factorized_linear`.
    """

    def __init__(self, settings: Settings, is_target: Matches) -> None:
        super().__init__(settings)
        # mini-trainer takes a rank ratio of 0 (everything unfrozen) for "not given", which is half
        self.rank_ratio = (1 - settings.unfreeze_rank_ratio) or 0.5
        self.is_target = is_target

    def parameters(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the frozen high and trainable low factors of a target."""
        module = name.removesuffix(".weight")
        if module == name or not self.is_target(module):
            return super().parameters(name, shape)
        return [*factors(module, *shape, self.rank_ratio, self.dtype)]

    def linear(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        """Run both halves of the factorised linear and add them."""
        if f"{name}.V_low" not in weights:
            return super().linear(weights, name, x)
        low = self.half(weights, name, "low", x)
        if f"{name}.V_high" in weights:
            low = ops.add(self.half(weights, name, "high", x), low)
        bias = weights.get(f"{name}.bias")
        return ops.add_bias(low, bias) if bias is not None else low

    @staticmethod
    def half(weights: Weights, name: str, part: str, x: Tensor) -> Tensor:
        """Return ``(x @ V.T * S) @ U.T`` of one half."""
        down = ops.linear(x, ops.view_of(weights[f"{name}.V_{part}"]), what="projected input")
        scaled = ops.mul(down, weights[f"{name}.S_{part}"])
        del down
        return ops.linear(scaled, ops.view_of(weights[f"{name}.U_{part}"]))


@lru_cache(maxsize=4096)
def factors(
    module: str, outputs: int, inputs: int, rank_ratio: float, dtype: DType
) -> tuple[Parameter, ...]:
    """Return U, S and V of the high and of the low directions of a target."""
    rank = min(outputs, inputs)
    high = min(floor(rank * rank_ratio), rank - 1)
    return tuple(
        Parameter(f"{module}.{factor}_{part}", rows, width, dtype, part == "low")
        for part, k in (("high", high), ("low", rank - high))
        if k
        for factor, rows, width in (("U", outputs, k), ("S", 1, k), ("V", k, inputs))
    )


Method = Full


#: Quantised checkpoints whose weights take no gradient; fp8 and mxfp4 ones are dequantised.
PACKED = {"nf4", "int8", "gptq", "awq"}


def method_for(
    settings: Settings,
    sharding: Sharding,
    architecture: Architecture,
    run: LayerRun | None = None,
) -> Method:
    """Return the method of a run for some layers, or for what lies outside the layers.

    LoRA on a checkpoint that is quantised already is QLoRA.
    """
    method, stored = settings.training_method, architecture.quantization
    if method in ("sft", "osft") and stored in PACKED:
        raise ConfigError(
            f"{settings.model_path} is stored as {stored}, which cannot be trained whole: "
            f"choose lora or qlora, or the model it was quantised from."
        )
    if method == "sft":
        return Full(settings)
    if method == "osft":
        return OSFT(settings, osft_target(architecture, run) if run else nothing)
    is_target = target(settings, architecture, run) if run else nothing
    experts = expert_targets(settings, architecture, run) if run else {}
    if method == "lora" and stored not in PACKED:
        return LoRA(settings, is_target, experts)
    is_linear = (run.linears if run else architecture.tower_linears).__contains__
    return QLoRA(settings, sharding, is_target, experts, is_linear, stored or settings.quantization)


def check_adapters(architecture: Architecture, settings: Settings) -> None:
    """Check that there is a layer to adapt, and one that the rank is not larger than.

    Raises
    ------
    ConfigError
        With what to change.
    """
    targets: dict[str, Shape] = {}
    for run in architecture.layers:
        adapted = filter(target(settings, architecture, run), run.linears)
        targets |= {name: run.oriented[f"{name}.weight"] for name in adapted}
        experts = expert_targets(settings, architecture, run)
        targets |= {name: run.oriented[name][-2:] for name in experts}
    if not targets:
        names = sorted({name for run in architecture.layers for name in run.linears})
        wanted = named_targets(settings, architecture)
        raise ConfigError(
            f"target_modules = {shown(wanted)} matches no linear layer of "
            f"{settings.model_path}, which has {', '.join(names)}."
        )
    widest, shape = max(targets.items(), key=lambda found: min(found[1]))
    if settings.lora_r > min(shape):
        outputs, inputs = shape
        raise ConfigError(
            f"lora_r = {settings.lora_r:,} is larger than {widest} ({outputs:,} × {inputs:,}): "
            f"take at most {min(shape):,}."
        )
