"""The blocks of every family but the llama-like ones: what must hold for each, and real traces.

The grid (`test_traced`) has most of these families in the shape of published models; the traces
here are of families that it has not, in small.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_meta import transformers
from recorded import as_traced, record_of

import vram_widget as vw
from vram_widget.config import TrainingConfig
from vram_widget.families import families, from_config
from vram_widget.gpu import lookup
from vram_widget.model.catalog import names
from vram_widget.model.load import load
from vram_widget.step.architecture import Architecture
from vram_widget.step.record import Moment, Record
from vram_widget.step.replay import replay
from vram_widget.step.run import Run
from vram_widget.step.timeline import COMPONENTS

Config = dict[str, Any]

#: Dimensions that every family below takes.
SMALL: Config = {
    "hidden_size": 256,
    "intermediate_size": 448,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 1000,
    "tie_word_embeddings": False,
}
SPARSE = {"num_experts": 8, "num_local_experts": 8, "num_experts_per_tok": 2}
NARROW_EXPERTS = {**SPARSE, "moe_intermediate_size": 128}
LATENT = {
    **{"num_key_value_heads": 4, "q_lora_rank": 96, "kv_lora_rank": 64},
    **{"qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 48},
}
DEEPSEEK = {
    **{**LATENT, **NARROW_EXPERTS, "n_routed_experts": 8, "n_shared_experts": 1},
    **{"first_k_dense_replace": 1, "n_group": 2, "topk_group": 1},
}
GLM4_MOE = {**NARROW_EXPERTS, "n_routed_experts": 8, "n_shared_experts": 1, "pad_token_id": 0}
MAMBA = {
    **{"mamba_n_heads": 8, "mamba_d_head": 64, "mamba_d_state": 32, "mamba_n_groups": 1},
    **{"mamba_d_conv": 4, "mamba_expand": 2, "mamba_chunk_size": 64},
}
DELTA = {
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4},
    **{"linear_key_head_dim": 64, "linear_value_head_dim": 64},
}
GRANITE_H = {**MAMBA, "shared_intermediate_size": 320, "layer_types": ["mamba", "attention"] * 2}
LLAMA4 = {"num_local_experts": 4, "intermediate_size_mlp": 448, "num_hidden_layers": 4}
NEMOTRON = {
    **{"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128},
    **{"moe_shared_expert_intermediate_size": 192, "mlp_hidden_act": "relu2"},
    **{"mamba_num_heads": 8, "mamba_head_dim": 64, "n_groups": 1, "ssm_state_size": 32},
    **{"conv_kernel": 4, "chunk_size": 64, "num_hidden_layers": 4},
    **{"layers_block_type": ["mamba", "moe", "attention", "mlp"]},
}
FALCON = {
    **{"hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 1000},
    **{"bias": False, "alibi": False, "hidden_dropout": 0.0, "attention_dropout": 0.0},
}
GEMMA4 = {"num_hidden_layers": 6, "global_head_dim": 128, "hidden_size_per_layer_input": 32}
GPT2 = {"n_embd": 256, "n_layer": 3, "n_head": 4, "n_positions": 1024, "vocab_size": 1000}

#: A config of each kind of block, by a name for the test.
MODELS: dict[str, Config] = {
    "mixtral": {**SMALL, "model_type": "mixtral", **SPARSE},
    "qwen2_moe": {
        **{**SMALL, "model_type": "qwen2_moe", **NARROW_EXPERTS},
        "shared_expert_intermediate_size": 320,
    },
    "qwen3_moe": {**SMALL, "model_type": "qwen3_moe", **NARROW_EXPERTS},
    "olmoe": {**SMALL, "model_type": "olmoe", **SPARSE},
    "granitemoe": {**SMALL, "model_type": "granitemoe", **SPARSE},
    "granitemoeshared": {
        **{**SMALL, "model_type": "granitemoeshared", **SPARSE},
        "shared_intermediate_size": 320,
    },
    "gpt_oss": {**SMALL, "model_type": "gpt_oss", **SPARSE},
    "llama4": {**SMALL, "model_type": "llama4_text", **LLAMA4},
    "llama4 partly dense": {
        **{**SMALL, "model_type": "llama4_text", **LLAMA4},
        "moe_layers": [0, 1],
    },
    "deepseek_v2": {**SMALL, "model_type": "deepseek_v2", **DEEPSEEK, "q_lora_rank": None},
    "deepseek_v3": {**SMALL, "model_type": "deepseek_v3", **DEEPSEEK},
    "deepseek_v32": {
        **{**SMALL, "model_type": "deepseek_v32", **DEEPSEEK},
        **{"index_n_heads": 2, "index_head_dim": 32, "index_topk": 32},
    },
    "minicpm3": {**SMALL, "model_type": "minicpm3", **LATENT},
    "granitemoehybrid": {
        **{**SMALL, "model_type": "granitemoehybrid", **GRANITE_H},
        **{"num_hidden_layers": 4, "num_local_experts": 0},
    },
    "granitemoehybrid with experts": {
        **{**SMALL, "model_type": "granitemoehybrid", **GRANITE_H, **SPARSE},
        "num_hidden_layers": 4,
    },
    "falcon_h1": {**SMALL, "model_type": "falcon_h1", **MAMBA, "mamba_d_ssm": 512},
    "nemotron_h": {**SMALL, "model_type": "nemotron_h", **NEMOTRON},
    "qwen3_5": {**SMALL, "model_type": "qwen3_5_text", **DELTA, "num_hidden_layers": 4},
    "qwen3_5_moe": {
        **{**SMALL, "model_type": "qwen3_5_moe_text", **DELTA, **NARROW_EXPERTS},
        **{"num_hidden_layers": 4, "shared_expert_intermediate_size": 128},
    },
    "lfm2": {**SMALL, "model_type": "lfm2", "full_attn_idxs": [1]},
    "falcon one key head": {**FALCON, "model_type": "falcon", "multi_query": True},
    "falcon grouped": {
        **{**FALCON, "model_type": "falcon"},
        **{"new_decoder_architecture": True, "num_kv_heads": 2},
    },
    "gemma4": {**SMALL, "model_type": "gemma4_text", **GEMMA4},
    "gpt2": {**GPT2, "model_type": "gpt2"},
    "gpt_bigcode": {**GPT2, "model_type": "gpt_bigcode"},
    "cohere": {**SMALL, "model_type": "cohere", "use_qk_norm": True},
    "cohere2": {**SMALL, "model_type": "cohere2", "num_hidden_layers": 4},
    "opt": {**SMALL, "model_type": "opt", "ffn_dim": 1024},
    "arcee": {**SMALL, "model_type": "arcee", "hidden_act": "relu2"},
    "ernie4_5": {**SMALL, "model_type": "ernie4_5"},
    "exaone4": {
        **{**SMALL, "model_type": "exaone4", "num_hidden_layers": 4},
        **{"sliding_window": 64, "sliding_window_pattern": 4},
    },
    "glm": {**SMALL, "model_type": "glm", "pad_token_id": 0},
    "glm4": {**SMALL, "model_type": "glm4", "pad_token_id": 0},
    "glm4_moe": {**SMALL, "model_type": "glm4_moe", **GLM4_MOE, "use_qk_norm": True},
    "seed_oss": {**SMALL, "model_type": "seed_oss"},
    "starcoder2": {
        **{**SMALL, "model_type": "starcoder2"},
        **{"residual_dropout": 0.1, "embedding_dropout": 0.1, "attention_dropout": 0.1},
    },
}
#: Of these, the ones whose published models are not in the grid.
NOT_IN_THE_GRID = (
    *("granitemoeshared", "llama4", "llama4 partly dense", "deepseek_v32", "minicpm3"),
    *("nemotron_h", "cohere", "arcee", "ernie4_5", "exaone4", "glm", "glm4", "glm4_moe"),
    *("seed_oss", "starcoder2"),
)

#: Trainers' defaults play no part.
PLAIN: Config = {
    "trainer": "trl",
    "training_method": "sft",
    "param_dtype": "bfloat16",
    "mixed_precision": "no",
    "optim": "adamw_torch_fused",
    "micro_batch_size": 2,
    "max_seq_len": 256,
    "gradient_checkpointing": False,
    "offload_activations": False,
    "attn_implementation": "sdpa",
    "loss_kernel": "eager",
    "use_liger": False,
    "lora_r": 8,
    "lora_dropout": 0.0,
}
# PEFT refuses the last projection of a Mamba, `out_proj`, and Nemotron's `fc1_latent_proj`, which
# is an identity where the experts are as wide as the model.
LORA: Config = {
    "training_method": "lora",
    "target_modules": r".*(attn|attention|mixer)\.((?!out_|fc)\w+_proj|\w+_proj_with_mqa)",
}
CHOICES: dict[str, Config] = {
    "full": {},
    "full, autocast": {"param_dtype": "float32", "mixed_precision": "bf16"},
    "full, checkpointing": {"gradient_checkpointing": True},
    "full, padded": {"padded": True},
    "lora": LORA,
    "lora, checkpointing": {**LORA, "gradient_checkpointing": True},
}
GPU = lookup("A100-80GB")


def replayed(architecture: Architecture, config: vw.TrainingConfig) -> Record:
    """Return the record of a model's first steps, without workspaces of cuBLAS."""
    return as_traced(replay(Run.of(config, architecture, GPU)))


def num_trainable(architecture: Architecture, config: vw.TrainingConfig) -> int:
    """Return how many parameters are trained."""
    return Run.of(config, architecture, GPU).num_trainable


models = st.sampled_from(sorted(MODELS))
choices = st.sampled_from(sorted(CHOICES))


def config(choice: str, **more: Any) -> TrainingConfig:
    chosen = {**PLAIN, **CHOICES[choice], **more}
    return TrainingConfig("small", **chosen)


def targets(model: str, choice: str) -> Config:
    """Return the adapters' targets where the family's attention has other names."""
    if "lora" in choice and model in ("falcon one key head", "falcon grouped"):
        return {"target_modules": ["query_key_value", "dense"]}
    if "lora" in choice and model in ("gpt2", "gpt_bigcode"):
        return {"target_modules": ["c_attn"]}
    return {}


def peak(model: str, choice: str, **more: Any) -> int:
    chosen = config(choice, **{**targets(model, choice), **more})
    return replayed(from_config(MODELS[model]), chosen).peak


def test_the_models_here_are_of_every_family_that_is_not_llama_like():
    here = {model["model_type"] for model in MODELS.values()}
    assert here - set(families()) == {"opt"}  # which stands for older families, not known


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("model", MODELS)
def test_memory_is_never_negative_and_each_step_ends_as_it_began(model, choice):
    record = replayed(from_config(MODELS[model]), config(choice, **targets(model, choice)))
    line, _ = record.timeline
    for component in COMPONENTS:
        assert min(line.bytes[component]) >= 0
    assert line.total[line.step.index(2)] == line.total[-1]
    # All that a step leaves behind is what it found and the optimizer's states.
    left = {component: line.bytes[component][-1] for component in COMPONENTS}
    assert left["parameters"] > 0
    assert left["optimizer"] > 0
    assert sum(left.values()) == left["parameters"] + left["optimizer"]


def moments(architecture: Architecture) -> int:
    """Return for how many parameters AdamW keeps its first moment after two steps."""
    record = replayed(architecture, config("full", max_seq_len=16))
    last = len(record.segments) - 1
    end = Moment(last, 0, len(record.segments[last].events))
    kept = [(a, count) for a, count in record.alive(end) if a.what == "exp_avg"]
    return sum(a.rows * a.width * count for a, count in kept)


def passed_over(architecture: Architecture) -> int:
    """Return the parameters of DeepSeek V3.2's indexers, which run under no_grad."""
    return sum(
        group.count * prod(shape)
        for group in architecture.layers
        for name, shape in group.weights.items()
        if ".indexer." in name
    )


def test_every_weight_that_trains_gets_a_gradient_in_every_known_model():
    for name in names():
        architecture = load(name)
        trained = num_trainable(architecture, config("full")) - passed_over(architecture)
        assert moments(architecture) == trained, name


@pytest.mark.parametrize("model", MODELS)
def test_every_weight_that_trains_gets_a_gradient(model):
    architecture = from_config(MODELS[model])
    assert moments(architecture) == architecture.num_parameters - passed_over(architecture)


def test_other_towers_are_held_and_not_trained():
    architecture = load("google/gemma-3-4b-it")
    line, _ = replayed(architecture, config("full")).timeline
    held = line.bytes["parameters"][line.step.index(1)]
    assert held == pytest.approx(2 * architecture.num_parameters, rel=0.001)
    assert moments(architecture) == num_trainable(architecture, config("full"))
    assert num_trainable(architecture, config("full")) < architecture.num_parameters


@settings(max_examples=60, deadline=None)
@given(models, choices, st.integers(1, 600), st.integers(1, 200))
def test_more_tokens_never_take_less(model, choice, length, more):
    short = peak(model, choice, max_seq_len=length)
    assert peak(model, choice, max_seq_len=length + more) >= short
    assert peak(model, choice, max_seq_len=length, micro_batch_size=3) >= short


@pytest.mark.parametrize("choice", ["full", "full, autocast", "full, padded"])
@pytest.mark.parametrize("model", MODELS)
def test_checkpointing_never_keeps_more_activations_where_every_layer_trains(model, choice):
    # Adapters in the last layers alone are another matter: without checkpointing the layers before
    # the first adapter keep nothing at all, with it each keeps its input.
    architecture = from_config(MODELS[model])

    def activations(checkpointing: bool) -> int:
        chosen = config(choice, gradient_checkpointing=checkpointing)
        line, _ = replayed(architecture, chosen).timeline
        return max(line.bytes["activations"])

    assert activations(True) <= activations(False)


@pytest.mark.parametrize("model", ["mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3"])
def test_a_mixture_replays_one_layer_for_all_that_are_alike(model):
    few, many = ({**MODELS[model], "num_hidden_layers": count} for count in (4, 90))
    events = [
        sum(len(segment.events) for segment in replayed(from_config(c), config("full")).segments)
        # what is loaded and stepped is listed parameter by parameter
        for c in (few, many)
    ]
    assert events[0] == events[1]


@pytest.mark.parametrize("choice", ["full", "lora, checkpointing"])
@pytest.mark.parametrize("model", NOT_IN_THE_GRID)
def test_a_small_step_is_as_traced(model, choice):
    transformers()
    chosen = config(choice)
    traced = vw.trace(chosen, MODELS[model])
    record = replayed(from_config(MODELS[model]), chosen)
    assert record.peak == pytest.approx(traced.allocated, rel=0.01)


def test_an_unknown_mixture_runs_as_mixtral_with_its_shared_expert(tmp_path):
    shared = {"shared_expert_intermediate_size": 320}
    unknown = {**MODELS["mixtral"], "model_type": "nobody_knows", **shared}
    (tmp_path / "config.json").write_text(json.dumps(unknown))
    est = vw.estimate(str(tmp_path), gpu="A100-80GB", **PLAIN)
    assert not est.architecture.known
    assert as_traced(record_of(est)).peak > peak("mixtral", "full")


def test_osft_decomposes_what_mini_trainer_knows_by_name():
    # Its names are those of Llama's projections: it decomposes nothing of a GPT-NeoX.
    known, other = load("meta-llama/Llama-3.2-1B"), load("EleutherAI/pythia-1b")
    chosen = config("full", training_method="osft", trainer="training_hub")
    assert num_trainable(known, chosen) < known.num_parameters
    assert num_trainable(other, chosen) == other.num_parameters
    gpt2 = load("openai-community/gpt2")
    assert num_trainable(gpt2, chosen) < gpt2.num_parameters
