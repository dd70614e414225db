"""Axolotl's files: every key is read, has no bearing, or is named."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import vram_widget as vw
from vram_widget.export.readers.axolotl import DEEPSPEED_FILES, from_axolotl, run
from vram_widget.export.readers.reading import ReadingWarning
from vram_widget.units import GiB

FULL = {"base_model": "meta-llama/Llama-3.1-8B", "attn_implementation": "flash_attention_2"}
LORA = {
    **FULL,
    "adapter": "lora",
    "lora_r": 16,
    "lora_target_linear": True,
    "lora_mlp_kernel": False,
}
QLORA = {**LORA, "adapter": "qlora", "load_in_4bit": True}
CUT = {"plugins": ["axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"]}
LIGER = {"plugins": ["axolotl.integrations.liger.LigerPlugin"]}


def read(base: dict[str, Any], /, **settings: Any) -> vw.TrainingConfig:
    """Read settings that leave nothing uncounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadingWarning)
        return from_axolotl({**base, **settings})


def notices(base: dict[str, Any], /, **settings: Any) -> dict[str, str]:
    """Return what of the settings is not counted: sentence -> effect."""
    with pytest.warns(ReadingWarning):
        config = from_axolotl({**base, **settings})
    return {each["text"]: each["effect"] for each in config.uncounted}


def gib(config: vw.TrainingConfig, **choices: Any) -> float:
    """Return an estimate in GiB."""
    return vw.estimate(config, **choices).expected / GiB


# -- what a file means ----------------------------------------------------------------------------


def test_a_file_with_cut_cross_entropy_fits_an_rtx_4090() -> None:
    settings = {**LORA, "base_model": "Qwen/Qwen2.5-7B-Instruct", "gradient_checkpointing": True}
    batch = {"sequence_len": 4096, "micro_batch_size": 2, "sample_packing": True}
    config = read(settings, **batch, **CUT)
    assert gib(config, gpu="RTX 4090") == pytest.approx(20, abs=0.3)
    assert vw.estimate(config, gpu="RTX 4090").verdict == "fits"
    assert vw.estimate(read(settings, **batch), gpu="RTX 4090").verdict != "fits"


def test_qlora_holds_what_the_loader_casts_back_in_bfloat16() -> None:
    config = read(
        QLORA, lora_r=32, sequence_len=2048, sample_packing=True, gradient_checkpointing=True
    )
    assert gib(config, gpu="A100-80GB") == pytest.approx(10.3, abs=0.1)


@pytest.mark.parametrize("old", ["", "fsdp_"])
def test_fsdp_checkpoints_activations_by_a_key_of_its_own(old: str) -> None:
    fsdp = {f"{old}activation_checkpointing": True, f"{old}offload_params": True}
    config = read(LORA, fsdp_version=2, dp_shard_size=8, fsdp_config=fsdp)
    assert (config.sharding, config.num_gpus) == ("fsdp", 8)
    assert (config.gradient_checkpointing, config.cpu_offload) == (True, "all")


def test_fsdp_of_version_1_holds_weights_that_train_in_float32() -> None:
    fsdp = {"fsdp_config": {"offload_params": False}, "dp_shard_size": 8}
    for version, dtype in ((1, "float32"), (2, "bfloat16")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReadingWarning)
            assert from_axolotl({**FULL, **fsdp, "fsdp_version": version}).param_dtype == dtype
    assert list(notices(FULL, **fsdp).values()) == ["unknown"]


def test_a_sharded_file_says_how_to_give_the_gpus() -> None:
    sharded = {"fsdp_version": 2, "fsdp_config": {"offload_params": False}}
    (text, effect), *others = notices(FULL, **sharded).items()
    assert "give num_gpus" in text
    assert effect == "too_much"
    assert not others
    assert not from_axolotl({**FULL, **sharded}, num_gpus=4).uncounted


def test_gpus_are_the_product_of_the_parallel_sizes() -> None:
    fsdp = {"fsdp_version": 2, "fsdp_config": {"offload_params": False}}
    config = read(FULL, **fsdp, dp_shard_size=4, dp_replicate_size=2)
    assert (config.sharding, config.num_gpus, config.num_nodes) == ("hsdp", 8, 2)
    assert read(FULL, **fsdp, dp_shard_size=4).sharding == "fsdp"
    said = notices(FULL, **fsdp, dp_shard_size=2, context_parallel_size=2, tensor_parallel_size=2)
    assert list(said.values()) == ["too_much", "too_much"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zero1", ("zero1", "none")),
        ("zero2", ("zero2", "optimizer")),
        ("zero3_bf16", ("zero3", "none")),
        ("zero3_bf16_cpuoffload_all", ("zero3", "all")),
    ],
)
def test_axolotls_own_deepspeed_files_are_known_by_name(
    name: str, expected: tuple[str, str]
) -> None:
    config = from_axolotl({**FULL, "deepspeed": f"deepspeed_configs/{name}.json"}, num_gpus=8)
    assert (config.sharding, config.cpu_offload) == expected


def test_no_other_deepspeed_file_is_guessed() -> None:
    with pytest.raises(vw.ConfigError, match="my_zero3"):
        from_axolotl({**FULL, "deepspeed": "deepspeed_configs/my_zero3.json"})
    assert set(DEEPSPEED_FILES) > {"zero1", "zero2", "zero3"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("bfloat16", "bf16")),
        ({"fp16": True}, ("float16", "fp16")),  # bf16: auto gives way
        ({"bf16": None}, ("float32", "no")),
        ({"bf16": False}, ("float32", "no")),
        ({"bf16": False, "bfloat16": True}, ("bfloat16", "no")),
        ({"bf16": False, "float16": True}, ("float16", "no")),
        ({"float16": True}, ("bfloat16", "bf16")),
    ],
)
def test_precision_is_resolved_as_axolotl_does(
    settings: dict[str, Any], expected: tuple[str, str]
) -> None:
    config = read(FULL, **settings)
    assert (config.param_dtype, config.mixed_precision) == expected


def test_an_adapter_loads_its_own_kind_of_base_alone() -> None:
    assert read(QLORA).quantization == "nf4"
    assert read(LORA, load_in_8bit=True).quantization == "int8"
    assert read(LORA, gptq=True).quantization == "gptq"
    config = read(LORA, load_in_4bit=True)  # 16-bit weights, which PEFT's preparation casts
    assert (config.training_method, config.param_dtype) == ("lora", "float32")
    mxfp4 = {"model_quantization_config": "Mxfp4Config"}
    assert read(LORA, **mxfp4).quantization == "mxfp4"
    dequantised = {**mxfp4, "model_quantization_config_kwargs": {"dequantize": True}}
    assert read(LORA, **dequantised).training_method == "lora"


@pytest.mark.parametrize(
    "name", ["xformers", "flex_attention", "sage", "fp8", "kernels-community/vllm-flash-attn3"]
)
def test_attention_that_never_makes_the_matrix_is_flash_attention(name: str) -> None:
    assert read(FULL, attn_implementation=name).attn_implementation == "flash_attention_2"


def test_the_old_switches_of_attention_are_read() -> None:
    base = {"base_model": "m"}
    assert read(base, flash_attention=True).attn_implementation == "flash_attention_2"
    assert read(base, eager_attention=True).attn_implementation == "eager"
    assert read(base).attn_implementation == "sdpa"


def test_optimizers_are_read_where_their_states_are_the_same() -> None:
    assert read(FULL, optimizer="adamw_torch_8bit").optim == "adamw_torch_8bit"
    assert list(notices(FULL, optimizer="muon").values()) == ["too_much"]
    assert read(LORA, optimizer="paged_adamw").optim == "paged_adamw_32bit"
    with pytest.raises(vw.ConfigError, match="give optim, which wins"):
        from_axolotl({**FULL, "optimizer": "galore_adamw"})
    assert from_axolotl({**FULL, "optimizer": "galore_adamw"}, optim="sgd").optim == "sgd"


def test_plugins_switch_kernels_on() -> None:
    assert read(FULL, **CUT).loss_kernel == "cut"
    assert read(FULL, **CUT, cut_cross_entropy=False).loss_kernel == "eager"
    assert read(FULL, cut_cross_entropy=True).loss_kernel == "eager"  # without the plugin
    layers = {"liger_rms_norm": True, "liger_glu_activation": True, "liger_rope": True}
    config = read(FULL, **LIGER, **layers, liger_fused_linear_cross_entropy=True)
    assert config.use_liger
    both = {"plugins": [*LIGER["plugins"], *CUT["plugins"]]}
    config = read(FULL, **both, **layers)
    assert (config.use_liger, config.loss_kernel) == (True, "cut")
    assert not read(FULL, **layers).use_liger
    said = notices(FULL, **LIGER, liger_rms_norm=True)
    assert list(said.values()) == ["too_much"]
    assert "liger_rms_norm" in "".join(said)


def test_kernels_for_adapters_are_on_unasked() -> None:
    asked = {key: value for key, value in LORA.items() if key != "lora_mlp_kernel"}
    assert list(notices(asked).values()) == ["too_much"]
    assert read(asked, load_in_8bit=True).quantization == "int8"


def test_activations_are_offloaded_by_the_old_names_too() -> None:
    for settings in (
        {"gradient_checkpointing": "offload"},
        {"gradient_checkpointing": True, "activation_offloading": "hidden_states"},
    ):
        config = read(FULL, **settings)
        assert (config.gradient_checkpointing, config.offload_activations) == (True, True)
    assert list(notices(LORA, gradient_checkpointing="offload").values()) == ["unknown"]


def test_what_trains_beside_adapters_is_read() -> None:
    config = read(
        LORA,
        lora_modules_to_save=["embed_tokens", "lm_head"],
        peft_trainable_token_indices=[1, 2, 3],
        lora_target_parameters=["experts.gate_up_proj"],
    )
    assert config.target_parameters == ["experts.gate_up_proj"]
    assert config.modules_to_save == ["embed_tokens", "lm_head"]
    assert config.trainable_token_indices == 3
    assert read(FULL, lora_modules_to_save=["lm_head"]).training_method == "sft"


def test_only_unfrozen_parameters_train() -> None:
    patterns = ["^lm_head.weight$", "^model.embed_tokens.weight$[:32000]", "model.layers.3[01].mlp"]
    config = read(FULL, unfrozen_parameters=patterns)
    table, mlp = 128256 * 4096, 3 * 4096 * 14336
    assert vw.estimate(config, gpu="H200").num_trainable == 2 * table + 2 * mlp
    assert list(notices(LORA, unfrozen_parameters=patterns).values()) == ["unknown"]


def test_a_revision_is_read() -> None:
    config = read({"base_model": "org/model"}, revision_of_model="abc")
    assert config.model_path == "org/model@abc"


def test_the_batch_is_split_into_passes() -> None:
    assert read(FULL, batch_size=8, micro_batch_size=2).gradient_accumulation_steps == 4


def test_what_a_call_gives_wins_over_what_would_be_refused() -> None:
    wrong = {
        **FULL,
        "deepspeed": "missing.json",
        "dp_shard_size": "x",
        "micro_batch_size": "x",
        "attn_implementation": "x",
        "optimizer": "x",
        "activation_offloading": True,
    }
    chosen: dict[str, Any] = {
        "sharding": "zero3",
        "num_gpus": 8,
        "micro_batch_size": 1,
        "attn_implementation": "sdpa",
        "optim": "adamw_8bit",
        "gradient_checkpointing": True,
    }
    config = from_axolotl(wrong, **chosen)
    assert {name: getattr(config, name) for name in chosen} == chosen


def test_a_command_line_gives_its_file_and_the_gpus(tmp_path: Path) -> None:
    file = tmp_path / "run.yml"
    file.write_text("base_model: org/model\nsequence_len: 512\n")
    words = f"train {file} --sequence-len 64 --launcher torchrun -- --nproc-per-node 4".split()
    config = run(words, {"micro_batch_size": 3})
    assert (config.max_seq_len, config.num_gpus, config.micro_batch_size) == (64, 4, 3)
    assert run(["train", str(file), "--", "--num_processes=2"], {}).num_gpus == 2
    with pytest.raises(vw.ConfigError, match="axolotl train and the file"):
        run(["inference", str(file)], {})


# -- what is not counted --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "effect"),
    [
        ({"lisa_n_layers": 4}, "too_much"),
        ({"qat": {"weight_dtype": "int8"}}, "too_little"),
        ({"fp8": True}, "unknown"),
        ({"torch_compile": True}, "unknown"),
        ({"tiled_mlp": True}, "too_much"),
        ({"layer_offloading": True}, "too_much"),
        ({"use_kernels": True}, "unknown"),
        ({"eval_batch_size": 4, "val_set_size": 0.1}, "too_little"),
        ({"chunked_cross_entropy": True}, "too_little"),
        ({"plugins": ["my.Plugin"]}, "unknown"),
        ({"secuence_len": 4096}, "unknown"),
    ],
)
def test_what_is_not_counted_is_named(settings: dict[str, Any], effect: str) -> None:
    said = notices(FULL, **settings)
    assert list(said.values()) == [effect]


def test_a_misspelt_key_has_the_nearest_one() -> None:
    (text,) = notices(FULL, context_parapllel_size=2)
    assert "'context_parallel_size'" in text


def test_the_verdict_is_not_fits_where_something_that_trains_is_left_out() -> None:
    with pytest.warns(ReadingWarning):
        config = from_axolotl({**LORA, "peft_layer_replication": [[0, 4], [2, 8]]}, gpu="H200")
    assert vw.estimate(config).verdict != "fits"


# -- what is another kind of run ------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"rl": "dpo"},
        {"reward_model": True},
        {"processor_type": "AutoProcessor"},
        {"adapter": "llama-adapter"},
        {"num_labels": 2},
        {"model_type": "AutoModelForSequenceClassification"},
        {"plugins": ["axolotl.integrations.diffusion.DiffusionPlugin"]},
        {"trainer_cls": "my.Trainer"},
        {"load_in_4bit": True},
        {"adapter": "qlora"},
        {"activation_offloading": True},
        {"s2_attention": True},
    ],
)
def test_another_kind_of_run_is_refused_in_a_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(vw.ConfigError) as refused:
        from_axolotl({**FULL, **settings})
    assert "\n" not in str(refused.value)
