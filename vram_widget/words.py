"""A result in words: the same on the screen, in print and in a repr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .palette import PALETTE, PHASE_LABELS
from .timeline import GiB

if TYPE_CHECKING:
    from .config import TrainingConfig
    from .estimate import MemoryEstimate

VERDICTS = {
    "fits": "Fits",
    "likely": "Likely fits",
    "risky": "Risky",
    "does_not_fit": "Does not fit",
}


#: What a thousand of the one before is called.
UNITS = ("k", "M", "B", "T")


def gib(nbytes: float) -> str:
    """Return bytes in GiB with one decimal.

    Examples
    --------
    >>> gib(40.13 * 1024**3), gib(1024), gib(0), gib(1024**4)
    ('40.1', '<0.1', '0.0', '1,024.0')
    """
    amount = nbytes / GiB
    return "<0.1" if 0 < amount < 0.05 else f"{amount:,.1f}"


def quantity(number: float) -> str:
    """Return a large count in three digits.

    Examples
    --------
    >>> quantity(2_533_539_840), quantity(20_971_520), quantity(960), quantity(999_885_952)
    ('2.53 B', '21.0 M', '960', '1.00 B')
    """
    if number < 1000:
        return f"{number:g}"
    digits, power = f"{number:.2e}".split("e")  # rounded first, as 999.9 M are 1.00 B
    thousands = min(int(power) // 3, len(UNITS))
    places = int(power) - 3 * thousands
    amount = float(digits) * 10**places
    return f"{amount:.{max(2 - places, 0)}f} {UNITS[thousands - 1]}"


def duration(seconds: float) -> str:
    """Return a time as a person says it.

    Examples
    --------
    >>> duration(75), duration(5400), duration(300_000)
    ('1 min', '1.5 h', '3.5 d')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


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
