"""What people give in other shapes than asked for: taken as meant, or refused with a hint."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import vram_widget as vw
from vram_widget.training_hub import estimators as training_hub

GiB = 1024**3
MODEL = "HuggingFaceTB/SmolLM2-135M"
LLAMA = "meta-llama/Llama-3.1-8B"
SMALL = Path(__file__).parent / "reference" / "configs" / "smollm2-135m.json"


def test_a_model_may_be_given_as_a_path():
    text = vw.estimate(str(SMALL), gpu="L40S")
    for estimate in (vw.estimate(SMALL, gpu="L40S"), vw.VRAMWidget(SMALL, gpu="L40S").estimate):
        assert tuple(estimate) == tuple(text)
        assert estimate.config.model_path == str(SMALL)


def test_a_keyword_goes_before_the_model_named_first():
    assert vw.TrainingConfig(LLAMA, model_path=MODEL).model_path == MODEL
    assert vw.estimate(LLAMA, model_path=MODEL).config.model_path == MODEL


@pytest.mark.parametrize("given", [3, [LLAMA], vw.estimate(MODEL, gpu="L40S")])
def test_what_is_no_configuration_is_said_to_be_none(given):
    with pytest.raises(vw.ConfigError, match=r"\.config of an estimate"):
        vw.suggest(given)


@pytest.mark.parametrize("made", [vw.TrainingConfig, vw.VRAMWidget])
def test_a_misspelt_field_is_no_attribute(made):
    config = made(MODEL, gpu="L40S")
    with pytest.raises(vw.UnknownFieldError, match="Did you mean 'lora_r'"):
        config.lora_R = 8
    with pytest.raises(vw.UnknownFieldError, match="max_seq_len"):
        config.max_seq_length = 8


@pytest.mark.parametrize(
    ("field", "given", "meant"),
    [
        ("training_method", "LoRA", "lora"),
        ("sharding", "FSDP", "fsdp"),
        ("optim", "AdamW_8bit", "adamw_8bit"),
    ],
)
def test_a_word_in_other_letters_is_recognised(field, given, meant):
    with pytest.raises(vw.ConfigError, match=f"Did you mean '{meant}'"):
        vw.TrainingConfig(**{field: given})


@pytest.mark.parametrize("given", [80, "80", 24.0, "0", 0])
def test_memory_without_its_unit_is_refused(given):
    with pytest.raises(vw.ConfigError, match="48GiB"):
        vw.TrainingConfig(gpu_memory=given)


def test_memory_is_taken_in_every_unit():
    read = {text: vw.TrainingConfig(gpu_memory=text).gpu_memory for text in ("1.5 TiB", "48gb")}
    assert read == {"1.5 TiB": 1536 * GiB, "48gb": 48 * 10**9}


def test_numpys_values_are_those_of_python():
    config = vw.TrainingConfig(
        MODEL, gpu="L40S", max_seq_len=np.int32(512), gradient_checkpointing=np.bool_(False)
    )
    assert json.dumps(config.config)
    lengths = vw.sweep(config, "max_seq_len", np.array([512, 1024, 2048]))
    assert lengths.values == (512, 1024, 2048)
    assert json.loads(json.dumps(lengths.data()))["names"] == ["512", "1,024", "2,048"]
    switched = vw.sweep(config, "gradient_checkpointing", np.array([True, False]))
    assert switched.names == ["on", "off"]
    table = vw.recommend("L40S", np.int64(2), models=[MODEL], max_seq_len=np.int64(512))
    assert json.dumps(table.settings)
    figures = training_hub.estimate(max_tokens_per_gpu=np.int64(4096), verbose=0)
    assert figures == training_hub.estimate(max_tokens_per_gpu=4096, verbose=0)


def test_a_model_of_none_is_not_another_model():
    with pytest.raises(vw.ConfigError, match="model_path"):
        training_hub.estimate(model_path=None, max_tokens_per_gpu=10, verbose=0)


@pytest.mark.parametrize("memory_model", ["replay", "training_hub"])
@pytest.mark.parametrize("index", [10**9, -(10**9), "x", 1.5])
def test_a_moment_that_is_none_is_refused(memory_model, index):
    with pytest.raises(vw.ConfigError, match="moment"):
        vw.estimate(MODEL, gpu="L40S", memory_model=memory_model).explain(index)


def test_what_no_model_can_run_with_is_an_error_and_no_empty_table():
    with pytest.raises(vw.ConfigError, match="spread evenly"):
        vw.recommend("L4", num_gpus=3, num_nodes=2)
    with pytest.raises(vw.ConfigError, match="Give a model"):
        vw.recommend("L4", models=[])


def test_a_margin_is_what_the_answer_speaks_of():
    config = vw.TrainingConfig(LLAMA, training_method="lora", gpu="L40S")
    expected = vw.estimate(config, micro_batch_size=1).expected
    with pytest.warns(match=rf"may need {expected * 9 / GiB:.1f} of"):
        assert vw.largest(config, "micro_batch_size", margin=8) == 0
    with pytest.raises(vw.ConfigError, match="margin"):
        vw.largest(config, "micro_batch_size", margin=True)


def test_samples_that_are_cut_are_spoken_of():
    cut = vw.run_time(MODEL, gpu="L40S", max_seq_len=512, tokens_per_sample=700)
    assert cut.tokens == 512 * 10_000 * 3
    assert any("cut" in notice for notice in cut.notices)
    assert not vw.run_time(MODEL, gpu="L40S", max_seq_len=1024, tokens_per_sample=700).notices


@pytest.mark.parametrize("reader", [vw.from_training_hub, vw.from_trl, vw.from_axolotl])
def test_settings_without_a_model_are_not_of_another_one(reader):
    with pytest.raises(vw.ConfigError, match="model_path"):
        reader({})
    assert reader({}, model_path=MODEL).model_path == MODEL


def test_settings_that_are_not_trls_are_not_passed_over():
    with pytest.raises(vw.ConfigError, match="per_device_train_batch_size"):
        vw.from_trl({"model": MODEL, "per_device_train_batch_size": 4})


NF4 = {"load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("storage", "packed"),
    [({}, "uint8"), ({"bnb_4bit_quant_storage": "bfloat16"}, "bfloat16")],
)
def test_4_bit_weights_are_read_as_they_are_packed_under_fsdp(storage, packed):
    config = vw.from_trl(
        {
            "model": MODEL,
            "SFTConfig": {"fsdp": True},
            "LoraConfig": {"r": 8},
            "BitsAndBytesConfig": {**NF4, **storage},
            "accelerate": {"num_processes": 2},
        }
    )
    assert (config.bnb_4bit_quant_storage, config.uncounted) == (packed, [])


def test_sync_each_batch_is_read_and_written():
    plugin = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
    sharded = {"SFTConfig": {"fsdp": True, "accelerator_config": plugin}}
    config = vw.from_trl({"model": MODEL, **sharded, "accelerate": {"num_processes": 2}})
    assert (config.sync_each_batch, config.uncounted) == (True, [])
    axolotl = {"base_model": MODEL, "fsdp_version": 2, "fsdp_config": {"version": 2}}
    assert vw.from_axolotl({**axolotl, "accelerator_config": plugin}).sync_each_batch


def test_axolotls_qlora_in_16_bits_is_refused_as_axolotl_does():
    with pytest.raises(vw.ConfigError, match="load_in_4bit"):
        vw.from_axolotl({"base_model": MODEL, "adapter": "qlora"})


def test_an_axolotl_file_may_be_given_as_a_path(tmp_path):
    file = tmp_path / "run.yml"
    file.write_text(f"base_model: {MODEL}\n")
    assert vw.from_axolotl(file).model_path == MODEL


@pytest.mark.parametrize(
    "address", ["https://huggingface.co/{}", "hf://{}", "https://hf.co/{}/tree/main"]
)
def test_the_address_of_a_page_is_refused_with_the_id(address):
    with pytest.raises(vw.ModelError, match=f"'{MODEL}'"):
        vw.estimate(address.format(MODEL))


@pytest.mark.parametrize("target", ["training_hub", "trl", "axolotl"])
def test_a_revision_is_no_part_of_the_exported_name(target):
    with pytest.warns(match="revision v1.0 of Qwen/Qwen3-8B"):
        exported = vw.export(vw.TrainingConfig("Qwen/Qwen3-8B@v1.0"), target)
    assert "Qwen/Qwen3-8B" in exported.values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = vw.export(vw.TrainingConfig("/data/me@work/model"), target)
    assert "/data/me@work/model" in exported.values()
