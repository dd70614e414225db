"""Which fused experts and routers PEFT adapts, where a model's layers were linears once.

Transformers 5 joined the experts of these families into stacked parameters. PEFT goes on taking
their old names, "all-linear" among them, for those parameters: it adds an adapter to each expert,
and makes the sum of experts and adapters whole in every pass
(peft/utils/transformers_weight_conversion.py, ``_convert_peft_config_moe``, and ParamWrapper in
peft/tuners/lora/layer.py; seen in PEFT 0.21).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..config import TrainingConfig
from ..errors import ConfigError
from ..model.architecture import LayerRun

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


def old_names(config: TrainingConfig, model_type: str) -> set[str]:
    """Return the former linears of a family that `target_modules` names."""
    renamed, wanted = RENAMED.get(model_type, {}), config.target_modules
    if wanted == "all-linear":
        return set(renamed)
    if isinstance(wanted, str):
        pattern = re.compile(wanted)
        homes = {name: "mlp" if name == "gate" else "mlp.experts" for name in renamed}
        return {
            name
            for name, home in homes.items()
            if pattern.fullmatch(f"model.layers.0.{home}.{name}")
        }
    endings = tuple(f".{name}" for name in wanted)
    return {name for name in renamed if any(end.endswith(f".{name}") for end in endings)}


def expert_targets(config: TrainingConfig, run: LayerRun, model_type: str) -> dict[str, int]:
    """Return the parameters of a layer that get an adapter, and how many ranks each gets.

    Gate and up are one parameter, whose adapter has the rank of both.

    Raises
    ------
    ConfigError
        If only one of two joined linears is named.
    """
    named = old_names(config, model_type)
    found: dict[str, int] = {}
    for new in {RENAMED[model_type][name] for name in named}:
        joined = [name for name, other in RENAMED[model_type].items() if other == new]
        there = [name for name in run.weights if name.endswith(f".{new}") and is_stacked(run, name)]
        if there and not named.issuperset(joined):
            raise ConfigError(
                f"target_modules must name {' and '.join(joined)} together: this model holds them "
                f"in one parameter, {there[0]}."
            )
        found |= dict.fromkeys(there, len(joined))
    return found


def is_stacked(run: LayerRun, name: str) -> bool:
    """Whether a weight is a parameter of its own, and not that of a linear."""
    return name in run.not_linear or len(run.weights[name]) == 3
