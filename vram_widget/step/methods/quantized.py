"""How a quantised linear is stored, by scheme."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ..tape import FLOAT16, FLOAT32, FP8, INT4, INT8, MXFP4, NF4, UINT8
from .parameter import Parameter

Stored = Callable[[str, int, int, bool], list[Parameter]]

#: bitsandbytes, functional.quantize_4bit: weights that share one scale.
NF4_BLOCK = 64
#: The same for the scales, where they are quantised too (compress_statistics).
SCALE_BLOCK = 256


def nf4(name: str, rows: int, width: int, double: bool) -> list[Parameter]:
    """NF4 of bitsandbytes: two weights a byte, a scale a block, and a code book of 16."""
    blocks = -(-rows * width // NF4_BLOCK)
    stored = [
        Parameter(name, rows, width, NF4, False),
        Parameter(f"{name}.quant_map", 1, 16, FLOAT32, False),
    ]
    if not double:
        return [*stored, Parameter(f"{name}.absmax", 1, blocks, FLOAT32, False)]
    return [
        *stored,
        Parameter(f"{name}.absmax", 1, blocks, UINT8, False),
        Parameter(f"{name}.nested_absmax", 1, -(-blocks // SCALE_BLOCK), FLOAT32, False),
        Parameter(f"{name}.nested_quant_map", 1, 256, FLOAT32, False),
        Parameter(f"{name}.nested_offset", 1, 1, FLOAT32, False),
    ]


def int8(name: str, rows: int, width: int, double: bool) -> list[Parameter]:
    """LLM.int8 of bitsandbytes: a byte a weight and a scale a row."""
    return [
        Parameter(name, rows, width, INT8, False),
        Parameter(f"{name}.SCB", 1, rows, FLOAT32, False),
    ]


def grouped_4bit(name: str, rows: int, width: int, double: bool) -> list[Parameter]:
    """GPTQ and AWQ: two weights a byte, a 16-bit scale and a 4-bit zero for each group of 128."""
    groups = -(-width // 128)
    return [
        Parameter(name, rows, width, INT4, False),
        Parameter(f"{name}.scales", rows, groups, FLOAT16, False),
        Parameter(f"{name}.qzeros", rows, groups, INT4, False),
    ]


def fp8(name: str, rows: int, width: int, double: bool) -> list[Parameter]:
    """FP8 checkpoints: a byte a weight, a float32 scale for each block of 128 x 128."""
    return [
        Parameter(name, rows, width, FP8, False),
        Parameter(f"{name}_scale_inv", -(-rows // 128), -(-width // 128), FLOAT32, False),
    ]


def mxfp4(name: str, rows: int, width: int, double: bool) -> list[Parameter]:
    """MXFP4 (OCP microscaling): two weights a byte, a one-byte scale for each 32."""
    return [
        Parameter(name, rows, width, MXFP4, False),
        Parameter(f"{name}_scales", rows, -(-width // 32), UINT8, False),
    ]


#: quantization -> how a linear is stored.
STORED: dict[str, Stored] = {
    "nf4": nf4,
    "int8": int8,
    "gptq": grouped_4bit,
    "awq": grouped_4bit,
    "fp8": fp8,
    "mxfp4": mxfp4,
}


@lru_cache(maxsize=4096)
def quantized(
    quantization: str, name: str, rows: int, width: int, double: bool, shards_scales: bool
) -> tuple[Parameter, ...]:
    """Return the packed weight and its scales, which are the same whatever the batch."""
    packed, *scales = STORED[quantization](name, rows, width, double)
    return packed, *(p._replace(sharded=shards_scales) for p in scales)
