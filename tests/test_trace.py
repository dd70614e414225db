"""The trace against steps counted by others: the reference table, and PyTorch's own profiler."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from statistics import median
from typing import Any

import pytest
import reference_steps
from reference_steps import REFERENCE

import vram_widget as vw
from vram_widget.errors import ConfigError, MissingPackageError, ModelError
from vram_widget.step.timeline import COMPONENTS
from vram_widget.trace import Trace, trace

if os.environ.get("CI") != "true":
    for package in ("torch", "transformers", "peft"):
        pytest.importorskip(package, reason="not installed: pip install '.[trace]'")

Config = dict[str, Any]

#: One of every kind: family, method, dtype, optimizer, attention, and each phase a peak falls in.
#: VRAM_WIDGET_ALL_ROWS=1 traces all 110, in some ten minutes.
SAMPLE = (
    *("grid-001", "grid-008", "grid-010", "grid-017", "grid-022", "grid-024", "grid-028"),
    *("grid-032", "grid-046", "grid-051", "grid-062", "grid-068", "grid-070", "grid-072"),
    *("grid-100", "grid-107"),
)
STEPS = {
    row["id"]: row
    for row in reference_steps.rows()
    if row["id"] in SAMPLE or os.environ.get("VRAM_WIDGET_ALL_ROWS")
}


@cache
def traced(name: str) -> Trace:
    config = vw.TrainingConfig(name, **reference_steps.choices(STEPS[name]))
    return trace(config, reference_steps.model_config(STEPS[name]))


@pytest.mark.parametrize("name", STEPS)
def test_a_reference_step_is_traced_to_the_allocation(name):
    row, result = STEPS[name], traced(name)
    assert result.allocated == pytest.approx(int(row["peak_bytes"]), rel=2e-4)
    assert result.peak_phase in reference_steps.PHASES[row["peak_phase"]]
    assert result.loaded == int(row["after_load_bytes"])
    assert result.peak_of("forward", "loss") == pytest.approx(int(row["fwd_peak_bytes"]), rel=2e-3)
    assert result.peak_of("backward") == pytest.approx(int(row["bwd_peak_bytes"]), rel=1e-3)
    assert result.num_parameters == int(row["num_params"])
    assert result.num_trainable == int(row["num_trainable"])


def test_the_median_reference_step_is_exact():
    errors = [
        abs(traced(name).allocated / int(row["peak_bytes"]) - 1) for name, row in STEPS.items()
    ]
    assert median(errors) < 1e-6


# -- real runs, counted by PyTorch's profiler ----------------------------------------------------
TINY: Config = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 1000,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA = {**TINY, "model_type": "llama"}
MIXTURE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
MAMBA = {
    **{"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_chunk_size": 16},
    **{"shared_intermediate_size": 128, "num_local_experts": 0, "num_experts_per_tok": 0},
    "layer_types": ["mamba", "attention", "mamba"],
}
PLAIN: Config = {
    "trainer": "trl",
    "training_method": "sft",
    "param_dtype": "float32",
    "mixed_precision": "no",
    "optim": "adamw_torch",
    "micro_batch_size": 2,
    "max_seq_len": 64,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": False,
    "attn_implementation": "sdpa",
    "padded": False,
}
LORA = {"training_method": "lora", "lora_r": 8, "target_modules": "all-linear", "lora_dropout": 0.0}
BF16 = {"param_dtype": "bfloat16", "optim": "adamw_torch_fused"}
REAL_RUNS: dict[str, tuple[Config, Config]] = {
    "float32": (LLAMA, {}),
    "bfloat16, fused": (LLAMA, BF16),
    "autocast": (LLAMA, {"mixed_precision": "bf16"}),
    "autocast, checkpointing": (
        LLAMA,
        {"mixed_precision": "bf16", "gradient_checkpointing": True, "max_seq_len": 256},
    ),
    "eager": (LLAMA, {"attn_implementation": "eager"}),
    "accumulation": (LLAMA, {"gradient_accumulation_steps": 3}),
    "sgd, optimizer step": (LLAMA, {"optim": "sgd", "max_seq_len": 8}),
    "lora": (LLAMA, {**BF16, **LORA}),
    "lora, checkpointing": (LLAMA, {**BF16, **LORA, "gradient_checkpointing": True}),
    "lora, bfloat16 adapters": (LLAMA, {**BF16, **LORA, "lora_dtype": "bfloat16"}),
    "lora, dropout": (LLAMA, {**LORA, "lora_dropout": 0.1}),
    "dora": (LLAMA, {**BF16, **LORA, "use_dora": True}),
    "gemma 3, sliding window": (
        {**TINY, "model_type": "gemma3_text", "sliding_window": 32, "query_pre_attn_scalar": 16},
        {},
    ),
    "mixture of experts": ({**TINY, **MIXTURE, "model_type": "qwen3_moe"}, BF16),
    "mamba": ({**TINY, **MAMBA, "model_type": "granitemoehybrid"}, {}),
}


def really_allocated(model_config: Config, choices: Config) -> int:
    """Train two steps on the CPU, and return the most bytes its allocator had handed out."""
    import peft
    import torch
    import transformers
    from torch.profiler import ProfilerActivity, profile

    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**model_config),
        dtype=getattr(torch, choices["param_dtype"]),
        attn_implementation=choices["attn_implementation"],
    )
    if choices["gradient_checkpointing"]:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if choices["training_method"] == "lora":
        lora = peft.LoraConfig(
            r=choices["lora_r"],
            target_modules=choices["target_modules"],
            lora_dropout=choices["lora_dropout"],
            use_dora=choices.get("use_dora", False),
            task_type="CAUSAL_LM",
        )
        in_float32 = choices.get("lora_dtype", "float32") == "float32"
        model = peft.get_peft_model(model, lora, autocast_adapter_dtype=in_float32)
    model.train()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = {
        "adamw_torch": lambda: torch.optim.AdamW(trainable, foreach=True),
        "adamw_torch_fused": lambda: torch.optim.AdamW(trainable, fused=True),
        "sgd": lambda: torch.optim.SGD(trainable, foreach=True),
    }[choices["optim"]]()
    autocast = choices["mixed_precision"] == "bf16"
    held = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*model.parameters(), *model.buffers())
    }
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        rows = (choices["micro_batch_size"], choices["max_seq_len"])
        tokens = torch.randint(model_config["vocab_size"], rows)
        labels = tokens.clone()
        for _ in range(2):
            for _ in range(choices["gradient_accumulation_steps"]):
                with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
                    loss = model(input_ids=tokens, labels=labels, use_cache=False).loss
                loss.backward()
                del loss
            optimizer.step()
            optimizer.zero_grad()
    allocations = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    level = peak = sum(held.values())
    for allocation in sorted(allocations, key=lambda event: event.start_ns()):
        level += allocation.nbytes()
        peak = max(peak, level)
    return peak


@pytest.mark.parametrize("name", REAL_RUNS)
def test_a_real_run_on_the_cpu_allocates_what_is_traced(name):
    model_config, choices = REAL_RUNS[name]
    choices = {**PLAIN, **choices}
    result = trace(vw.TrainingConfig("tiny", **choices), model_config, device="cpu")
    real = really_allocated(model_config, choices)
    # Checkpointing also keeps the CPU's random state, which a trace has no need of.
    random_states = 5056 * TINY["num_hidden_layers"] if choices["gradient_checkpointing"] else 0
    assert result.allocated == pytest.approx(real - random_states, rel=1e-3)


# -- the traced grid -------------------------------------------------------------------------------
def grid() -> dict[str, dict[str, str]]:
    with (REFERENCE / "grid.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


#: One row of every kind of family.
GRID_SAMPLE = (
    *("smollm2-135m lora-autocast", "qwen2.5-7b bf16", "gemma-2-2b bf16 flash"),
    *("falcon-7b fp32-autocast checkpointing", "gpt-oss-20b lora", "deepseek-v3 bf16"),
    *("granite-4.0-h-350m lora-autocast", "llama-3.2-1b lora adafactor"),
    *("llama-3.2-1b bf16 optimizer in backward", "mistral-7b dora checkpointing"),
)


@pytest.mark.parametrize("name", GRID_SAMPLE)
def test_a_row_of_the_grid_is_traced_again(name):
    row = grid()[name]
    model_config = json.loads((REFERENCE / "configs" / row["config"]).read_text())
    result = trace(vw.TrainingConfig(row["config"], **json.loads(row["choices"])), model_config)
    same_versions = all(row[package] == version for package, version in result.versions.items())
    tolerance = 0.0 if same_versions else 0.02
    assert result.allocated == pytest.approx(int(row["allocated"]), rel=tolerance)
    assert result.num_parameters == int(row["num_parameters"])


#: One row of each stage.
BY_DEEPSPEED = (
    "llama-3.2-1b bf16 checkpointing zero1",
    "llama-3.2-1b lora zero2",
    "llama-3.2-1b zero3 accumulates",
)


@pytest.mark.parametrize("name", BY_DEEPSPEED)
def test_a_step_sharded_by_deepspeed_is_traced_again(name):
    if os.environ.get("CI") != "true":
        pytest.importorskip("deepspeed", reason="not installed: pip install '.[deepspeed]'")
    with (REFERENCE / "zero.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["id"] == name)
    model_config = json.loads((REFERENCE / "configs" / row["config"]).read_text())
    config = vw.TrainingConfig(row["config"], **json.loads(row["choices"]))
    result = trace(config, model_config)
    assert result.notices == ()
    same_versions = all(row[package] == version for package, version in result.versions.items())
    tolerance = 0.0 if same_versions else 0.02
    assert result.allocated == pytest.approx(int(row["allocated"]), rel=tolerance)


def test_without_deepspeed_one_gpu_holds_everything(monkeypatch):
    for module in ("vram_widget.trace", "vram_widget.trace.followed"):
        monkeypatch.setattr(sys.modules[module], "find_spec", lambda name: None)
    result = tiny(sharding="zero2", num_gpus=4)
    assert result.allocated == tiny().allocated
    assert any("DeepSpeed is not installed" in notice for notice in result.notices)


# -- what a trace says -----------------------------------------------------------------------------
def tiny(model_config: Config = LLAMA, **choices: Any) -> Trace:
    return trace(vw.TrainingConfig("tiny", **{**PLAIN, **choices}), model_config)


def test_a_timeline_adds_up_to_the_events_and_ends_as_it_began():
    result = tiny()
    line = result.timeline
    level = peak = 0
    for event in result.events:
        level += event.nbytes
        peak = max(peak, level)
    assert peak == result.allocated == max(line.total)
    assert sum(result.components.values()) == result.allocated
    assert line.total[-1] == level
    assert list(line.bytes) == list(COMPONENTS)
    assert line.seconds == sorted(line.seconds)
    assert line.step[0] == 0
    assert line.step[-1] == 2
    # two steps after loading, what is left is the weights, the states and the batch
    batch = 2 * result.config.tokens * 8
    assert line.total[-1] == result.loaded + line.bytes["optimizer"][-1] + batch


def test_components_are_what_they_are_called():
    result = tiny(optim="adamw_torch_fused", param_dtype="bfloat16")
    parameters, line = result.num_parameters, result.timeline
    assert max(line.bytes["parameters"]) == pytest.approx(2 * parameters, rel=0.02)
    assert max(line.bytes["optimizer"]) == pytest.approx(4 * parameters, rel=0.15)
    assert line.bytes["gradients"][line.phase.index("optimizer_step")] == pytest.approx(
        2 * parameters, rel=0.02
    )
    # bf16 logits held by nobody, their float32 log-softmax, its gradient and theirs
    logits = result.config.tokens * LLAMA["vocab_size"]
    assert max(line.bytes["outputs"]) == pytest.approx(12 * logits, rel=0.05)


def test_every_event_of_a_layer_names_its_module():
    result = tiny(gradient_checkpointing=True)
    modules = {event.storage.module for event in result.events if event.phase == "backward"}
    assert {f"model.layers.{i}.mlp.down_proj" for i in range(3)} <= modules
    assert "lm_head" in modules
    assert "loss" in modules


def test_autocast_keeps_a_copy_of_each_weight_it_casts():
    result = tiny(mixed_precision="bf16")
    linear = result.num_parameters * 2
    assert max(result.timeline.bytes["buffers"]) == pytest.approx(linear, rel=0.05)
    assert max(tiny().timeline.bytes["buffers"]) == 0


def test_an_optimizer_in_backward_never_holds_all_gradients():
    untied = {**LLAMA, "tie_word_embeddings": False}
    apart, within = tiny(untied), tiny(untied, optimizer_in_backward=True)
    assert max(within.timeline.bytes["gradients"]) < max(apart.timeline.bytes["gradients"]) / 2
    assert max(within.timeline.bytes["optimizer"]) == pytest.approx(
        max(apart.timeline.bytes["optimizer"]), rel=0.3
    )


def test_a_paged_state_is_not_in_pytorchs_memory():
    wide = {**LLAMA, "vocab_size": 4000}  # its embedding is large enough to be paged, alone
    result = tiny(wide, optim="paged_adamw_32bit")
    in_memory = result.num_parameters - 4000 * LLAMA["hidden_size"]
    assert max(result.timeline.bytes["optimizer"]) == pytest.approx(8 * in_memory, rel=0.01)


@pytest.mark.parametrize(
    ("choices", "error", "words"),
    [
        ({"optimizer_in_backward": True, "gradient_accumulation_steps": 2}, ConfigError, "sum"),
        ({"training_method": "lora", "target_modules": ["nowhere"]}, ConfigError, "nowhere"),
    ],
)
def test_what_cannot_be_traced_is_said(choices, error, words):
    with pytest.raises(error, match=words):
        tiny(**choices)


def test_a_model_that_transformers_does_not_know_is_said():
    with pytest.raises(ModelError, match="no_such_model"):
        trace(vw.TrainingConfig("tiny", **PLAIN), {**TINY, "model_type": "no_such_model"})


def test_a_family_is_traced_whose_configuration_works_head_dim_out(tmp_path):
    falcon = {"model_type": "falcon", "vocab_size": 128, "hidden_size": 64}
    falcon |= {"num_hidden_layers": 2, "num_attention_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps(falcon))
    config = vw.TrainingConfig(tmp_path, trainer="axolotl", max_seq_len=16)
    assert trace(config).num_parameters == vw.estimate(config).num_parameters


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'vram_widget\[trace\]'"):
        tiny()


def test_torch_is_not_imported_before_a_trace():
    code = "import sys, vram_widget.trace; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_prints_the_events_of_a_layer(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    command = [sys.executable, "-m", "vram_widget.trace", str(tmp_path), "max_seq_len=64"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert any("layers.1.mlp.down_proj" in line and "backward" in line for line in lines)
    assert lines[-1].startswith("Trace(")
