"""What PyTorch runs on an NVIDIA GPU where it would run something else on the CPU.

A trace runs on fake CPU tensors, which every build of PyTorch has. Most operators make and keep
the same tensors on both; those that do not are replaced here, while the mode is active and in its
thread only, by the operators that the CUDA build calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..step.ops.attention import (
    EFFICIENT_REGISTERS,
    FLASH_ROWS,
    FLASH_WIDTH,
    efficient_block,
    rounded_up,
)
from ..step.ops.products import embedding_sums

Tensor = torch.Tensor
aten = torch.ops.aten

HALF = (torch.bfloat16, torch.float16)

#: What CUDA's autocast computes in float32 and the CPU's leaves alone, as far as language models
#: call it: from a float32 copy of the input, or in float32 inside the kernel (AT_FORALL_FP32 and
#: AT_FORALL_FP32_SET_OPT_DTYPE in aten/src/ATen/autocast_mode.h).
AUTOCAST_COPIES = {
    *("exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt", "softplus"),
    *("pow", "__pow__", "__rpow__", "layer_norm", "group_norm", "norm", "logsumexp"),
}
AUTOCAST_INSIDE = {"sum", "prod", "cumsum", "cumprod", "log_softmax", "softmax"}


class CudaKernels(TorchFunctionMode):
    """Calls the operators that PyTorch's CUDA build would call."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call `func`, or what CUDA calls in its place."""
        kwargs = kwargs or {}
        if torch.is_autocast_enabled("cpu"):
            name = getattr(func, "__name__", "")
            if name in AUTOCAST_COPIES:
                args = tuple(arg.float() if _is_half(arg) else arg for arg in args)
            elif name in AUTOCAST_INSIDE and kwargs.get("dtype") is None and _is_half(args[0]):
                kwargs = {**kwargs, "dtype": torch.float32}
        return REPLACED.get(func, func)(*args, **kwargs)


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in HALF


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Choose flash, memory-efficient or plain attention by CUDA's conditions, in its order.

    They are ``can_use_flash_attention`` and ``can_use_mem_efficient_attention`` in
    aten/src/ATen/native/transformers/cuda/sdp_utils.cpp.
    """
    if torch.is_autocast_enabled("cpu"):
        low = torch.get_autocast_dtype("cpu")
        query, key, value = (tensor.to(low) for tensor in (query, key, value))
        if attn_mask is not None and attn_mask.dtype is not torch.bool:
            attn_mask = attn_mask.to(low)
    half = query.dtype in HALF
    width, value_width = query.shape[-1], value.shape[-1]
    aligned = width % (8 if half else 4) == value_width % (8 if half else 4) == 0
    # Unless grouped heads are asked for, the fused kernels want a key head for each query head
    # (check_batch_size_and_num_heads_dense): Falcon 7B hands them one for all.
    fused = enable_gqa or query.shape[1] == key.shape[1] == value.shape[1]
    out: Tensor
    if fused and attn_mask is None and half and width == value_width <= 256:
        if not aligned:
            scale = scale or width**-0.5
            query, key, value = (F.pad(tensor, (0, -width % 8)) for tensor in (query, key, value))
        out = aten._scaled_dot_product_flash_attention(
            query, key, value, dropout_p, is_causal, scale=scale
        )[0]
        return out if aligned else out[..., :width]
    if fused and aligned and not enable_gqa:
        if attn_mask is not None:
            attn_mask = _additive(attn_mask, query)
        trained = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
        out = aten._scaled_dot_product_efficient_attention(
            query, key, value, attn_mask, trained, dropout_p, is_causal, scale=scale
        )[0]
        return out
    with torch.autocast("cpu", enabled=False):  # it ends where an operator is dispatched
        out = aten._scaled_dot_product_attention_math(
            query,
            key,
            value,
            attn_mask,
            dropout_p,
            is_causal,
            None,
            scale=scale,
            enable_gqa=enable_gqa,
        )[0]
    return out


def _additive(mask: Tensor, query: Tensor) -> Tensor:
    """Turn a boolean mask into one that is added, as wide as the kernel's alignment wants it."""
    if mask.dtype is torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(
            mask.logical_not(), -torch.inf
        )
    width = mask.shape[-1]
    if width % 16:
        mask = F.pad(mask, (0, -width % 16))[..., :width]
    return mask.expand(query.shape[0], query.shape[1], query.shape[2], width)


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Keep a one-byte mask, where the CPU keeps one in the input's dtype."""
    if p == 0 or not training:
        return input
    out: Tensor = torch.native_dropout(input, p, training)[0]
    return out


def _softmax(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Go from float16 to float32 inside the kernel, where the CPU makes a copy first.

    For bfloat16 CUDA makes that copy too (``softmax`` in aten/src/ATen/native/SoftMax.cpp asks for
    ``ScalarType::Half``).
    """
    if input.dtype is torch.float16 and dtype is torch.float32:
        out: Tensor = aten._softmax(input, dim, True)
        return out
    return torch.softmax(input, dim, dtype=dtype)


def _functional_softmax(
    input: Tensor, dim: int, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    return _softmax(input, dim, dtype)


def _grouped_mm(
    mat_a: Tensor,
    mat_b: Tensor,
    *,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Multiply the experts of a mixture in float32 too, which CUDA does group by group.

    The stand-in for it on fake tensors only knows bfloat16.
    """
    if mat_a.dtype is torch.bfloat16:
        native: Tensor = torch._grouped_mm(mat_a, mat_b, offs=offs, bias=bias, out_dtype=out_dtype)
        return native
    product: Tensor = _GroupedProduct.apply(mat_a, mat_b, offs)  # type: ignore[no-untyped-call]
    return product


class _GroupedProduct(torch.autograd.Function):
    """Makes and keeps what ``_grouped_mm`` does; without values it need not know the groups."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
        passes, trains, _ = ctx.needs_input_grad
        ctx.save_for_backward(rows if trains else None, matrices if passes else None, ends)
        ctx.layouts = [(tensor.shape, tensor.stride()) for tensor in (rows, matrices)]
        return rows.new_empty(rows.shape[0], matrices.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (
            gradient.new_empty_strided(*layout) if needed else None
            for layout, needed in zip(ctx.layouts, ctx.needs_input_grad, strict=False)
        )
        return *gradients, None


def _softmax_backward(
    gradient: Tensor, result: Tensor, dim: int, input_dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """The product that ``softmax_backward_cuda_out`` makes first (cuda/SoftMax.cu)."""
    return (gradient * result,)


def _flash_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> tuple[Tensor, ...]:
    """What ``mha_bwd`` makes (transformers/cuda/flash_attn/flash_api.cpp, as flash-attn's own).

    The queries' gradient is summed in float32, the dot product of each row is kept, and where heads
    are grouped, keys and values get a gradient for each query head first.
    """
    batch, heads, length, width = query.shape
    rows = batch * heads * rounded_up(length, FLASH_ROWS)
    wide = rounded_up(width, FLASH_WIDTH if width <= 128 else 2 * FLASH_WIDTH)
    made = (_float32(query, rows), _float32(query, rows * wide))
    if key.shape[1] == heads:
        return made
    expanded = batch * heads * key.shape[2] * width
    return *made, query.new_empty(expanded), query.new_empty(expanded)


def _efficient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    logsumexp: bool,
    *_: Any,
    **__: Any,
) -> tuple[Tensor, ...]:
    """The result in float32, where a head is too wide for registers.

    It is ``kNeedsOutputAccumulatorBuffer`` in transformers/cuda/mem_eff_attention/kernel_forward.h.
    """
    if query.dtype is torch.float32 or value.shape[-1] <= EFFICIENT_REGISTERS:
        return ()
    return (_float32(query, query.shape[:-1].numel() * value.shape[-1]),)


def _efficient_backward(gradient: Tensor, query: Tensor, *_: Any, **__: Any) -> tuple[Tensor, ...]:
    """The dot product of each row, and the queries' gradient in float32 in whole blocks.

    They are ``delta`` and ``workspace`` in ``_efficient_attention_backward``
    (transformers/cuda/attention_backward.cu; ``workspace_size`` in kernel_backward.h).
    """
    batch, heads, length, width = query.shape
    block = efficient_block(width, query.dtype is torch.float32)
    accumulated = rounded_up(length, block) * rounded_up(width, block)
    return _float32(query, batch * heads * length), _float32(query, batch * heads * accumulated)


def _embedding_backward(
    gradient: Tensor, indices: Tensor, table: int, *_: Any, **__: Any
) -> tuple[Tensor, ...]:
    """The sums of each token's gradients (``grad_weight_per_segment``)."""
    return (_float32(gradient, embedding_sums(indices.numel(), table) * gradient.shape[-1]),)


def _float32(like: Tensor, elements: int) -> Tensor:
    return like.new_empty(elements, dtype=torch.float32)


#: An operator -> what CUDA's own code for it makes beside the result, and lets go with it.
SCRATCH: dict[Any, Callable[..., tuple[Tensor, ...]]] = {
    aten._softmax_backward_data.default: _softmax_backward,
    aten.embedding_dense_backward.default: _embedding_backward,
    aten._scaled_dot_product_flash_attention_backward.default: _flash_backward,
    aten._scaled_dot_product_efficient_attention.default: _efficient,
    aten._scaled_dot_product_efficient_attention_backward.default: _efficient_backward,
}

REPLACED: dict[Callable[..., Any], Callable[..., Any]] = {
    F.scaled_dot_product_attention: _attention,
    F.dropout: _dropout,
    F.softmax: _functional_softmax,
    torch.softmax: _softmax,
    Tensor.softmax: _softmax,
    torch._grouped_mm: _grouped_mm,
}
