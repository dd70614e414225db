"""QLoRA: LoRA on a base of few bits, as bitsandbytes and PEFT run it."""

from __future__ import annotations

from collections.abc import Mapping

from ...trainers import TRAINERS
from .. import ops
from ..settings import Settings
from ..tape import BFLOAT16, DTYPES, INT8, NF4, Tensor
from .full import Matches, Weights
from .lora import LoRA
from .parameter import Parameter, Shape, as_matrix
from .quantized import quantized


class QLoRA(LoRA):
    """LoRA on a base whose linears are stored in few bits and dequantised as they run."""

    def __init__(
        self,
        settings: Settings,
        is_target: Matches,
        expert_targets: Mapping[str, int],
        is_linear: Matches,
        quantization: str,
        embedding_name: str = "",
        tied_lm_head: str = "",
    ) -> None:
        super().__init__(settings, is_target, expert_targets, embedding_name, tied_lm_head)
        self.is_linear = is_linear
        self.quantization = quantization
        self.double = settings.bnb_4bit_use_double_quant
        self.packs_integers = quantization == "nf4" and settings.bnb_4bit_quant_storage == "uint8"
        trainer = TRAINERS[settings.trainer]
        self.shards_scales = quantization != "nf4" or trainer.shards_quantization_scales
        self.compute_dtype = BFLOAT16
        self.quantizes_experts = settings.quantize_moe_experts and quantization in ("nf4", "int8")
        self.dequantizes_experts_again = trainer.dequantizes_experts_again

    def base(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the packed weight and its scales.

        What is neither a linear nor, where those are quantised, fused experts is stored as it is.
        """
        module = name.removesuffix(".weight")
        experts = self.quantizes_experts and len(shape) > 2 and "expert" in name
        if not experts and (module == name or not self.is_linear(module)):
            return super().base(name, shape)
        matrix = as_matrix(shape)
        stored = quantized(self.quantization, name, *matrix, self.double, self.shards_scales)
        if self.packs_integers and not self.shards_scales:
            # Accelerate ignores such weights (fsdp2_prepare_model in utils/fsdp_utils.py)
            return [p._replace(sharded=False) for p in stored]
        return [*stored]

    def weight(self, weights: Weights, name: str) -> Tensor:
        """Return a weight; quantised experts are dequantised all at once.

        So are those that a parametrization stands for (bitsandbytes/nn/parametrize.py).
        """
        packed = weights[name]
        if packed.dtype in (NF4, INT8):
            whole = packed.tape.new(
                packed.rows, packed.width, self.compute_dtype, "dequantised experts", "buffers"
            )
            weights = {**weights, name: whole}
        return super().weight(weights, name)

    def experts(self, weights: Weights, name: str) -> Tensor:
        """Return the weights of experts: packed, where each product dequantises them itself."""
        if self.dequantizes_experts_again and f"{name}.lora_A" not in weights:
            return weights[name]
        return self.weight(weights, name)

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
