"""Stand-ins for bitsandbytes' quantised linears, whose kernels do not run on fake tensors.

They hold what bitsandbytes 0.50 holds and make what it makes on CUDA: ``Params4bit`` and
``Linear8bitLt`` in bitsandbytes/nn/modules.py, ``MatMul4Bit`` and ``MatMul8bitLt`` in
bitsandbytes/autograd/_functions.py. Outliers, which LLM.int8 multiplies by themselves, are left
out: how many there are depends on the data.
"""

from __future__ import annotations

from math import prod
from typing import Any, cast

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..config import TrainingConfig
from ..errors import ConfigError

Tensor = torch.Tensor

#: Weights that share a scale in NF4, and scales that share a scale when these are quantised too.
WEIGHTS_A_SCALE = 64
SCALES_A_SCALE = 256

COMPUTE_DTYPE = torch.bfloat16


def quantize(model: PreTrainedModel, config: TrainingConfig) -> None:
    """Replace every linear but the lm_head.

    Raises
    ------
    ConfigError
        For a quantisation or a kind of adapter that has no stand-in.
    """
    if config.quantization not in ("nf4", "int8"):
        raise ConfigError(
            f"quantization={config.quantization!r} cannot be traced; trace nf4 or int8."
        )
    if config.use_dora:
        raise ConfigError("DoRA on a quantised model cannot be traced; set use_dora=False.")
    head = model.get_output_embeddings()
    linears = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    ]
    for name, linear in linears:
        if config.quantization == "nf4":
            storage = getattr(torch, config.bnb_4bit_quant_storage)
            stand_in: nn.Module = NF4Linear(linear, config.bnb_4bit_use_double_quant, storage)
        else:
            stand_in = Int8Linear(linear)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, stand_in)
    if config.quantize_moe_experts:
        _quantize_experts(model, config)


def _quantize_experts(model: PreTrainedModel, config: TrainingConfig) -> None:
    """Put a parametrization over the fused experts, as Axolotl does (monkeypatch/moe_quant.py)."""
    if config.quantization != "nf4":
        raise ConfigError("Quantised experts can be traced in NF4 alone; set quantization='nf4'.")
    parametrize._cache_enabled, parametrize._cache = 0, {}
    for name, module in list(model.named_modules()):
        for own, parameter in list(module.named_parameters(recurse=False)):
            if parameter.ndim < 3 or "expert" not in f"{name}.{own}":
                continue
            packed = torch.empty(-(-parameter.numel() // 2), 1, dtype=torch.uint8)
            setattr(module, own, nn.Parameter(packed, requires_grad=False))
            dequantised = NF4Experts(parameter, config.bnb_4bit_use_double_quant)
            parametrize.register_parametrization(module, own, dequantised, unsafe=True)
            module.register_forward_pre_hook(_keep_dequantised)
            module.register_forward_hook(_drop_dequantised)


def _keep_dequantised(*_: object) -> None:
    parametrize._cache_enabled += 1


def _drop_dequantised(*_: object) -> None:
    parametrize._cache_enabled -= 1
    if not parametrize._cache_enabled:
        parametrize._cache = {}


def widths(linear: nn.Linear | Conv1D) -> tuple[int, int]:
    """Return the features that go in and out; GPT-2 stores its linears the other way around."""
    if isinstance(linear, Conv1D):
        return linear.nx, linear.nf
    return linear.in_features, linear.out_features


def register_scales(module: nn.Module, weights: int, double_quant: bool) -> None:
    """Give a module what NF4 keeps beside packed weights: bitsandbytes' ``quant_state``."""
    scales = -(-weights // WEIGHTS_A_SCALE)
    module.register_buffer("quant_map", torch.empty(16))
    if double_quant:
        module.register_buffer("absmax", torch.empty(scales, dtype=torch.uint8))
        module.register_buffer("nested_absmax", torch.empty(-(-scales // SCALES_A_SCALE)))
        module.register_buffer("nested_quant_map", torch.empty(256))
        module.register_buffer("nested_offset", torch.empty(()))
    else:
        module.register_buffer("absmax", torch.empty(scales))


def dequantised_scales(module: nn.Module) -> Tensor:
    """Return a module's scales in float32; those that are quantised too are a tensor more."""
    absmax = cast(Tensor, module.absmax)
    return absmax if absmax.dtype is torch.float32 else absmax.float()


class NF4Linear(nn.Linear):
    """Two weights a byte, a scale for each 64, dequantised for each product."""

    def __init__(
        self, linear: nn.Linear | Conv1D, double_quant: bool, storage: torch.dtype
    ) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = widths(linear)
        self.bias = linear.bias
        weights = linear.weight.numel()
        packed = torch.empty(-(-weights // (2 * storage.itemsize)), 1, dtype=storage)
        self.weight = nn.Parameter(packed, requires_grad=False)
        register_scales(self, weights, double_quant)

    def dequantised(self) -> Tensor:
        """Return the weight in the dtype it is computed in, (out_features, in_features)."""
        scales = dequantised_scales(self)
        weight: Tensor = dequantize_nf4(self.weight, scales, self.out_features, self.in_features)
        return weight

    def forward(self, input: Tensor) -> Tensor:
        """Multiply in the compute dtype; return the input's dtype."""
        bias = None if self.bias is None else self.bias.to(COMPUTE_DTYPE)
        low = input.to(COMPUTE_DTYPE)
        out: Tensor = _NF4Product.apply(low, bias, self)  # type: ignore[no-untyped-call]
        return out.to(input.dtype)


class NF4Experts(nn.Module):
    """Dequantises all experts at once, whenever their weight is read."""

    def __init__(self, experts: nn.Parameter, double_quant: bool) -> None:
        super().__init__()
        self.shape = experts.shape
        register_scales(self, experts.numel(), double_quant)

    @torch.no_grad()
    def forward(self, packed: Tensor) -> Tensor:
        """Return the weights in the compute dtype."""
        *outer, columns = self.shape
        scales = dequantised_scales(self)
        weight: Tensor = dequantize_nf4(packed, scales, prod(outer), columns)
        return weight.view(self.shape)


@torch.library.custom_op("vram_widget::dequantize_nf4", mutates_args=())
def dequantize_nf4(packed: Tensor, scales: Tensor, rows: int, columns: int) -> Tensor:
    """Unpack NF4 weights into the compute dtype; only on fake tensors."""
    raise NotImplementedError("vram_widget traces NF4 and does not compute it")


@dequantize_nf4.register_fake
def _(packed: Tensor, scales: Tensor, rows: int, columns: int) -> Tensor:
    return packed.new_empty(rows, columns, dtype=COMPUTE_DTYPE)


class _NF4Product(torch.autograd.Function):
    """Keeps nothing but the packed weight, which it dequantises once more in backward."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, bias: Tensor | None, layer: NF4Linear) -> Tensor:
        ctx.layer = layer
        return F.linear(input, layer.dequantised(), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return torch.matmul(gradient, ctx.layer.dequantised()), None, None


class Int8Linear(nn.Linear):
    """A byte a weight and a scale a row; the input is quantised as it comes."""

    SCB: Tensor

    def __init__(self, linear: nn.Linear | Conv1D) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = widths(linear)
        self.bias = linear.bias
        packed = torch.empty(self.out_features, self.in_features, dtype=torch.int8)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.register_buffer("SCB", torch.empty(self.out_features))

    def forward(self, input: Tensor) -> Tensor:
        """Multiply in int8, sum in int32, return the input's dtype."""
        out: Tensor = _Int8Product.apply(input, self)  # type: ignore[no-untyped-call]
        return out


class _Int8Product(torch.autograd.Function):
    """Saves its input, and dequantises the weight in backward."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, layer: Int8Linear) -> Tensor:
        ctx.input, ctx.layer = input, layer
        rows = input.reshape(-1, input.shape[-1]).to(torch.float16)
        scales = rows.amax(-1).float()
        quantized = rows.to(torch.int8)
        del rows
        summed = torch._int_mm(quantized, layer.weight.t())
        out = summed.to(input.dtype)
        del scales, summed
        return out.reshape(*input.shape[:-1], layer.out_features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        weight = ctx.layer.weight.to(ctx.input.dtype).mul_(ctx.layer.SCB.unsqueeze(1))
        return torch.matmul(gradient.to(ctx.input.dtype), weight), None


class KBitLora(LoraLinear):
    """LoRA over a quantised linear, as in peft/tuners/lora/bnb.py.

    It differs from LoRA over a plain one in that the adapters' output is cast before it is added,
    and in the copy that PEFT makes of a 4-bit product.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the base's product and the adapters' sum."""
        result: Tensor = self.base_layer(x)
        if isinstance(self.base_layer, NF4Linear):
            result = result.clone()
        (adapter,) = self.active_adapters
        down, up = (cast(nn.Linear, weights[adapter]) for weights in (self.lora_A, self.lora_B))
        casts = not torch.is_autocast_enabled("cpu")
        if casts:
            x = x.to(down.weight.dtype)
        output: Tensor = up(down(self.lora_dropout[adapter](x))) * self.scaling[adapter]
        return result + (output.to(result.dtype) if casts else output)


def adapt(lora: LoraConfig) -> LoraConfig:
    """Let PEFT put `KBitLora` over the stand-ins."""
    lora._register_custom_module({NF4Linear: KBitLora, Int8Linear: KBitLora})
    return lora
