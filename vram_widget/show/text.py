"""A result in words: the same on the screen, in print and in a repr."""

from __future__ import annotations

from ..config import TrainingConfig
from ..config.uncounted import Effect
from ..units import GiB, gib, quantity
from .palette import PALETTE, PHASE_LABELS
from .result import Result

VERDICTS = {
    "fits": "Fits",
    "likely": "Likely fits",
    "risky": "Risky",
    "does_not_fit": "Does not fit",
}

#: What leaving settings out does to the figure, the worst first.
EFFECTS: dict[Effect, str] = {
    "too_little": "the figure is too low without {them}",
    "unknown": "the figure may be too high or too low without {them}",
    "too_much": "the figure is too high without {them}",
}


def verdict(result: Result) -> str:
    """Return the verdict, such as "Fits: 27.9 of 48.0 GiB on each GPU".

    Where it is a near thing, also what a process can have of the card, as the verdict turns on it.
    Where it is one only because settings are not counted, that.
    """
    if result.verdict == "likely" and result.high <= result.gpu.usable:
        return f"{VERDICTS['likely']}: {_amounts(result)}, not all counted"
    near = result.verdict in ("likely", "risky")
    usable = f", {gib(result.gpu.usable)} usable" if near else ""
    return f"{VERDICTS[result.verdict]}: {_amounts(result)}{usable}"


def _amounts(result: Result) -> str:
    return f"{gib(result.expected)} of {gib(result.capacity)} GiB on each GPU"


def uncounted(config: TrainingConfig) -> dict[str, str] | None:
    """Return how many settings are not counted, and the worst that this does to the figure.

    Examples
    --------
    >>> notice = {"text": "lisa_n_layers is not counted.", "effect": "too_much"}
    >>> uncounted(TrainingConfig("m", uncounted=[notice]))["words"]
    '1 setting not counted'
    """
    effects = {each["effect"] for each in config.uncounted}
    if not effects:
        return None
    one = len(config.uncounted) == 1
    worst = next(effect for effect in EFFECTS if effect in effects)
    return {
        "words": f"{len(config.uncounted)} setting{'' if one else 's'} not counted",
        "effect": worst,
        "why": EFFECTS[worst].format(them="it" if one else "them"),
    }


def band(result: Result) -> str:
    """Return the range of the estimate, such as "25.4–33.0"."""
    return f"{gib(result.low)}–{gib(result.high)}"


def title(config: TrainingConfig) -> str:
    """Return the model's name without its owner or folder."""
    path: str = config.model_path
    return path.rstrip("/").rsplit("/", 1)[-1] or path


def setup(result: Result) -> str:
    """Return method and hardware, such as "LoRA, rank 16 · 2 × L40S"."""
    return f"{method(result.config)} · {result.config.num_gpus} × {result.gpu.name}"


def method(config: TrainingConfig) -> str:
    """Return the method with the one number that describes it."""
    if config.training_method == "osft":
        return f"OSFT, ratio {config.unfreeze_rank_ratio:g}"
    if config.training_method == "sft":
        return "full fine-tuning"
    name = "QLoRA" if config.training_method == "qlora" else "LoRA"
    return f"{name}, rank {config.lora_r}"


def model(result: Result) -> str:
    """Return the model's size and kind, and on a second line what is trained if not all."""
    shape = result.architecture
    total, trained = result.num_parameters, result.num_trainable
    line = f"{quantity(total)} parameters · {shape.model_type} · {shape.num_hidden_layers} layers"
    if trained == total:
        return line
    return f"{line}\n{quantity(trained)} trained ({100 * trained / total:.2g} %)"


def value_text(value: object) -> str:
    """Return a field's value as a table shows it.

    Examples
    --------
    >>> value_text(131072), value_text(None), value_text(["q_proj", "v_proj"])
    ('131,072', 'none', 'q_proj v_proj')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def control_text(name: str, value: object) -> str:
    """Return a field's value as its control shows it: an option by its label, memory in GiB.

    Examples
    --------
    >>> control_text("optim", "adamw_8bit"), control_text("gpu_memory", 24 * 1024**3)
    ('AdamW, 8-bit', '24 GiB')
    """
    if isinstance(value, float):
        return f"{value:g}"
    if name == "gpu_memory" and isinstance(value, int):
        return f"{value / GiB:g} GiB"
    options = TrainingConfig.fields()[name].metadata.get("options", {})
    return options[value] if isinstance(value, str) and value in options else value_text(value)


def batch(config: TrainingConfig) -> str:
    """Return what a pass and an optimizer step hold."""
    sequences = max(config.tokens // config.max_seq_len, 1)
    together = sequences * config.gradient_accumulation_steps * config.num_processes
    return f"{config.tokens:,} tokens a pass · effective batch {together:,}"


def moment(phase: str, step: int) -> str:
    """Return a moment of the timeline, such as "loss, step 2"."""
    return f"{PHASE_LABELS[phase]}, step {step}" if step else PHASE_LABELS[phase]


def peak(result: Result) -> str:
    """Return the peak's size and moment, such as "peak 40.1 GiB · loss, step 2"."""
    return f"peak {gib(result.expected)} GiB · {moment(result.peak_phase, result.peak_step)}"


def summary(result: Result) -> str:
    """Return the whole result as a few lines of plain text."""
    lines = [
        f"{title(result.config)} · {setup(result)}",
        f"{verdict(result)} ({band(result)}), {peak(result)}",
    ]
    notes = result.notes
    for component, nbytes in result.components.items():
        note = notes.get(component, "")
        lines.append(f"  {PALETTE[component].label:<12}{gib(nbytes):>6} GiB  {note}".rstrip())
    return "\n".join([*lines, *result.notices])
