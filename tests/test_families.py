"""Architectures against what transformers builds from the same config."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import pytest
from on_meta import class_defaults, linears, parameters, windows
from patience import not_hanging

from vram_widget.errors import ModelError
from vram_widget.families import families, from_config, granite_hybrid
from vram_widget.families.fields import COUNTS, FACTORS, INDICES, SAME_AS, SIZES, SWITCHES
from vram_widget.families.reading import defaults, text_types
from vram_widget.step.architecture import Architecture

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
    "arcee": [{}, {"attention_bias": True, "mlp_bias": True}],
    "cohere": [{}, {"use_qk_norm": True, "attention_bias": True}],
    "cohere2": [{"num_hidden_layers": 8}, {"sliding_window_pattern": 3, "num_hidden_layers": 7}],
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
    "ernie4_5": [{"head_dim": 24}, {"use_bias": True}],
    "exaone4": [
        {"head_dim": 24, "layer_types": ["full_attention"] * 3},
        {"sliding_window": 7, "sliding_window_pattern": 3, "num_hidden_layers": 7},
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
    "glm": [{}, {"attention_bias": True}],
    "glm4": [{}, {"attention_bias": True}],
    "glm4_moe": [
        {"n_routed_experts": 5, "moe_intermediate_size": 28, "n_shared_experts": 2},
        {"n_routed_experts": 5, "first_k_dense_replace": 2, "use_qk_norm": True, "head_dim": 24},
        {"n_routed_experts": 5, "attention_bias": True},
    ],
    "gpt2": [{"n_positions": 70}, {"n_inner": 300, "n_positions": 70}],
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
    "ministral3": [{}, {"head_dim": 24, "sliding_window": 7}],
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
    "olmo3": [{}, {"num_hidden_layers": 9}],
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
    "seed_oss": [{}, {"attention_bias": False, "attention_out_bias": True}],
    "smollm3": [{}, {"attention_bias": True, "mlp_bias": True}],
    "stablelm": [
        {},
        {"use_qkv_bias": True, "qk_layernorm": True},
        {"use_parallel_residual": True},
    ],
    "starcoder2": [{}, {"use_bias": False}],
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
    assert set(VARIANTS) | ONLY_WITHIN == set(families())


#: Towers of a few layers, each dimension unlike its neighbours.
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
}
QWEN_VISION = {
    "depth": 2,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_heads": 4,
    "out_hidden_size": 96,
    "patch_size": 4,
    "spatial_merge_size": 3,
    "temporal_patch_size": 2,
}
PIXTRAL = {
    "model_type": "pixtral",
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 12,
    "patch_size": 6,
}
GEMMA4_VISION = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "patch_size": 5,
    "position_embedding_size": 77,
}
GEMMA4_AUDIO = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "conv_kernel_size": 3,
    "output_proj_dims": 72,
    "subsampling_conv_channels": [16, 12],
}

LLAMA4_VISION = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
    "projector_input_dim": 64,
    "projector_output_dim": 64,
    "vision_output_dim": 56,
}

MULTIMODAL: dict[str, Config] = {
    "gemma3": {"text_config": SMALL, "vision_config": SIGLIP},
    "gemma3-no-head": {
        "text_config": SMALL,
        "vision_config": {**SIGLIP, "vision_use_head": False},
        "tie_word_embeddings": False,
    },
    "gemma4": {
        "text_config": {**SMALL, "hidden_size_per_layer_input": 8},
        "vision_config": GEMMA4_VISION,
        "audio_config": GEMMA4_AUDIO,
    },
    "llama4": {
        "text_config": {**SMALL, "num_local_experts": 5, "interleave_moe_layer_step": 2},
        "vision_config": LLAMA4_VISION,
    },
    "mistral3": {
        "text_config": {"model_type": "mistral", **SMALL},
        "vision_config": PIXTRAL,
        "tie_word_embeddings": False,
    },
    "qwen2_5_vl": {"text_config": SMALL, "vision_config": QWEN_VISION},
    "qwen2_5_vl-flat": {**SMALL, "vision_config": QWEN_VISION, "tie_word_embeddings": True},
    "qwen3_5": {"text_config": {**SMALL, **DELTA}, "vision_config": QWEN_VISION},
    "qwen3_5_moe": {
        "text_config": {**SMALL, **DELTA, "num_experts": 5},
        "vision_config": QWEN_VISION,
        "tie_word_embeddings": True,
    },
    "qwen3_vl": {
        "text_config": SMALL,
        "vision_config": {**QWEN_VISION, "deepstack_visual_indexes": [0, 1]},
    },
    "qwen3_vl_moe": {
        "text_config": {**SMALL, "num_experts": 5, "moe_intermediate_size": 28},
        "vision_config": {**QWEN_VISION, "deepstack_visual_indexes": [1]},
    },
}


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
    assert f"{architecture.embedding_name}.weight" in expected
    assert f"{architecture.norm_name}.weight" in expected
    has_head = f"{architecture.lm_head_name}.weight" in expected
    assert has_head is not architecture.tie_word_embeddings


@pytest.mark.parametrize("config", CASES)
def test_matrices_that_are_no_linears_are_recognised(config: Config) -> None:
    architecture = from_config(config)
    stem, index = architecture.layers_name, 0
    found = set()
    for group in architecture.layers:
        for name, shape in group.weights.items():
            if len(shape) == 2 and name not in group.not_linear:
                found.add(f"{stem}.{index}.{name}")
        assert group.not_linear <= set(group.weights)
        index += group.count
    layers = {f"{stem}.{i}" for i in starts(architecture)}
    expected = {n for n in linears(config) if any(n.startswith(f"{layer}.") for layer in layers)}
    assert found == expected


def starts(architecture: Architecture) -> list[int]:
    """Return the index of the first layer of each group."""
    return [
        sum(group.count for group in architecture.layers[:i])
        for i in range(len(architecture.layers))
    ]


@pytest.mark.parametrize("name", MULTIMODAL)
def test_a_multimodal_model_is_its_language_model_and_its_towers(name: str) -> None:
    config = {"model_type": name.partition("-")[0], **MULTIMODAL[name]}
    architecture = from_config(config)
    expected = parameters(config)
    assert dict(architecture.weights()) == expected
    assert architecture.towers
    assert all("language_model." not in weight for weight in architecture.towers)
    assert not architecture.notices
    assert architecture.hidden_size == SMALL["hidden_size"]


def test_a_tower_that_is_not_known_is_said_to_be_left_out() -> None:
    text = {"model_type": "llama", **SMALL}
    config = {"model_type": "llava", "text_config": text, "vision_config": {"hidden_size": 8}}
    architecture = from_config(config)
    assert architecture.known
    assert architecture.towers == {}
    assert "vision_config" in architecture.notices[0]
    expected = parameters({**config, "vision_config": {"model_type": "clip_vision_model"}})
    language = {name: shape for name, shape in expected.items() if "language_model" in name}
    assert language.items() <= dict(architecture.weights()).items()


@pytest.mark.parametrize("config", CASES)
def test_attention_reaches_as_far_back_as_in_transformers(config: Config) -> None:
    found = [
        group.sliding_window for group in from_config(config).layers for _ in range(group.count)
    ]
    assert found == windows(config)


def test_a_long_window_pattern_follows_transformers() -> None:
    for family in ("gemma2", "gemma3_text", "gemma4_text", "gpt_oss", "llama4_text"):
        config = {**config_of(family, VARIANTS[family][0]), "num_hidden_layers": 19}
        groups = from_config(config).layers
        assert [group.sliding_window for group in groups for _ in range(group.count)] == windows(
            config
        )


def test_equal_neighbours_are_one_run() -> None:
    config = config_of("granitemoehybrid", {**MAMBA, "shared_intermediate_size": 44})
    config |= {"num_hidden_layers": 9, "layer_types": ["mamba"] * 5 + ["attention"] + ["mamba"] * 3}
    groups = from_config(config).layers
    assert [(group.block, group.count) for group in groups] == [
        (granite_hybrid.mamba2_moe_layer, 5),
        (granite_hybrid.attention_moe_layer, 1),
        (granite_hybrid.mamba2_moe_layer, 3),
    ]


#: Fields that transformers' classes read from keywords, not from a declared default.
UNDECLARED = {
    "gemma3_text": {"sliding_window_pattern"},
    "gemma4_text": {"global_head_dim"},
    "qwen3_5_moe_text": {"full_attention_interval"},
    "qwen3_5_text": {"full_attention_interval"},
}


@pytest.mark.parametrize("model_type", sorted({*families(), *text_types()}))
def test_defaults_are_those_of_transformers(model_type: str) -> None:
    ours = defaults()[model_type]
    theirs = class_defaults(model_type)
    declared = {name: value for name, value in ours.items() if name in theirs}
    assert set(ours) - set(declared) == UNDECLARED.get(model_type, set())
    assert declared == {name: theirs[name] for name in declared}
    read = {*SIZES, *COUNTS, *SWITCHES} - {"max_position_embeddings"}
    if model_type in families():
        left_out = {name for name in read & set(theirs) if theirs[name] is not None} - set(ours)
        assert not left_out


@pytest.mark.parametrize("family", [family for family in VARIANTS if family != "nemotron_h"])
def test_a_language_model_within_another_may_leave_its_dimensions_out(family: str) -> None:
    # transformers cannot build Hunyuan from its own default, a head_dim of null; GLM 4.5's heads do
    # not divide its hidden size, which no published model leaves open.
    named = {"head_dim": 128} if family in ("hunyuan_v1_dense", "glm4_moe") else {}
    text: Config = {"model_type": family, **named}
    inside = from_config({"model_type": "some_vlm", "text_config": text})
    expected = parameters(text)
    total = sum(1 for _ in inside.weights())
    assert total == len(expected)
    assert inside.num_parameters == sum(numel(shape) for shape in expected.values())


def numel(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def test_an_unknown_family_is_named_and_stood_in_for() -> None:
    llama = from_config(config_of("llama", {}))
    unknown = from_config(config_of("brand_new", {"architectures": ["BrandNewForCausalLM"]}))
    assert not unknown.known
    assert unknown.num_parameters == llama.num_parameters
    assert "brand_new" in unknown.notices[0]


#: Older families in their own words, in the shape of a published model of each.
UNGATED: dict[str, Config] = {
    "bloom": {"n_embed": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 250880},
    "codegen": {"n_embd": 1024, "n_layer": 20, "n_head": 16, "vocab_size": 51200},
    "gpt_neo": {
        **{"hidden_size": 768, "num_layers": 12, "num_heads": 12, "vocab_size": 50257},
        "attention_types": [[["global", "local"], 6]],
    },
    "gptj": {"n_embd": 4096, "n_layer": 28, "n_head": 16, "vocab_size": 50400, "n_inner": None},
    "mpt": {"d_model": 4096, "n_layers": 32, "n_heads": 32, "vocab_size": 50432},
    "opt": {
        **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
        **{"ffn_dim": 3072, "vocab_size": 50272, "word_embed_proj_dim": 768},
    },
}


@pytest.mark.parametrize("family", UNGATED)
def test_an_older_family_is_stood_in_for_without_a_gate(family: str) -> None:
    config = {"model_type": family, **UNGATED[family]}
    stand_in = from_config(config)
    assert not stand_in.known
    built = sum(numel(shape) for shape in parameters(config).values())
    assert stand_in.num_parameters == pytest.approx(built, rel=0.015)


def test_an_unknown_family_without_widths_is_refused() -> None:
    config = config_of("nemotron-nas", {"intermediate_size": None, "block_configs": []})
    with pytest.raises(ModelError, match="intermediate_size"):
        from_config(config)


def test_an_unknown_mixture_counts_its_experts() -> None:
    dims = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 28}
    unknown = from_config(config_of("brand_new_moe", dims))
    mixtral = from_config(config_of("mixtral", {"num_local_experts": 5, "intermediate_size": 28}))
    assert not unknown.known
    assert unknown.num_parameters == mixtral.num_parameters


def test_an_unknown_family_with_latent_attention_is_like_deepseek() -> None:
    dims = {**VARIANTS["deepseek_v3"][0], "moe_intermediate_size": 28, "qk_nope_head_dim": 10}
    dims |= {"v_head_dim": 12, "tie_word_embeddings": False}
    unknown = from_config(config_of("kimi_k2", dims))
    assert unknown.num_parameters == from_config(config_of("deepseek_v3", dims)).num_parameters


NOT_LANGUAGE_MODELS: dict[str, Config] = {
    "bert": {"model_type": "bert", "architectures": ["BertForMaskedLM"], **SMALL},
    "bert without class": {"model_type": "bert", **SMALL},
    "new encoder": {"model_type": "brand_new", "architectures": ["NewForMaskedLM"], **SMALL},
    "vit": {"model_type": "vit", "hidden_size": 768, "image_size": 224, "num_hidden_layers": 12},
    "t5": {"model_type": "t5", "is_encoder_decoder": True, "d_model": 512, "vocab_size": 32128},
    "diffusion": {"_class_name": "UNet2DConditionModel", "sample_size": 64},
    "tokenizer": {"tokenizer_class": "LlamaTokenizer"},
    "empty": {},
}


@pytest.mark.parametrize("name", NOT_LANGUAGE_MODELS)
def test_what_is_no_language_model_is_refused(name: str) -> None:
    with pytest.raises(
        ModelError, match=r"give (a|the config\.json of a language model|a decoder)"
    ):
        from_config(NOT_LANGUAGE_MODELS[name])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 0),
        ("hidden_size", -4096),
        ("hidden_size", 4096.0),
        ("hidden_size", "4096"),
        ("hidden_size", True),
        ("hidden_size", [4096]),
        ("hidden_size", 2**24 + 1),
        pytest.param("hidden_size", 10**5000, id="5000 digits"),
        ("hidden_size", float("nan")),
        ("hidden_size", 97),
        ("num_hidden_layers", 10_001),
        ("num_key_value_heads", 4),
        ("num_key_value_heads", {}),
        ("vocab_size", -1),
        ("intermediate_size", "x" * 10_000),
        ("tie_word_embeddings", "false"),
        ("attention_bias", 3),
        ("layer_types", ["full_attention"]),
        ("layer_types", 3),
    ],
)
def test_a_dimension_that_makes_no_sense_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ModelError) as caught:
        from_config(config_of("llama", {field: value}))
    sentence = str(caught.value)
    assert field in sentence
    assert len(sentence) < 250


@pytest.mark.parametrize(
    "field",
    ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"],
)
@pytest.mark.parametrize("null", [False, True])
def test_a_missing_dimension_is_named(field: str, null: bool) -> None:
    config = config_of("llama", {})
    del config[field]
    if null:
        config[field] = None
    with pytest.raises(ModelError, match=field):
        from_config(config)


def test_a_kind_of_layer_that_the_family_lacks_is_refused() -> None:
    config = config_of("granitemoehybrid", {**MAMBA, "layer_types": ["mamba", "magic", "mamba"]})
    with pytest.raises(ModelError, match="magic"):
        from_config(config)


#: What a broken or hostile config.json may say of anything.
NONSENSE: list[object] = [
    *(None, True, False, 0, 1, 2, 3, 7, 64, 300, -1, 2**24, 2**24 + 1, 2**63, 10**400),
    *(0.5, -0.0, 1e300, float("inf"), float("nan"), "", "64", "llama", "mamba", "x" * 5000),
    *([], [0], [1, 2], ["mamba"] * 3, ["full_attention"] * 10_000, [[[]]], [None], [-1], [2**80]),
    *({}, {"model_type": "llama"}, {"text_config": {}}, {"hidden_size": 64}),
]
READ = sorted({*SIZES, *COUNTS, *SWITCHES, *INDICES, *FACTORS, *SAME_AS})
READ += ["layer_types", "text_config", "vision_config", "architectures", "model_type"]
READ += ["hybrid_override_pattern", "deepstack_visual_indexes"]


def test_ten_thousand_broken_configs_give_an_architecture_or_an_error() -> None:
    random = Random(0)
    bases = [case.values[0] for case in CASES]
    bases += [{"model_type": name.partition("-")[0], **MULTIMODAL[name]} for name in MULTIMODAL]
    refused = 0
    sentences: set[str] = set()
    for _ in range(10_000):
        config = copy.deepcopy(random.choice(bases))
        own = sorted({*defaults().get(config["model_type"], {}), *config} & set(READ))
        for name in random.sample(random.choice([own, READ]), random.choice([1, 1, 2, 3])):
            place = random.choice([config, *(v for v in config.values() if isinstance(v, dict))])
            place[name] = copy.deepcopy(random.choice(NONSENSE))
        try:
            with not_hanging():
                architecture = from_config(config)
        except ModelError as error:
            refused += 1
            sentences.add(str(error))
        else:
            shapes = [shape for group in architecture.layers for shape in group.weights.values()]
            shapes += [*architecture.outside.values(), *architecture.towers.values()]
            assert all(type(size) is int and size >= 0 for shape in shapes for size in shape)
    assert 1_000 < refused < 9_000
    assert max(map(len, sentences)) < 300
