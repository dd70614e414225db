"""Architectures against what transformers builds from the same config."""

from __future__ import annotations

from typing import Any

import pytest
from on_meta import parameters

from vram_widget.errors import ModelError
from vram_widget.model.families import FAMILIES, from_config

Config = dict[str, Any]

#: Dimensions that every family takes; deliberately none equal to another.
SMALL: Config = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "pad_token_id": 0,
}
GPT_STYLE = {"num_key_value_heads": 6}
LATENT = {"num_key_value_heads": 6, "q_lora_rank": 40, "kv_lora_rank": 24, "qk_rope_head_dim": 8}
MAMBA = {"mamba_n_heads": 8, "mamba_d_state": 20, "mamba_n_groups": 2, "mamba_d_conv": 3}
DELTA = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 12}
HYBRID = ["mamba", "attention", "mamba"]

#: A few configs of each family: what they say beyond `SMALL`.
VARIANTS: dict[str, list[Config]] = {
    "deepseek_v2": [
        {**LATENT, "n_routed_experts": 5, "first_k_dense_replace": 1, "moe_intermediate_size": 28},
        {**LATENT, "n_routed_experts": 5, "q_lora_rank": None, "attention_bias": True},
    ],
    "deepseek_v3": [
        {**LATENT, "n_routed_experts": 8, "first_k_dense_replace": 2, "n_shared_experts": 2}
    ],
    "deepseek_v32": [
        {**LATENT, "n_routed_experts": 8, "first_k_dense_replace": 1, "index_n_heads": 3}
    ],
    "falcon": [
        {},
        {"bias": True, "ffn_hidden_size": 200},
        {"new_decoder_architecture": True, "num_kv_heads": 2},
        {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
        {"multi_query": False, "parallel_attn": False},
    ],
    "falcon_h1": [
        {**MAMBA, "mamba_d_ssm": 128},
        {**MAMBA, "mamba_d_ssm": None, "mamba_rms_norm": True, "projectors_bias": True},
    ],
    "gemma": [{}, {"head_dim": 24, "attention_bias": True}],
    "gemma2": [{}, {"head_dim": 24}],
    "gemma3_text": [{}, {"head_dim": 24, "num_hidden_layers": 8}],
    "gemma4_text": [
        {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 900},
        {
            "num_hidden_layers": 12,
            "num_kv_shared_layers": 6,
            "use_double_wide_mlp": True,
            "hidden_size_per_layer_input": 8,
        },
        {
            "num_hidden_layers": 7,
            "hidden_size_per_layer_input": 0,
            "enable_moe_block": True,
            "num_experts": 5,
            "top_k_experts": 2,
            "moe_intermediate_size": 28,
            "attention_k_eq_v": True,
            "num_global_key_value_heads": 1,
            "global_head_dim": 64,
        },
    ],
    "gpt_bigcode": [
        {"n_positions": 70},
        {"multi_query": False, "n_inner": 300, "n_positions": 70},
    ],
    "gpt_neox": [GPT_STYLE, {**GPT_STYLE, "attention_bias": False, "use_parallel_residual": False}],
    "gpt_oss": [{"num_local_experts": 5}, {"num_local_experts": 5, "attention_bias": False}],
    "granite": [{}, {"attention_bias": True, "mlp_bias": True}],
    "granitemoe": [{"num_local_experts": 5}],
    "granitemoehybrid": [
        {**MAMBA, "layer_types": HYBRID, "shared_intermediate_size": 44, "num_local_experts": 0},
        {**MAMBA, "layer_types": HYBRID, "shared_intermediate_size": 44, "num_local_experts": 5},
        {**MAMBA, "mamba_conv_bias": False, "mamba_proj_bias": True},
    ],
    "granitemoeshared": [
        {"num_local_experts": 5, "shared_intermediate_size": 44},
        {"num_local_experts": 5},
    ],
    "hunyuan_v1_dense": [{"head_dim": 16}],
    "lfm2": [
        {"full_attn_idxs": [1]},
        {"layer_types": ["conv", "full_attention", "conv"], "block_ffn_dim": 200},
        {"block_auto_adjust_ff_dim": False, "conv_bias": True, "full_attn_idxs": [0]},
        {"block_ff_dim": 300, "block_ffn_dim_multiplier": 1.3, "block_multiple_of": 16},
    ],
    "llama": [{}, {"head_dim": 24}, {"attention_bias": True, "mlp_bias": True}],
    "llama4_text": [
        {"num_local_experts": 5, "num_hidden_layers": 5},
        {"num_local_experts": 5, "interleave_moe_layer_step": 2, "intermediate_size_mlp": 200},
        {"num_local_experts": 5, "moe_layers": [0], "attention_bias": True},
    ],
    "minicpm3": [{**LATENT}, {**LATENT, "v_head_dim": 20}],
    "mistral": [{}, {"head_dim": 24, "sliding_window": None}],
    "mixtral": [{"num_local_experts": 5}],
    "nemotron_h": [
        {
            "layers_block_type": ["mamba", "moe", "attention", "mlp"],
            "num_hidden_layers": 4,
            "n_routed_experts": 5,
            "mamba_num_heads": 8,
            "mamba_head_dim": 12,
            "n_groups": 2,
            "moe_intermediate_size": 28,
            "moe_shared_expert_intermediate_size": 36,
        },
        {
            "hybrid_override_pattern": "ME*-M",
            "num_hidden_layers": 5,
            "n_routed_experts": 5,
            "mamba_num_heads": 8,
            "mamba_head_dim": 12,
            "n_groups": 2,
            "moe_latent_size": 30,
            "use_bias": True,
            "mlp_bias": True,
        },
    ],
    "olmo2": [{}],
    "olmoe": [{"num_experts": 5}],
    "phi": [{}, {"qk_layernorm": True}],
    "phi3": [{}],
    "qwen2": [{}, {"use_sliding_window": True, "max_window_layers": 1}],
    "qwen2_moe": [
        {"num_experts": 5, "moe_intermediate_size": 28, "shared_expert_intermediate_size": 44},
        {"num_experts": 5, "mlp_only_layers": [0], "qkv_bias": False},
    ],
    "qwen3": [{}, {"head_dim": 24, "attention_bias": True}],
    "qwen3_5_moe_text": [{**DELTA, "num_experts": 5, "num_hidden_layers": 5}],
    "qwen3_5_text": [{**DELTA, "num_hidden_layers": 5}, {**DELTA, "attention_bias": True}],
    "qwen3_moe": [
        {"num_experts": 5, "moe_intermediate_size": 28},
        {"num_experts": 5, "decoder_sparse_step": 2, "num_hidden_layers": 5},
    ],
    "smollm3": [{}, {"attention_bias": True, "mlp_bias": True}],
    "stablelm": [
        {},
        {"use_qkv_bias": True, "qk_layernorm": True},
        {"use_parallel_residual": True},
    ],
}

#: Language models that only multimodal configs hold.
ONLY_WITHIN = {"qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text", "qwen3_vl_moe_text"}


def config_of(family: str, variant: Config) -> Config:
    return {"model_type": family, **SMALL, **variant}


CASES = [
    pytest.param(config_of(family, variant), id=f"{family}-{i}")
    for family, variants in VARIANTS.items()
    for i, variant in enumerate(variants)
]


def test_every_family_is_compared() -> None:
    assert set(VARIANTS) | ONLY_WITHIN == set(FAMILIES)


@pytest.mark.parametrize("tied", [True, False, None], ids=["tied", "untied", "default"])
@pytest.mark.parametrize("config", CASES)
def test_weights_are_those_transformers_builds(config: Config, tied: bool | None) -> None:
    if tied is not None:
        config = {**config, "tie_word_embeddings": tied}
    expected = parameters(config)
    architecture = from_config(config)
    assert dict(architecture.weights()) == expected
    assert architecture.known
    assert architecture.num_hidden_layers == config["num_hidden_layers"]
