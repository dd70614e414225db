"""A result in words: the same on the screen, in print and in a repr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..units import gib, quantity
from .palette import PALETTE, PHASE_LABELS

if TYPE_CHECKING:
    from ..config import TrainingConfig
    from ..estimate.estimate import MemoryEstimate

VERDICTS = {
    "fits": "Fits",
    "likely": "Likely fits",
    "risky": "Risky",
    "does_not_fit": "Does not fit",
}


def verdict(estimate: MemoryEstimate) -> str:
    """Return the verdict, such as "Fits: 27.9 of 48.0 GiB on each GPU".

    Where it is a near thing, also what a process can have of the card, as the verdict turns on it.
    """
    amounts = f"{gib(estimate.expected)} of {gib(estimate.capacity)} GiB on each GPU"
    near = estimate.verdict in ("likely", "risky")
    usable = f", {gib(estimate.gpu.usable)} usable" if near else ""
    return f"{VERDICTS[estimate.verdict]}: {amounts}{usable}"


def band(estimate: MemoryEstimate) -> str:
    """Return the range of the estimate, such as "25.4–33.0"."""
    return f"{gib(estimate.low)}–{gib(estimate.high)}"


def title(config: TrainingConfig) -> str:
    """Return the model's name without its owner or folder."""
    path: str = config.model_path
    return path.rstrip("/").rsplit("/", 1)[-1] or path


def setup(estimate: MemoryEstimate) -> str:
    """Return method and hardware, such as "LoRA, rank 16 · 2 × L40S"."""
    return f"{method(estimate.config)} · {estimate.config.num_gpus} × {estimate.gpu.name}"


def method(config: TrainingConfig) -> str:
    """Return the method with the one number that describes it."""
    if config.training_method == "osft":
        return f"OSFT, ratio {config.unfreeze_rank_ratio:g}"
    if config.training_method == "sft":
        return "full fine-tuning"
    name = "QLoRA" if config.training_method == "qlora" else "LoRA"
    return f"{name}, rank {config.lora_r}"


def model(estimate: MemoryEstimate) -> str:
    """Return the model's size and kind, and on a second line what is trained if not all."""
    shape = estimate.architecture
    total, trained = estimate.num_parameters, estimate.num_trainable
    line = f"{quantity(total)} parameters · {shape.model_type} · {shape.num_hidden_layers} layers"
    if trained == total:
        return line
    return f"{line}\n{quantity(trained)} trained ({100 * trained / total:.2g} %)"


def batch(config: TrainingConfig) -> str:
    """Return what a pass and an optimizer step hold."""
    sequences = max(config.tokens // config.max_seq_len, 1)
    together = sequences * config.gradient_accumulation_steps * config.num_gpus
    return f"{config.tokens:,} tokens a pass · effective batch {together:,}"


def moment(phase: str, step: int) -> str:
    """Return a moment of the timeline, such as "loss, step 2"."""
    return f"{PHASE_LABELS[phase]}, step {step}" if step else PHASE_LABELS[phase]


def peak(estimate: MemoryEstimate) -> str:
    """Return the peak's size and moment, such as "peak 40.1 GiB · loss, step 2"."""
    return f"peak {gib(estimate.expected)} GiB · {moment(estimate.peak_phase, estimate.peak_step)}"


def summary(estimate: MemoryEstimate) -> str:
    """Return the whole result as a few lines of plain text."""
    lines = [
        f"{title(estimate.config)} · {setup(estimate)}",
        f"{verdict(estimate)} ({band(estimate)}), {peak(estimate)}",
    ]
    notes = estimate.notes
    for component, nbytes in estimate.components.items():
        note = notes.get(component, "")
        lines.append(f"  {PALETTE[component].label:<12}{gib(nbytes):>6} GiB  {note}".rstrip())
    return "\n".join([*lines, *estimate.notices])
