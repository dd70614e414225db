"""Which method the layers of a run get."""

from __future__ import annotations

from ...errors import ConfigError, shown
from ..architecture import Architecture
from ..decoder import LayerGroup
from ..settings import Settings
from .expert_targets import expert_targets, named_targets
from .full import Full, Method
from .lora import LoRA
from .osft import OSFT
from .parameter import Shape
from .qlora import QLoRA
from .targets import nothing, osft_target, target, targets_outside_layers, trained

#: Quantised checkpoints whose weights take no gradient; fp8 and mxfp4 ones are dequantised.
PACKED = {"nf4", "int8", "gptq", "awq"}


def method_for(
    settings: Settings,
    architecture: Architecture,
    group: LayerGroup | None = None,
) -> Method:
    """Return the method of a run for some layers, or for what lies outside the layers.

    LoRA on a checkpoint that is quantised already is QLoRA.
    """
    method, stored = settings.training_method, architecture.quantization
    if method in ("sft", "osft") and stored in PACKED:
        raise ConfigError(
            f"{settings.model_path} is stored as {stored}, whose weights cannot be trained: "
            f"choose lora or qlora, or the model it was quantised from."
        )
    if method == "sft":
        return Full(settings, trained(settings, group))
    if method == "osft":
        return OSFT(settings, osft_target(architecture, group) if group else nothing)
    experts: dict[str, int] = {}
    tables = ("", "")
    if group:
        is_target = target(settings, architecture, group)
        experts = expert_targets(settings, architecture, group)
    else:
        is_target = targets_outside_layers(settings, architecture).__contains__
        tied_lm_head = architecture.lm_head_name if architecture.tie_word_embeddings else ""
        tables = (architecture.embedding_name, tied_lm_head)
    if method == "lora" and stored not in PACKED:
        return LoRA(settings, is_target, experts, *tables)
    is_linear = (group.linears if group else architecture.tower_linears).__contains__
    quantization = stored or settings.quantization
    return QLoRA(settings, is_target, experts, is_linear, quantization, *tables)


def check_adapters(architecture: Architecture, settings: Settings) -> None:
    """Check that there is a layer to adapt, and one that the rank is not larger than.

    Raises
    ------
    ConfigError
        With what to change.
    """
    targets: dict[str, Shape] = {}
    for group in architecture.layers:
        adapted = filter(target(settings, architecture, group), group.linears)
        targets |= {name: group.oriented[f"{name}.weight"] for name in adapted}
        experts = expert_targets(settings, architecture, group)
        targets |= {name: group.oriented[name][-2:] for name in experts}
    for name in targets_outside_layers(settings, architecture):
        targets[name] = (architecture.vocab_size, architecture.hidden_size)
    if not targets:
        names = sorted({name for group in architecture.layers for name in group.linears})
        wanted = named_targets(settings, architecture)
        raise ConfigError(
            f"target_modules = {shown(wanted)} matches no linear layer of "
            f"{settings.model_path}, which has {', '.join(names)}."
        )
    widest, shape = max(targets.items(), key=lambda found: min(found[1]))
    if settings.lora_r > min(shape):
        outputs, inputs = shape
        raise ConfigError(
            f"lora_r = {settings.lora_r:,} is larger than {widest} ({outputs:,} × {inputs:,}): "
            f"take at most {min(shape):,}."
        )
