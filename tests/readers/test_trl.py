"""TRL's objects, command lines and YAML: every key is read, has no bearing, or is named."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from pathlib import PurePath
from typing import Any

import pytest

import vram_widget as vw
from vram_widget.config import TrainingConfig
from vram_widget.export.readers.reading import ReadingWarning
from vram_widget.units import GiB

LLAMA = "meta-llama/Llama-3.1-8B"
NF4 = {"load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16"}


def read(settings: Any, **choices: Any) -> TrainingConfig:
    """Read settings that leave nothing uncounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadingWarning)
        return vw.from_trl(settings, **choices)


def sft(**arguments: Any) -> TrainingConfig:
    return read({"model": "m", "SFTConfig": arguments})


def lora(**fields: Any) -> TrainingConfig:
    return read({"model": "m", "LoraConfig": fields})


def notices(settings: Any) -> dict[str, str]:
    """Return the keys that are not counted, with their effects."""
    with pytest.warns(ReadingWarning):
        config = vw.from_trl(settings)
    return {each["text"].split(":")[0]: each["effect"] for each in config.uncounted}


# -- right values -----------------------------------------------------------------------------


def test_zero3_on_four_gpus_is_sharded_over_four():
    launch = {
        "num_processes": 4,
        "distributed_type": "DEEPSPEED",
        "deepspeed_config": {"zero_stage": 3},
    }
    arguments = {"per_device_train_batch_size": 1, "max_length": 2048}
    settings = {"model": LLAMA, "SFTConfig": arguments, "accelerate": launch}
    config = read(settings, gpu="A100-80GB")
    assert vw.estimate(config).expected / GiB == pytest.approx(38.5, abs=0.5)


def test_a_quantization_config_among_the_models_keywords_is_qlora():
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    quantized = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_use_double_quant=True
    )
    for written in (quantized, quantized.to_dict(), {**NF4, "bnb_4bit_use_double_quant": True}):
        config = read(
            {
                "model": "m",
                "SFTConfig": {"model_init_kwargs": {"quantization_config": written}},
                "LoraConfig": {"r": 8},
            }
        )
        assert (config.training_method, config.quantization) == ("qlora", "nf4")
        assert config.bnb_4bit_use_double_quant


# -- however they are given -------------------------------------------------------------------

SCRIPT = "trl/scripts/sft.py"
COMMAND = (
    "trl sft --model_name_or_path org/model --dataset_name d --learning_rate 2.0e-4 --use_peft "
    "--lora_r 32 --lora_target_modules q_proj v_proj --packing --max_length 2048 "
    "--no_gradient_checkpointing --dtype bfloat16 --num_processes 4 --accelerate_config fsdp2"
)


@pytest.mark.parametrize(
    "command",
    [
        COMMAND,
        COMMAND.split(),
        "$ CUDA_VISIBLE_DEVICES=0,1 " + COMMAND.replace(" --", " \\\n    --") + " 2>&1 | tee log",
        COMMAND.replace("_", "-").replace("q-proj v-proj", "q_proj v_proj"),
        COMMAND.replace("--max_length 2048", "--max_length=2048"),
    ],
)
def test_a_command_line_is_read_as_text_or_as_a_list(command):
    config = read(command)
    assert config.model_path == "org/model"
    assert (config.training_method, config.lora_r, config.lora_alpha) == ("lora", 32, 32)
    assert config.target_modules == ["q_proj", "v_proj"]
    assert (config.padded, config.max_seq_len) == (False, 2048)
    assert (config.gradient_checkpointing, config.param_dtype) == (False, "bfloat16")
    assert (config.num_gpus, config.sharding) == (4, "fsdp")


@pytest.mark.parametrize(
    ("launcher", "gpus", "nodes"),
    [
        ("accelerate launch --num_processes 8 --num_machines 2 --multi_gpu", 8, 2),
        ("torchrun --nproc_per_node 4 --nnodes=2 --rdzv_backend c10d --standalone", 8, 2),
        ("python -m torch.distributed.run --nproc-per-node=4", 4, 1),
        ("deepspeed --num_gpus 2", 2, 1),
        ("python", 1, 1),
        ("uv run", 1, 1),
    ],
)
def test_a_script_is_read_however_it_is_started(launcher, gpus, nodes):
    config = read(f"{launcher} {SCRIPT} --model_name_or_path m --lora_r 4 --use_peft true")
    assert (config.num_gpus, config.num_nodes, config.lora_r) == (gpus, nodes, 4)


def test_another_script_may_set_more_than_its_command_line():
    command = "python examples/scripts/sft_gpt_oss.py --model_name_or_path m"
    assert notices(command) == {"What sft_gpt_oss.py sets by itself is not read": "unknown"}
    read("python -m trl.scripts.sft --model_name_or_path m")


def test_a_number_of_steps_is_a_number_of_samples():
    arguments = {"max_steps": 10, "per_device_train_batch_size": 4}
    settings = {"model": "m", "SFTConfig": arguments, "accelerate": {"num_processes": 2}}
    config = read({**settings, "SFTConfig": {**arguments, "gradient_accumulation_steps": 3}})
    assert (config.num_samples, config.num_epochs) == (10 * 4 * 3 * 2, 1)
    packed = read({"model": "m", "SFTConfig": {**arguments, "packing": True, "max_length": 700}})
    assert packed.num_samples == 10 * 4  # a sample has 700 tokens unless the call has others
    assert read(settings, num_samples=7).num_samples == 7


def test_a_file_is_read_under_the_command_line(tmp_path):
    launch = tmp_path / "zero.yaml"
    launch.write_text("distributed_type: DEEPSPEED\nnum_processes: 8\n"
                      "deepspeed_config:\n  zero_stage: 3\n")  # fmt: skip
    file = tmp_path / "sft.yaml"
    file.write_text("model_name_or_path: m\nmax_length: 512\nuse_peft: true\nlora_r: 8\n")
    command = f"accelerate launch --config_file {launch} --zero_stage 2 {SCRIPT} --config {file}"
    config = read(f"{command} --lora_r 4")
    assert (config.sharding, config.num_gpus) == ("zero2", 8)
    assert (config.max_seq_len, config.lora_r) == (512, 4)
    for settings in (file, str(file), file.read_text(), {"model_name_or_path": "m", "lora_r": 8}):
        assert read(settings, max_seq_len=512).max_seq_len == 512


def test_any_path_is_a_path(tmp_path):
    (tmp_path / "sft.yaml").write_text("model_name_or_path: m\n")
    path = tmp_path / "sft.yaml"

    class Elsewhere:
        def __fspath__(self) -> str:
            return str(path)

    assert read(Elsewhere()).model_path == "m"
    with pytest.raises(vw.ConfigError, match="cannot be read"):
        read(PurePath("no-such-file.yaml"))


def test_the_trainers_own_keywords_are_read():
    settings = {"model": "m", "args": {"max_length": 9}, "peft_config": {"r": 4}}
    config = read({**settings, "quantization_config": NF4})
    assert (config.training_method, config.max_seq_len, config.lora_r) == ("qlora", 9, 4)


@pytest.mark.parametrize(
    "settings",
    [
        "trl dpo --model_name_or_path m",
        "trl grpo --model_name_or_path m",
        "accelerate launch examples/scripts/dpo_online.py --model_name_or_path m",
        "python train_reward_modeling.py --model_name_or_path m",
        "python sft_vlm.py --model_name_or_path m",
        "trl vllm-serve --model m",
        {"model": "m", "DPOConfig": {}},
        {"model": "m", "SFTConfig": dataclasses.make_dataclass("GRPOConfig", [])()},
        {"model_name_or_path": "m", "num_generations": 8},
    ],
)
def test_another_trainer_is_another_kind_of_run(settings):
    with pytest.raises(vw.ConfigError) as refused:
        vw.from_trl(settings)
    assert "\n" not in str(refused.value)


# -- each setting -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ({}, {"mixed_precision": "bf16", "gradient_checkpointing": True, "max_seq_len": 1024}),
        ({"fp16": True}, {"mixed_precision": "fp16"}),
        ({"bf16": False}, {"mixed_precision": "no"}),
        ({"max_seq_length": 77}, {"max_seq_len": 77}),
        ({"gradient_checkpointing": False}, {"gradient_checkpointing": False}),
        ({"activation_checkpointing": False}, {"gradient_checkpointing": False}),
        (
            {"gradient_checkpointing": True, "activation_checkpointing": False},
            {"gradient_checkpointing": False},
        ),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": False}}, {}),
        ({"activation_checkpointing_kwargs": {"offload": True}}, {"offload_activations": True}),
        ({"packing": True}, {"padded": False}),
        ({"padding_free": True}, {"padded": False}),
        ({"packing": False}, {"padded": True}),
        ({"max_length": 1000, "pad_to_multiple_of": 64}, {"max_seq_len": 1024}),
        ({"optim": "adamw_torch_8bit"}, {"optim": "adamw_torch_8bit"}),
        ({"optim": "adamw_apex_fused"}, {"optim": "adamw_torch_fused"}),
        ({"model_init_kwargs": {"torch_dtype": "bfloat16"}}, {"param_dtype": "bfloat16"}),
        ({"model_init_kwargs": '{"dtype": "float16"}'}, {"param_dtype": "float16"}),
        (
            {"model_init_kwargs": {"attn_implementation": "kernels-community/flash-attn2"}},
            {"attn_implementation": "flash_attention_2"},
        ),
        (
            {"model_init_kwargs": {"attn_implementation": "flash_attention_3"}},
            {"attn_implementation": "flash_attention_2"},
        ),
        ({"model_init_kwargs": {"revision": "v1"}}, {"model_path": "m@v1"}),
        ({"model_init_kwargs": {"device_map": "auto", "trust_remote_code": True}}, {}),
        ({"eval_strategy": "steps", "per_device_eval_batch_size": 8}, {}),
        ({"learning_rate": 1e-5, "seed": 1, "logging_steps": 5, "report_to": "none"}, {}),
    ],
)
def test_an_argument_is_read(arguments, fields):
    config = sft(**arguments)
    assert {name: getattr(config, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("arguments", "name", "effect"),
    [
        ({"optim": "galore_adamw"}, "optim", "too_much"),
        ({"optim": "ademamix"}, "optim", "too_little"),
        ({"optim": "my_own"}, "optim", "unknown"),
        ({"torch_compile": True}, "torch_compile", "unknown"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor", "too_little"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size", "too_much"),
        (
            {"gradient_checkpointing_kwargs": {"every_n_layers": 2}},
            "gradient_checkpointing_kwargs.every_n_layers",
            "too_little",
        ),
        (
            {"accelerator_config": {"split_batches": True}},
            "accelerator_config.split_batches",
            "too_much",
        ),
        (
            {"model_init_kwargs": {"device_map": {"a": 0, "b": "cpu"}}},
            "model_init_kwargs.device_map",
            "unknown",
        ),
        ({"model_init_kwargs": {"dtype": "auto"}}, "model_init_kwargs.dtype", "unknown"),
        (
            {"model_init_kwargs": {"attn_implementation": "flex_attention"}},
            "model_init_kwargs.attn_implementation",
            "unknown",
        ),
        (
            {"gradient_checkpointing": False, "activation_offloading": True},
            "activation_offloading",
            "too_much",
        ),
        ({"per_device_train_batchsize": 4}, "per_device_train_batchsize", "unknown"),
    ],
)
def test_what_is_not_counted_is_named(arguments, name, effect):
    assert notices({"model": "m", "SFTConfig": arguments}) == {name: effect}


def test_an_evaluation_of_more_sequences_is_named():
    arguments = {"eval_strategy": "steps", "per_device_train_batch_size": 1}  # evaluation takes 8
    (sentence,) = notices({"model": "m", "SFTConfig": arguments})
    assert sentence == "Evaluation (eval_strategy"


def test_a_misspelt_key_is_named_with_the_nearest():
    with pytest.warns(ReadingWarning, match="Did you mean 'per_device_train_batch_size'"):
        vw.from_trl({"model": "m", "SFTConfig": {"per_device_train_batchsize": 4}})


@pytest.mark.parametrize("key", ["max_length", "max_seq_length"])
def test_sequences_that_are_not_truncated_need_their_length(key):
    settings = {"model": "m", "SFTConfig": {key: None}}
    with pytest.raises(vw.ConfigError, match="give max_seq_len"):
        vw.from_trl(settings)
    assert read(settings, max_seq_len=4096).max_seq_len == 4096


def test_a_choice_of_the_call_takes_the_notice_away():
    settings = {"model": "m", "SFTConfig": {"optim": "my_own"}}
    assert read(settings, optim="adafactor").optim == "adafactor"


@pytest.mark.parametrize(
    ("arguments", "sharding", "offload", "unsaid"),
    [
        ({"fsdp": True}, "fsdp", "none", {}),
        ({"fsdp": "full_shard auto_wrap offload"}, "fsdp", "all", {}),
        ({"fsdp": ["full_shard", "auto_wrap"]}, "fsdp", "none", {}),
        ({"fsdp": "hybrid_shard auto_wrap"}, "hsdp", "none", {}),
        ({"fsdp": ""}, "ddp", "none", {}),
        ({"fsdp": True, "fsdp_config": {"cpu_offload": True}}, "fsdp", "all", {}),
        ({"fsdp": False, "fsdp_config": {"cpu_offload": True}}, "ddp", "none", {}),
        (
            {"fsdp": "shard_grad_op"},
            "fsdp",
            "none",
            {"fsdp_config.reshard_after_forward": "too_little"},
        ),
        (
            {"fsdp": True, "fsdp_config": {"reshard_after_forward": False}},
            "fsdp",
            "none",
            {"fsdp_config.reshard_after_forward": "too_little"},
        ),
        ({"deepspeed": {"zero_optimization": {"stage": "2"}}}, "zero2", "none", {}),
    ],
)
def test_the_trainers_own_sharding(arguments, sharding, offload, unsaid):
    settings = {"model": "m", "SFTConfig": arguments, "accelerate": {"num_processes": 8}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadingWarning)
        config = vw.from_trl(settings)
    assert (config.sharding, config.cpu_offload) == (sharding, offload)
    assert {e["text"].split(":")[0]: e["effect"] for e in config.uncounted} == unsaid


def test_fsdps_activation_checkpointing_is_checkpointing():
    options = {"activation_checkpointing": True}
    arguments = {"gradient_checkpointing": False, "fsdp": True, "fsdp_config": options}
    launch = {"num_processes": 8}
    assert read({"model": "m", "SFTConfig": arguments, "accelerate": launch}).gradient_checkpointing


def test_gpus_must_be_given_where_weights_are_sharded():
    (sentence,) = notices({"model": "m", "SFTConfig": {"fsdp": True}})
    assert "give num_gpus" in sentence
    assert read({"model": "m", "SFTConfig": {"fsdp": True}}, num_gpus=8).sharding == "fsdp"


# -- adapters ---------------------------------------------------------------------------------


def test_loras_own_defaults_are_pefts():
    config = lora(task_type="CAUSAL_LM", bias="none", use_rslora=True, init_lora_weights="pissa")
    assert (config.lora_r, config.lora_alpha, config.lora_dropout) == (8, 8, 0)
    config = read({"model_name_or_path": "m", "use_peft": True})
    assert (config.lora_r, config.lora_alpha, config.lora_dropout) == (16, 32, 0.05)
    assert read({"model_name_or_path": "m", "lora_r": 8}).training_method == "sft"


@pytest.mark.parametrize(
    ("fields", "ours"),
    [
        ({"modules_to_save": ["embed_tokens", "lm_head"]}, ["embed_tokens", "lm_head"]),
        ({"target_parameters": ["experts.down_proj"]}, ["experts.down_proj"]),
        ({"trainable_token_indices": [1, 2, 3]}, 3),
        ({"trainable_token_indices": {"embed_tokens": [1, 2]}}, 2),
    ],
)
def test_what_trains_beside_the_adapters_is_read(fields, ours):
    (name,) = fields
    assert getattr(lora(**fields), name) == ours


@pytest.mark.parametrize(
    ("fields", "effect"),
    [
        ({"exclude_modules": ["k_proj"]}, "too_much"),
        ({"rank_pattern": {"q_proj": 64}}, "unknown"),
        ({"layers_to_transform": [0, 1]}, "too_much"),
        ({"bias": "all"}, "too_little"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "too_little"),
    ],
)
def test_what_an_adapter_has_beside_is_named(fields, effect):
    (name,) = fields
    assert notices({"model": "m", "LoraConfig": fields}) == {f"LoraConfig.{name}": effect}


@pytest.mark.parametrize(
    "fields", [{"peft_type": "PROMPT_TUNING"}, {"peft_type": "IA3"}, {"task_type": "SEQ_CLS"}]
)
def test_another_adapter_or_task_is_refused(fields):
    with pytest.raises(vw.ConfigError, match="not estimated here"):
        vw.from_trl({"model": "m", "LoraConfig": fields})


def test_quantised_weights_are_not_trained_by_themselves():
    with pytest.raises(vw.ConfigError, match="give LoraConfig"):
        vw.from_trl({"model": "m", "BitsAndBytesConfig": NF4})


def test_products_in_float32_are_named():
    # transformers' own default of bnb_4bit_compute_dtype
    settings = {"model": "m", "LoraConfig": {}, "BitsAndBytesConfig": {"load_in_4bit": True}}
    assert [*notices(settings).values()] == ["too_little"]


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "mxfp4"])
def test_a_quantised_checkpoint_is_read_by_its_method(method):
    quantized = {"quant_method": method}
    config = read({"model": "m", "LoraConfig": {}, "BitsAndBytesConfig": quantized})
    assert (config.training_method, config.quantization) == ("qlora", method)


def test_adapters_have_the_bases_dtype_under_zero3():
    # sft_trainer.py: autocast_adapter_dtype=False
    arguments = {
        "deepspeed": {"zero_optimization": {"stage": 3}},
        "model_init_kwargs": {"dtype": "bfloat16"},
    }
    launch = {"num_processes": 8}
    settings = {"model": "m", "SFTConfig": arguments, "accelerate": launch, "LoraConfig": {}}
    assert read(settings).lora_dtype == "bfloat16"


# -- every field of the classes ---------------------------------------------------------------


def unknown(settings: Any) -> list[str]:
    """Return what is said of keys that nobody knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadingWarning)
        try:
            config = vw.from_trl(settings)
        except vw.ConfigError:
            return []  # looked at
    return [each["text"] for each in config.uncounted if "no setting known" in each["text"]]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("transformers", "TrainingArguments"),
        ("trl.trainer.sft_config", "SFTConfig"),
        ("trl.trainer.model_config", "ModelConfig"),
        ("trl.scripts.utils", "ScriptArguments"),
        ("trl.scripts.utils", "DatasetMixtureConfig"),
    ],
)
def test_every_field_of_the_arguments_is_known(module, name):
    for field in dataclasses.fields(getattr(pytest.importorskip(module), name)):
        for value in ("x", 1):
            assert unknown({"model": "m", "SFTConfig": {field.name: value}}) == []


def test_every_field_of_lora_is_known():
    for field in dataclasses.fields(pytest.importorskip("peft").LoraConfig):
        assert unknown({"model": "m", "LoraConfig": {field.name: "x"}}) == []


def test_every_field_of_bitsandbytes_is_known():
    config = pytest.importorskip("transformers").BitsAndBytesConfig
    names = [*inspect.signature(config).parameters, *config(load_in_4bit=True).to_dict()]
    for name in names:
        if name != "kwargs":
            settings = {"load_in_4bit": True, name: "x"}
            assert unknown({"model": "m", "LoraConfig": {}, "BitsAndBytesConfig": settings}) == []


def test_an_object_with_its_own_defaults_leaves_nothing_uncounted(tmp_path):
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    read(
        {
            "model": "m",
            "SFTConfig": transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True),
            "LoraConfig": peft.LoraConfig(),
        }
    )


# -- hostile ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        "", "trl", "trl sft", "trl sft x", "trl sft --model_name_or_path", "trl sft 'x", "python",
        "accelerate launch", "accelerate launch --num_processes", "no-such-file.yaml", "a: [",
        "torchrun --nproc_per_node=gpu sft.py --model_name_or_path m", "\0", "trl sft --\0 \0",
        f"trl sft --model_name_or_path m --max_length {'9' * 5000}", [1, 2], [], None, 3, b"trl",
        {1: 2}, {"model": 1}, {"model": "m", "SFTConfig": 3}, {"model": "m", "accelerate": 5},
        {"model": "m", "accelerate": {"fsdp_config": 5, "distributed_type": "FSDP"}},
        {"model": "m", "accelerate": {"num_processes": -3}},
        {"model": "m", "accelerate": {"parallelism_config": {"tp_size": "x"}}},
        {"model": "m", "SFTConfig": {"model_init_kwargs": "{"}},
        {"model": "m", "SFTConfig": {"model_init_kwargs": {"dtype": []}}},
        {"model": "m", "SFTConfig": {"optim": []}},
        {"model": "m", "SFTConfig": {"fsdp": 7}},
        {"model": "m", "SFTConfig": {"deepspeed": 7}},
        {"model": "m", "SFTConfig": {"pad_to_multiple_of": 0}},
        {"model": "m", "LoraConfig": {"r": "x"}},
        {"model": "m", "LoraConfig": {"target_modules": {}}},
        {"model": "m", "LoraConfig": {}, "BitsAndBytesConfig": {"quant_method": []}},
    ],
)  # fmt: skip
def test_hostile_settings_are_read_or_refused_in_a_sentence(settings):
    sentence = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadingWarning)
        try:
            vw.from_trl(settings)
        except vw.ConfigError as error:
            sentence = str(error)
    assert "\n" not in sentence
