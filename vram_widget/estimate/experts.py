"""Why QLoRA of a mixture of experts can take more than LoRA does: its experts are no linears."""

from __future__ import annotations

from collections.abc import Iterator

from ..step.methods.qlora import QLoRA
from ..step.run import Run
from ..step.tape import DTYPES, FLOAT32
from ..trainers import TRAINERS, Trainer
from ..units import amount


def notices(run: Run) -> Iterator[str]:
    """Yield a sentence where fused experts are not quantised, or do not stay so."""
    settings = run.settings
    stored, nbytes = None, 0
    for group in run.architecture.layers:
        method = run.method(group)
        if not isinstance(method, QLoRA):
            return
        for name, shape in group.oriented.items():
            if len(shape) > 2 and "expert" in name:
                weight = method.base(name, shape)[0]
                stored = weight.dtype
                nbytes += group.count * weight.size * method.compute_dtype.itemsize
    if stored is None:
        return
    trainer = TRAINERS[settings.trainer]
    if stored.name in DTYPES:
        whole = amount(nbytes * stored.itemsize // 2)
        prepared = stored is FLOAT32 and "other" in settings.float32_modules
        cast = ", to which the k-bit preparation casts them" if prepared else ""
        yield (f"The experts stay in {stored.name}{cast}: {whole} of weights. {_who(trainer)}")
    elif not trainer.quantizes_experts:
        yield f"The figure is too low by {trainer.label}. {_who(trainer)}"
    elif trainer.name == "axolotl" and settings.gradient_checkpointing > settings.use_reentrant:
        # the early stop leaves the experts' forward before its hook that empties the cache
        # (bitsandbytes/nn/parametrize.py)
        yield (
            "Without re-entrant checkpointing Axolotl's dequantised experts stay on the card "
            f"from the first backward on: up to {amount(nbytes)} more than is counted."
        )


def _who(trainer: Trainer) -> str:
    """Return who quantises fused experts."""
    if trainer.quantizes_experts:
        return "quantize_moe_experts is off."
    return (
        f"{trainer.label} does not quantise fused experts; Unsloth does, and Axolotl "
        "with quantize_moe_experts."
    )
