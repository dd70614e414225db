"""torchtune's files: the model by its builder, the launch by the comment, every key named."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from vram_widget.config import TrainingConfig
from vram_widget.errors import ConfigError
from vram_widget.export.readers.reading import ReadingWarning
from vram_widget.export.readers.torchtune import from_torchtune, run

LORA: dict[str, Any] = {
    "model": {
        "_component_": "torchtune.models.llama3_1.lora_llama3_1_8b",
        "lora_attn_modules": ["q_proj", "output_proj"],
        "lora_rank": 4,
        "lora_alpha": 8,
    },
    "tokenizer": {
        "_component_": "torchtune.models.llama3.llama3_tokenizer",
        "path": "/tmp/tokenizer.model",
        "max_seq_len": 1024,
    },
    "checkpointer": {
        "_component_": "torchtune.training.FullModelHFCheckpointer",
        "checkpoint_dir": "/tmp/Meta-Llama-3.1-8B-Instruct/",
    },
    "loss": {"_component_": "torch.nn.CrossEntropyLoss"},
    "optimizer": {"_component_": "torch.optim.AdamW", "fused": True, "lr": 3e-4},
    "batch_size": 2,
    "gradient_accumulation_steps": 8,
    "dtype": "bf16",
    "seed": None,
}
FULL = {**LORA, "model": {"_component_": "torchtune.models.qwen2_5.qwen2_5_7b_base"}}


def read(base: dict[str, Any], choices: dict[str, Any] | None = None, **settings: Any) -> Any:
    """Read settings that leave nothing uncounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadingWarning)
        return from_torchtune({**base, **settings}, **(choices or {}))


def effects(base: dict[str, Any], choices: dict[str, Any] | None = None, **settings: Any) -> Any:
    """Return what leaving out the settings does to the figure, one word each."""
    with pytest.warns(ReadingWarning):
        config = from_torchtune({**base, **settings}, **(choices or {}))
    return [each["effect"] for each in config.uncounted]


def test_a_file_says_every_field_that_decides_memory() -> None:
    expected = TrainingConfig(
        "meta-llama/Meta-Llama-3.1-8B-Instruct",
        trainer="torchtune",
        training_method="lora",
        lora_r=4,
        lora_alpha=8,
        lora_dropout=0.0,
        lora_dtype="bfloat16",
        target_modules=["q_proj", "o_proj"],
        max_seq_len=1024,
        micro_batch_size=2,
        gradient_accumulation_steps=8,
        padded=True,
        param_dtype="bfloat16",
        mixed_precision="no",
        optim="adamw_torch_fused",
        optimizer_in_backward=False,
        gradient_checkpointing=False,
        loss_kernel="eager",
    )
    assert read(LORA).config == expected.config


def test_the_builder_says_how_the_base_is_held() -> None:
    model = LORA["model"]
    full = read(FULL)
    assert (full.training_method, full.model_path) == ("sft", "Qwen/Qwen2.5-7B")
    assert read(LORA, model={**model, "quantize_base": True}).training_method == "qlora"
    named = {**model, "_component_": "torchtune.models.llama2.qlora_llama2_7b", "use_dora": True}
    config = read(LORA, model=named)
    assert (config.training_method, config.use_dora) == ("qlora", True)
    assert config.model_path == "meta-llama/Llama-2-7b-hf"
    assert read(LORA, model={**named, "quantize_base": False}).training_method == "lora"


def test_adapters_stand_where_the_switches_put_them() -> None:
    model = {**LORA["model"], "apply_lora_to_mlp": True, "apply_lora_to_output": True}
    assert read(LORA, model=model).target_modules == [
        *("q_proj", "o_proj", "gate_proj", "down_proj", "up_proj", "lm_head")
    ]
    with pytest.raises(ConfigError, match="lora_attn_modules"):
        read(LORA, model={**model, "lora_attn_modules": ["wq"]})
    phi = {**model, "_component_": "torchtune.models.phi4.lora_phi4_14b"}
    with pytest.warns(ReadingWarning):
        config = from_torchtune({**LORA, "model": phi})
    assert config.target_modules == ["qkv_proj", "o_proj", "gate_up_proj", "down_proj", "lm_head"]


COMMENT = """# tune download org/Meta-Llama-3.1-8B-Instruct --output-dir /tmp/x
#   tune run --nnodes 2 --nproc_per_node 4 full_finetune_distributed --config mine
model:
  _component_: torchtune.models.llama3_1.llama3_1_8b
tokenizer:
  max_seq_len: 512
checkpointer:
  checkpoint_dir: /tmp/Meta-Llama-3.1-8B-Instruct/
output_dir: /tmp/out
metric_logger:
  log_dir: ${output_dir}/logs
batch_size: 3
batch_size_val: ${batch_size}
loss:
  _component_: torch.nn.CrossEntropyLoss
"""


def test_the_comment_names_the_model_and_the_launch(tmp_path: Any) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(COMMENT)
    for source in (COMMENT, file, str(file)):
        config = from_torchtune(source)
        assert config.model_path == "org/Meta-Llama-3.1-8B-Instruct"
        assert (config.num_gpus, config.num_nodes) == (8, 2)
    assert from_torchtune(COMMENT, num_gpus=2, num_nodes=1).num_gpus == 2


def test_references_resolve_and_never_in_circles() -> None:
    config = read(LORA, batch_size="${gradient_accumulation_steps}")
    assert config.micro_batch_size == 8
    with pytest.raises(ConfigError, match="itself"):
        read(LORA, batch_size="${batch_size}")


@pytest.mark.parametrize(
    ("component", "optim"),
    [
        ("torch.optim.AdamW", "adamw_torch"),
        ("torch.optim.SGD", "sgd"),
        ("bitsandbytes.optim.PagedAdamW8bit", "paged_adamw_8bit"),
        ("bitsandbytes.optim.PagedAdamW", "paged_adamw_32bit"),
        ("torchao.optim.AdamW8bit", "adamw_torch_8bit"),
        ("torchao.prototype.low_bit_optim.AdamW4bit", "adamw_torch_4bit"),
    ],
)
def test_optimizers_by_the_states_they_hold(component: str, optim: str) -> None:
    assert read(FULL, optimizer={"_component_": component}).optim == optim


def test_an_optimizer_with_other_states_is_named() -> None:
    assert effects(FULL, optimizer={"_component_": "mine.Sophia"}) == ["unknown"]
    momentum = {"_component_": "torch.optim.SGD", "momentum": 0.9}
    assert effects(FULL, optimizer=momentum) == ["too_little"]
    assert read(FULL, {"optim": "sgd"}, optimizer={"_component_": "mine.Sophia"}).optim == "sgd"
    amsgrad = {"_component_": "torch.optim.AdamW", "amsgrad": True}
    assert effects(FULL, optimizer=amsgrad) == ["too_little"]
    offloaded = {"_component_": "torchao.optim.CPUOffloadOptimizer"}
    assert effects(FULL, optimizer={**offloaded, "offload_gradients": True}) == ["too_much"]
    assert read(FULL, optimizer=offloaded).cpu_offload == "optimizer"


def test_checkpointing_by_both_of_its_switches() -> None:
    def checkpoints(**settings: Any) -> bool:
        return bool(read(FULL, **settings).gradient_checkpointing)

    assert checkpoints(enable_activation_checkpointing=True)
    assert checkpoints(ac_mode="full")
    assert checkpoints(ac_mode="selective", ac_option=1)
    # _setup_model of the recipe: each waits for the other to be off
    assert not checkpoints(enable_activation_checkpointing=True, ac_mode="full")
    assert effects(FULL, ac_mode="selective", ac_option=2) == ["too_much"]
    both = {"enable_activation_checkpointing": True, "enable_activation_offloading": True}
    assert read(FULL, **both).offload_activations


def test_the_loss_that_keeps_all_of_its_parts() -> None:
    loss = {"_component_": "torchtune.modules.loss.LinearCrossEntropyLoss"}
    assert read(FULL, loss=loss).loss_kernel == "chunked"
    assert effects(FULL, loss=loss, compile=True) == ["unknown"]
    of_logits = {"_component_": "torchtune.modules.loss.CEWithChunkedOutputLoss"}
    assert read(FULL, loss=of_logits).loss_kernel == "fused"


def test_a_length_that_a_file_leaves_open_is_asked_for() -> None:
    tokenizer = {"max_seq_len": None}
    assert effects(LORA, tokenizer=tokenizer) == ["unknown"]
    assert read(LORA, {"max_seq_len": 4096}, tokenizer=tokenizer).max_seq_len == 4096


def test_packed_data_has_no_padding() -> None:
    assert not read(LORA, dataset={"packed": True, "source": "x"}).padded
    assert not read(LORA, dataset=[{"packed": True}, {"packed": True}]).padded


def test_several_gpus() -> None:
    gpus = {"num_gpus": 4}
    assert read(FULL, gpus).sharding == "fsdp"
    assert read(FULL, gpus, fsdp_cpu_offload=True).cpu_offload == "all"
    assert read(FULL, gpus, fsdp_reshard_after_forward=False).sharding == "zero2"
    assert effects(FULL, gpus, custom_sharded_layers=["output"]) == ["too_much"]
    assert effects(FULL, gpus, tensor_parallel_dim=2) == ["too_much"]
    replicated = {"data_parallel_replicate_dim": 2, "data_parallel_shard_dim": 4}
    assert read(FULL, {"num_nodes": 2}, **replicated).sharding == "hsdp"
    assert read(FULL, {"num_nodes": 2}, **replicated).num_gpus == 8
    assert effects(FULL, fsdp_cpu_offload=True) == ["unknown"]  # of how many GPUs?
    assert read(FULL, {"num_gpus": 1}, fsdp_cpu_offload=True).cpu_offload == "none"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": {"_component_": "torchtune.rlhf.loss.DPOLoss"}}, "DPO"),
        ({"teacher_model": {"_component_": "x"}}, "distillation"),
        ({"grpo_samples": 16}, "GRPO"),
        ({"tasks": ["mmlu"]}, "evaluation"),
        ({"device": "cpu"}, "CPU"),
        ({"model": {"_component_": "torchtune.models.llama4.llama4_scout_17b_16e"}}, "images"),
        ({"model": {"_component_": "a.lora_llama3_2_vision_11b"}}, "images"),
        ({"model": {"_component_": "torchtune.models.llama2.llama2"}}, "No model"),
        ({"model": "llama"}, "mapping"),
        ({"dtype": "fp8"}, "param_dtype"),
        ({"batch_size": "many"}, "micro_batch_size"),
        ({"data_parallel_shard_dim": 0}, "data_parallel_shard_dim"),
    ],
)
def test_what_is_refused_is_refused_in_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        from_torchtune({**FULL, **settings})


def test_quantisation_while_training_is_named_and_by_itself_refused() -> None:
    quantizer = {"_component_": "torchtune.training.quantization.Int8DynActInt4WeightQATQuantizer"}
    assert effects(FULL, quantizer=quantizer) == ["too_little"]
    with pytest.raises(ConfigError, match="train nothing"):
        from_torchtune({"model": FULL["model"], "quantizer": quantizer})


def test_an_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.warns(ReadingWarning, match="'batch_size'"):
        from_torchtune({**FULL, "batchsize": 4})


def test_a_command_line_changes_the_file(tmp_path: Any) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(COMMENT)
    words = f"run --nproc_per_node 2 full_finetune_distributed --config {file}".split()
    changed = ["batch_size=5", "tokenizer.max_seq_len=64", "model=a.b.qwen3_4b_base"]
    config = run([*words, *changed], {})
    assert (config.num_gpus, config.micro_batch_size, config.max_seq_len) == (2, 5, 64)
    assert config.model_path == "Qwen/Qwen3-4B-Base"
    single = ["run", "full_finetune_single_device", "--config", str(file), "~batch_size"]
    assert run(single, {"micro_batch_size": 7}).micro_batch_size == 7
    with pytest.raises(ConfigError, match="tune cp"):
        run(["run", "lora_finetune_single_device", "--config", "llama3/8B_lora"], {})
    with pytest.raises(ConfigError, match="no fine-tune"):
        run(["cp", "llama3/8B_lora", "."], {})
