"""config.json -> Architecture: one short function a family, that lists its weights.

The names and shapes are those of transformers' own modules for the same config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import ModelError
from ..step.architecture import Architecture
from . import cohere, dense, gemma, gpt2, hybrid, latent, moe
from .parts.weights import Config
from .reading import read
from .towers import around

Family = Callable[[Config], Architecture]

#: model_type -> the function that lists its weights.
FAMILIES: dict[str, Family] = {
    "arcee": dense.arcee,
    "cohere": cohere.cohere,
    "cohere2": cohere.cohere2,
    "deepseek_v2": latent.deepseek,
    "deepseek_v3": latent.deepseek,
    "deepseek_v32": latent.deepseek_v32,
    "ernie4_5": dense.ernie4_5,
    "exaone4": dense.exaone4,
    "falcon": dense.falcon,
    "falcon_h1": hybrid.falcon_h1,
    "gemma": gemma.gemma,
    "gemma2": gemma.gemma2,
    "gemma3_text": gemma.gemma3,
    "gemma4_text": gemma.gemma4,
    "glm": dense.glm,
    "glm4": dense.glm,
    "gpt2": gpt2.gpt2,
    "gpt_bigcode": gpt2.gpt_bigcode,
    "gpt_neox": dense.gpt_neox,
    "gpt_oss": moe.gpt_oss,
    "granite": dense.llama,
    "granitemoe": moe.granitemoe,
    "granitemoehybrid": hybrid.granitemoehybrid,
    "granitemoeshared": moe.granitemoe,
    "hunyuan_v1_dense": dense.hunyuan,
    "lfm2": hybrid.lfm2,
    "llama": dense.llama,
    "llama4_text": moe.llama4,
    "minicpm3": latent.minicpm3,
    "ministral3": dense.mistral,
    "mistral": dense.mistral,
    "mixtral": moe.mixtral,
    "nemotron_h": hybrid.nemotron_h,
    "olmo2": dense.olmo2,
    "olmo3": dense.olmo2,
    "olmoe": moe.olmoe,
    "phi": dense.phi,
    "phi3": dense.phi3,
    "qwen2": dense.qwen2,
    "qwen2_5_vl_text": dense.qwen2,
    "qwen2_moe": moe.qwen2_moe,
    "qwen2_vl_text": dense.qwen2,
    "qwen3": dense.qwen3,
    "qwen3_5_moe_text": hybrid.qwen3_5_moe,
    "qwen3_5_text": hybrid.qwen3_5,
    "qwen3_moe": moe.qwen3_moe,
    "qwen3_vl_moe_text": moe.qwen3_moe,
    "qwen3_vl_text": dense.qwen3,
    "seed_oss": dense.seed_oss,
    "smollm3": dense.llama,
    "stablelm": dense.stablelm,
    "starcoder2": dense.starcoder2,
}


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a config.json describes.

    Parameters
    ----------
    config : mapping
        The parsed config.json. Of a multimodal model, the language model is what is trained;
        its other towers are held.

    Raises
    ------
    ModelError
        If it is not a language model's, or a dimension is missing or makes no sense.

    Examples
    --------
    >>> tiny = from_config({"model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    ...     "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100})
    >>> tiny.num_parameters
    95040
    """
    text, outer = read(config)
    family = FAMILIES.get(text["model_type"])
    try:
        architecture = family(text) if family else stand_in(text)
    except KeyError as missing:
        raise ModelError(
            f"config.json has no {missing.args[0]}; give the config.json of a language model."
        ) from None
    return around(architecture, config, outer) if outer else architecture


def stand_in(config: Config) -> Architecture:
    """Return the nearest decoder for a family that is not known."""
    if "kv_lora_rank" in config:
        nearest = latent.generic
    elif config.get("num_experts"):
        nearest = moe.generic
    else:
        nearest = dense.generic
    notice = (
        f"The family {config['model_type']!r} is not known: a decoder of the same dimensions "
        "stands in for it, and the estimate is rougher."
    )
    return replace(nearest(config), known=False, notices=(notice,))
