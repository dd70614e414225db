"""The other towers of a multimodal model: weights that are held, but not run on text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...step.architecture import Architecture
from ..parts.weights import Config, Weights
from . import gemma, llama, mistral, qwen

Tower = Callable[[Mapping[str, Any], Config, int], Weights]

#: The towers that are counted, by the model_type and the part of config.json that describes them.
TOWERS: dict[tuple[str, str], Tower] = {
    ("gemma3", "vision_config"): gemma.gemma3,
    ("gemma4", "audio_config"): gemma.gemma4_audio,
    ("gemma4", "vision_config"): gemma.gemma4,
    ("llama4", "vision_config"): llama.llama4,
    ("mistral3", "vision_config"): mistral.mistral3,
    ("qwen2_5_vl", "vision_config"): qwen.qwen2_5_vl,
    ("qwen3_5", "vision_config"): qwen.qwen3_vl,
    ("qwen3_5_moe", "vision_config"): qwen.qwen3_vl,
    ("qwen3_vl", "vision_config"): qwen.qwen3_vl,
    ("qwen3_vl_moe", "vision_config"): qwen.qwen3_vl,
}


def around(language: Architecture, config: Config, outer: str) -> Architecture:
    """Return a multimodal model: its language model renamed, its other towers added."""
    # transformers builds Llama 4 from two whole models; all others share one stem.
    stem = "language_model.model" if outer == "llama4" else "model.language_model"
    head = "language_model.lm_head" if outer == "llama4" else "lm_head"

    def renamed(name: str) -> str:
        if name.startswith("lm_head."):
            return f"{head}.{name.removeprefix('lm_head.')}"
        return f"{stem}.{name.removeprefix('model.')}"

    towers: Weights = {}
    notices = language.notices
    for part in ("vision_config", "audio_config"):
        own = config.get(part)
        if not isinstance(own, Mapping):
            continue
        build = TOWERS.get((outer, part))
        if build is None:
            notices += (f"The weights that {part} describes are not counted.",)
        else:
            towers |= build(own, config, language.hidden_size)
    return replace(
        language,
        outside={renamed(name): shape for name, shape in language.outside.items()},
        towers=towers,
        notices=notices,
        layers_name=renamed(language.layers_name),
        embedding_name=renamed(language.embedding_name),
        norm_name=renamed(language.norm_name),
        lm_head_name=head,
    )
