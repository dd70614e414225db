"""Decoder blocks: what one layer of each family does, as a list of operators.

A new family is one function here that reads like its layer's `forward`, an entry in `BLOCKS`, and
the function in `model.families` that lists its weights.
"""

from __future__ import annotations

from collections.abc import Callable

from ...step.context import Context
from ...step.layer import Layer
from ...step.tape import Tensor
from . import (
    cohere,
    dense,
    falcon,
    falcon_h1,
    gemma,
    gemma4,
    glm,
    gpt2,
    granite,
    latent,
    lfm2,
    llama4,
    moe,
    nemotron,
    qwen3_5,
    ungated,
)

Block = Callable[[Context, Layer, Tensor], Tensor]

#: A layer run's `block` -> what such a layer does.
BLOCKS: dict[str, Block] = {
    "llama": dense.llama,
    "granite": dense.granite,
    "seed_oss": dense.seed_oss,
    "ernie4_5": dense.ernie4_5,
    "exaone4": dense.exaone4,
    "exaone4_nope": dense.exaone4_nope,
    "ungated": ungated.ungated,
    "arcee": ungated.arcee,
    "starcoder2": ungated.starcoder2,
    "glm": glm.glm,
    "glm4": glm.glm4,
    "qwen3": dense.qwen3,
    "hunyuan": dense.hunyuan,
    "olmo2": dense.olmo2,
    "phi3": dense.phi3,
    "phi": dense.phi,
    "stablelm": dense.stablelm,
    "stablelm_parallel": dense.stablelm_parallel,
    "gpt_neox": dense.gpt_neox,
    "gpt_neox_serial": dense.gpt_neox_serial,
    "gpt2": gpt2.gpt2,
    "gpt_bigcode": gpt2.gpt2,
    "cohere": cohere.cohere,
    "cohere_nope": cohere.cohere_nope,
    "falcon": falcon.falcon,
    "falcon_two_norms": falcon.falcon_two_norms,
    "falcon_serial": falcon.falcon_serial,
    "falcon_h1": falcon_h1.falcon_h1,
    "gemma": gemma.gemma,
    "gemma2": gemma.gemma2,
    "gemma3": gemma.gemma3,
    "gemma4": gemma4.gemma4,
    "granite_attention": granite.granite_attention,
    "granite_attention_moe": granite.granite_attention_moe,
    "granite_mamba2": granite.granite_mamba2,
    "granite_mamba2_moe": granite.granite_mamba2_moe,
    "deepseek": latent.deepseek,
    "deepseek_moe": latent.deepseek_moe,
    "deepseek_v32": latent.deepseek,
    "deepseek_v32_moe": latent.deepseek_moe,
    "minicpm3": latent.minicpm3,
    "lfm2_conv": lfm2.lfm2_conv,
    "lfm2_attention": lfm2.lfm2_attention,
    "llama4": llama4.llama4,
    "llama4_nope": llama4.llama4_nope,
    "llama4_moe": llama4.llama4_moe,
    "llama4_moe_nope": llama4.llama4_moe_nope,
    "mixtral": moe.mixtral,
    "qwen2_moe": moe.qwen2_moe,
    "qwen3_moe": moe.qwen3_moe,
    "olmoe": moe.olmoe,
    "granitemoe": moe.granitemoe,
    "granitemoeshared": moe.granitemoeshared,
    "gpt_oss": moe.gpt_oss,
    "nemotron_h_mamba2": nemotron.nemotron_h_mamba2,
    "nemotron_h_attention": nemotron.nemotron_h_attention,
    "nemotron_h_mlp": nemotron.nemotron_h_mlp,
    "nemotron_h_moe": nemotron.nemotron_h_moe,
    "qwen3_5_linear": qwen3_5.qwen3_5_linear,
    "qwen3_5_linear_moe": qwen3_5.qwen3_5_linear_moe,
    "qwen3_5_attention": qwen3_5.qwen3_5_attention,
    "qwen3_5_attention_moe": qwen3_5.qwen3_5_attention_moe,
}
