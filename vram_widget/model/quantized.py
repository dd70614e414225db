"""How a checkpoint's weights are stored, and the weights that its stored tensors stand for."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from ..step.methods.parameter import Shape
from .checkpoint import Tensor

#: What a stored tensor stands for: a shape, or where packing hid it the number of elements.
Logical = Shape | int

#: How config.json's ``quantization_config`` calls what this package calls otherwise.
METHODS = {
    "gptq": "gptq",
    "awq": "awq",
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "mxfp4": "mxfp4",
}

#: Endings of stored tensors that only one way of storing has. GPTQ and AWQ share ``qweight``.
_MARKS = {
    ".quant_state.bitsandbytes__nf4": "nf4",
    ".quant_state.bitsandbytes__fp4": "nf4",
    ".SCB": "int8",
    ".g_idx": "gptq",
    ".weight_scale_inv": "fp8",
}

#: Endings of tensors beside a quantised weight: scales, zero points, code books.
_BESIDE = (
    *(".absmax", ".nested_absmax", ".quant_map", ".nested_quant_map"),
    *(".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"),
    *(".SCB", ".weight_format", ".qzeros", ".scales", ".g_idx"),
    *(".weight_scale", "_scale_inv", ".weight_scale_2", ".weight_zero_point", ".weight_shape"),
    *(".weight_g_idx", ".weight_global_scale", ".input_scale", ".input_global_scale"),
    *(".activation_scale", ".k_scale", ".v_scale"),
)


def recognise(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[str | None, str | None]:
    """Return how the weights are stored, and a notice where that is not understood.

    The tensors' own names and dtypes decide; config.json decides where they leave it open.

    Returns
    -------
    quantization : str or None
        nf4, int8, gptq, awq, fp8, mxfp4, or None: not quantised.
    notice : str or None

    Examples
    --------
    >>> recognise({}, {"q_proj.weight": ((64, 64), "I8"), "q_proj.SCB": ((64,), "F32")})
    ('int8', None)
    """
    found = _from_tensors(tensors)
    if found:
        return found, None
    said = config.get("quantization_config")
    if not isinstance(said, Mapping):
        return None, None
    method = str(said.get("quant_method", "")).lower()
    if method in ("bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit", ""):
        if said.get("load_in_4bit"):
            return "nf4", None
        if said.get("load_in_8bit"):
            return "int8", None
    if method in METHODS:
        return METHODS[method], None
    return None, f"How it is quantised ({method[:40]!r}) is not known; it is counted unquantised."


def _from_tensors(tensors: Mapping[str, Tensor]) -> str | None:
    packed, endings = None, tuple(_MARKS)
    for name, (shape, dtype) in tensors.items():
        if name.endswith(endings):
            return next(kind for ending, kind in _MARKS.items() if name.endswith(ending))
        if name.endswith((".qweight", ".weight_packed")) and len(shape) == 2:
            packed = packed or _packed_by(name, shape, tensors)
        elif dtype.startswith("F8_E4M3") and name.endswith("weight"):
            packed = packed or "fp8"
        elif dtype == "U8" and name.endswith("_blocks"):
            packed = packed or "mxfp4"
    return packed


def _packed_by(name: str, shape: Shape, tensors: Mapping[str, Tensor]) -> str:
    """Distinguish GPTQ, which packs along the inputs, from AWQ, which packs along the outputs."""
    scales = tensors.get(name.removesuffix("qweight") + "scales", ((), ""))[0]
    return "awq" if len(scales) == 2 and scales[-1] > shape[-1] else "gptq"


def logical(
    tensors: Mapping[str, Tensor], quantization: str | None, config: Mapping[str, Any]
) -> dict[str, Logical]:
    """Return the weights that stored tensors stand for, by the names a module gives them.

    Parameters
    ----------
    tensors : mapping
        As in the safetensors headers.
    quantization : str or None
        As `recognise` found it.
    config : mapping
        config.json, for the bits a packed weight has.

    Returns
    -------
    dict of str to (tuple of int, or int)
        Shapes as ``torch.nn`` modules have them; the number of elements where the header does
        not give the shape (NF4).

    Examples
    --------
    >>> logical({"q_proj.qweight": ((8, 64), "I32"), "q_proj.g_idx": ((64,), "I32")}, "gptq", {})
    {'q_proj.weight': (64, 64)}
    """
    if quantization is None:
        return {name: shape for name, (shape, _) in tensors.items()}
    beside = (*_BESIDE, "_scales") if quantization == "mxfp4" else _BESIDE
    bits = _bits(config)
    weights: dict[str, Logical] = {}
    for name, tensor in tensors.items():
        if name.endswith(beside):
            continue
        weight, shape = _stands_for(name, tensor, tensors, quantization, bits)
        weights[weight] = shape
    return weights


def _stands_for(
    name: str,
    tensor: Tensor,
    tensors: Mapping[str, Tensor],
    quantization: str,
    bits: int,
) -> tuple[str, Logical]:
    """Return the weight that one stored tensor stands for."""
    shape, dtype = tensor
    stem, _, kind = name.rpartition(".")
    if kind == "qweight" and len(shape) == 2:
        # int32 words: AWQ packs along the outputs, GPTQ along the inputs; both are transposed.
        if quantization == "awq":
            return f"{stem}.weight", (shape[1] * 32 // bits, shape[0])
        order = tensors.get(f"{stem}.g_idx", ((shape[0] * 32 // bits,), ""))[0]
        return f"{stem}.weight", (shape[1], *order[:1])
    if kind == "weight_packed" and len(shape) == 2:
        # compressed-tensors: int32 words (or bytes, of fp4) along the inputs, not transposed.
        return f"{stem}.weight", (shape[0], shape[1] * (2 if dtype == "U8" else 32 // bits))
    if kind.endswith("_blocks") and dtype == "U8" and len(shape) == 4:
        # MXFP4: blocks of 32 elements in 16 bytes along the inputs; the module transposes.
        experts, rows, blocks, width = shape
        return name.removesuffix("_blocks"), (experts, blocks * width * 2, rows)
    if dtype == "U8" and f"{name}.absmax" in tensors:
        # NF4: two elements a byte in one column; the shape is in the data, not in the header.
        return name, 2 * prod(shape)
    return name, shape


def _bits(config: Mapping[str, Any]) -> int:
    said = config.get("quantization_config")
    bits = said.get("bits") if isinstance(said, Mapping) else None
    return bits if bits in (2, 3, 4, 8) else 4
