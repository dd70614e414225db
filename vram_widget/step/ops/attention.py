"""Attention that never makes the length x length scores, and the kernels' scratch."""

from __future__ import annotations

from ..tape import FLOAT32, Gradients, Tensor
from .elementwise import to
from .recorded import detach

#: Flash attention's backward rounds a sequence up to this many rows, and a head to so many features
#: (to twice as many if it has over 128): ``mha_bwd`` in flash_api.cpp, of flash-attn 2 and of
#: aten/src/ATen/native/transformers/cuda/flash_attn.
FLASH_ROWS, FLASH_WIDTH = 128, 32

#: The widest head whose result the memory-efficient kernel holds in registers: 64x128_rf is the
#: widest of its forward kernels that does (aten/src/ATen/native/transformers/cuda/
#: mem_eff_attention/kernels/cutlassF.h).
EFFICIENT_REGISTERS = 128

#: The widest head that flash attention takes.
FLASH_WIDEST = 256


def rounded_up(number: int, multiple: int) -> int:
    """Return the smallest multiple that is no less than `number`."""
    return -(-number // multiple) * multiple


def efficient_block(width: int, in_float32: bool) -> int:
    """Return the rows and features of a block of the memory-efficient kernel's backward.

    From compute capability 8.0 on: 128x64_k96 and 128x128_k128 have 128, others 64
    (mem_eff_attention/kernels/cutlassB.h).
    """
    return 128 if 64 < width <= 128 and not in_float32 else 64


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, length: int, mask: Tensor | None = None
) -> Tensor:
    """Flash or memory-efficient attention: never makes the length x length scores.

    Keeps q, k, v, out, the logsumexp of each row, and the mask as numbers where there is one.
    """
    tape = q.tape
    if tape.autocast is not None:
        q, k, v = (to(x, tape.autocast, "in the compute dtype") for x in (q, k, v))
    dtype, rows = q.dtype, q.rows
    bias = None if mask is None else tape.new(rows, length, dtype, "mask as numbers")
    width = q.width // heads
    value_width = v.width // (k.width // width)
    flash = mask is None and dtype is not FLOAT32 and width == value_width <= FLASH_WIDEST
    out = tape.new(rows, heads * value_width, dtype, "attention")
    logsumexp = tape.new(rows, heads, FLOAT32, "logsumexp")
    if not flash and dtype is not FLOAT32 and value_width > EFFICIENT_REGISTERS:
        # kNeedsOutputAccumulatorBuffer in mem_eff_attention/kernel_forward.h
        scratch = tape.new(rows, heads * value_width, FLOAT32, "attention in float32")
        del scratch
    flops = 2.0 * rows * length * q.width  # two products, half of each masked away
    tape.work(flops)
    if tape.recording and not (q.node is k.node is v.node is None):
        saved = q, k, v, detach(out), logsumexp, bias
        backward_scratch = _flash_scratch if flash else _efficient_scratch

        def backward(grad: Tensor) -> Gradients:
            tape.work(2.5 * flops)
            gradients = tuple(
                tape.new(x.rows, x.width, dtype, "gradient") for x in (saved[0], saved[1], saved[2])
            )
            backward_scratch(saved[0], saved[1], heads, length)
            return gradients

        tape.record(out, (q.node, k.node, v.node), backward)
    return out


def _flash_scratch(q: Tensor, k: Tensor, heads: int, length: int) -> None:
    """Make and drop what ``mha_bwd`` does (flash_api.cpp).

    The queries' gradient is summed in float32, the dot product of each row is kept, and where heads
    are grouped, keys and values get a gradient for each query head first.
    """
    new, width = q.tape.new, q.width // heads
    rows = -(-q.rows // length) * rounded_up(length, FLASH_ROWS)
    wide = rounded_up(width, FLASH_WIDTH if width <= 128 else 2 * FLASH_WIDTH)
    scratch = [
        new(rows, heads, FLOAT32, "dot products"),
        new(rows, heads * wide, FLOAT32, "gradient of the queries in float32"),
    ]
    if k.width < q.width:
        scratch += [new(q.rows, q.width, q.dtype, "gradient of each head") for _ in range(2)]


def _efficient_scratch(q: Tensor, k: Tensor, heads: int, length: int) -> None:
    """Make and drop what ``_efficient_attention_backward`` does (attention_backward.cu)."""
    new, width = q.tape.new, q.width // heads
    block = efficient_block(width, q.dtype is FLOAT32)
    rows = -(-q.rows // length) * rounded_up(length, block)
    scratch = (
        new(q.rows, heads, FLOAT32, "dot products"),
        new(rows, heads * rounded_up(width, block), FLOAT32, "gradient of the queries in float32"),
    )
    del scratch
