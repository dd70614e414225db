"""Which fused experts and routers PEFT adapts, where a model's layers were linears once.

Transformers 5 joined the experts of these families into stacked parameters. PEFT goes on taking
their old names, "all-linear" among them, for those parameters: it adds an adapter to each expert,
and sums experts and adapters in every pass
(peft/utils/transformers_weight_conversion.py, ``_convert_peft_config_moe``, and ParamWrapper in
peft/tuners/lora/layer.py; seen in PEFT 0.21).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from ...errors import ConfigError
from ...trainers import TRAINERS, Targets
from ..architecture import Architecture
from ..decoder import LayerGroup
from ..settings import Settings

#: What was a linear's name -> the end of the parameter's name that holds it now.
QWEN = {
    "gate": "gate.weight",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
    "down_proj": "down_proj",
}
MIXTRAL = {"gate": "gate.weight", "w1": "gate_up_proj", "w3": "gate_up_proj", "w2": "down_proj"}
#: model_type -> the names of its experts (transformers/conversion_mapping.py).
RENAMED: dict[str, Mapping[str, str]] = {
    "mixtral": MIXTRAL,
    **dict.fromkeys(
        ("qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe", "dots1"),
        QWEN,
    ),
}


def named_targets(settings: Settings, architecture: Architecture) -> Targets:
    """Return `target_modules`, or what PEFT takes where the trainer leaves it to PEFT."""
    named = settings.target_modules
    modules = named if isinstance(named, str) else list(named)
    return TRAINERS[settings.trainer].target_modules(modules, architecture.model_type)


def target_modules_of(settings: Settings, architecture: Architecture) -> Targets:
    """Return `target_modules` as PEFT gets it; of these families no expression.

    PEFT takes an expression there for the last names of all that it matches, in whichever layer
    (``_resolve_string_target_modules``).
    """
    kind, wanted = architecture.model_type, named_targets(settings, architecture)
    if kind not in RENAMED or not isinstance(wanted, str) or wanted == "all-linear":
        return wanted
    return list(_last_names(architecture, wanted))


@lru_cache(maxsize=64)
def _last_names(architecture: Architecture, expression: str) -> tuple[str, ...]:
    matches = re.compile(expression).fullmatch
    renamed = RENAMED[architecture.model_type]
    found: set[str] = set()
    for name, _ in architecture.weights():
        stem, _, last = name.removesuffix(".weight").rpartition(".")
        before = [old for old, new in renamed.items() if new == last]
        found |= {each for each in (last, *before) if matches(f"{stem}.{each}")}
    return tuple(sorted(found))


def old_names(settings: Settings, architecture: Architecture) -> set[str]:
    """Return the former linears of a family that `target_modules` names."""
    renamed = RENAMED.get(architecture.model_type, {})
    wanted = target_modules_of(settings, architecture) if renamed else []
    if wanted == "all-linear":
        return set(renamed)
    return {name for name in renamed if any(f".{end}".endswith(f".{name}") for end in wanted)}


def expert_targets(
    settings: Settings, architecture: Architecture, group: LayerGroup
) -> dict[str, int]:
    """Return the parameters of a layer that get an adapter, and how many ranks each gets.

    Those of `target_parameters` get one. Where experts were linears once, gate and up are one
    parameter, whose adapter has the rank of both.

    Raises
    ------
    ConfigError
        If only one of two joined linears is named.
    """
    named, model_type = old_names(settings, architecture), architecture.model_type
    found: dict[str, int] = {}
    for new in {RENAMED[model_type][name] for name in named}:
        joined = [name for name, other in RENAMED[model_type].items() if other == new]
        there = [
            name for name in group.weights if name.endswith(f".{new}") and is_stacked(group, name)
        ]
        if there and not named.issuperset(joined):
            raise ConfigError(
                f"target_modules must name {' and '.join(joined)} together: this model holds them "
                f"in one parameter, {there[0]}."
            )
        found |= dict.fromkeys(there, len(joined))
    ends = tuple(f".{target}" for target in settings.target_parameters)
    if ends:  # ``_inject_parameters`` in peft/tuners/tuners_utils.py
        stem = f"{architecture.layers_name}.0"
        found |= {name: 1 for name in group.weights if f"{stem}.{name}".endswith(ends)}
    return found


def is_stacked(group: LayerGroup, name: str) -> bool:
    """Whether a weight is a parameter of its own, and not that of a linear."""
    return name in group.not_linear or len(group.weights[name]) == 3
