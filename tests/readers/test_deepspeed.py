"""DeepSpeed's JSON: every key is read, has no bearing, or is named."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

import vram_widget as vw
from vram_widget.config import TrainingConfig
from vram_widget.export.readers.reading import ReadingWarning

HOST = {"device": "cpu", "pin_memory": True}


def read(**settings: Any) -> TrainingConfig:
    """Read settings that leave nothing uncounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadingWarning)
        return vw.from_deepspeed(settings, model_path="m", num_gpus=8)


def zero(**settings: Any) -> TrainingConfig:
    return read(zero_optimization=settings)


def notices(**settings: Any) -> dict[str, str]:
    """Return the keys of zero_optimization that are not counted, with their effects."""
    with pytest.warns(ReadingWarning):
        config = vw.from_deepspeed({"zero_optimization": settings}, model_path="m", num_gpus=8)
    found = config.uncounted
    return {e["text"].removeprefix("zero_optimization.").split(":")[0]: e["effect"] for e in found}


@pytest.mark.parametrize(
    ("stage", "sharding"),
    [(0, "ddp"), (1, "zero1"), ("2", "zero2"), (3, "zero3"), ("auto", "zero2"), (True, "zero1")],
)
def test_a_stage_is_a_number_a_text_or_left_to_accelerate(stage, sharding):
    assert zero(stage=stage).sharding == sharding


def test_a_stage_that_there_is_not_is_named_unless_the_call_has_another():
    assert notices(stage=7) == {"stage": "unknown"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadingWarning)
        vw.from_deepspeed(
            {"zero_optimization": {"stage": 7}}, model_path="m", num_gpus=8, sharding="zero3"
        )


@pytest.mark.parametrize(
    ("settings", "offload"),
    [
        ({"stage": 2, "offload_optimizer": HOST}, "optimizer"),
        ({"stage": 3, "offload_optimizer": HOST, "offload_param": HOST}, "all"),
        ({"stage": 3, "offload_optimizer": {"device": "nvme", "nvme_path": "/d"}}, "optimizer"),
        ({"stage": 3, "offload_optimizer": {"device": "none"}}, "none"),
        ({"stage": 2, "cpu_offload": True}, "optimizer"),
        ({"stage": 2, "offload_param": HOST}, "none"),  # stages 1 and 2 do not shard weights
        ({"stage": 0, "offload_optimizer": HOST}, "none"),
    ],
)
def test_offload_is_what_the_stage_can_do(settings, offload):
    assert zero(**settings).cpu_offload == offload


def test_weights_without_the_optimizer_leave_the_states_on_the_gpu():
    """``_configure_offloading`` in stage3.py: each is configured by itself."""
    assert zero(stage=3, offload_param=HOST).cpu_offload == "parameters"


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"stage": 3, "reduce_bucket_size": "auto"}, {"reduce_bucket_size": "auto"}),
        ({"stage": 2, "reduce_bucket_size": 1e9}, {"reduce_bucket_size": 10**9}),
        ({"stage": 3, "sub_group_size": 1e8}, {"sub_group_size": 10**8}),
        ({"stage": 3, "max_live_parameters": "3e9"}, {"stage3_max_live_parameters": 3 * 10**9}),
        ({"stage": 2, "stage3_max_live_parameters": 3e9}, None),
        ({"stage": 3, "stage3_max_live_parameters": "auto"}, None),
        ({"stage": 3, "stage3_max_live_parameters": 1e9}, None),
    ],
)
def test_the_sizes_of_a_file_are_read(settings, sizes):
    assert zero(**settings).zero_optimization == sizes


def test_a_size_that_cannot_be_is_named():
    assert notices(stage=2, reduce_bucket_size=0) == {"reduce_bucket_size": "unknown"}
    assert notices(stage=3, sub_group_size="many") == {"sub_group_size": "unknown"}


@pytest.mark.parametrize(
    ("settings", "effects"),
    [
        ({"stage": 2, "overlap_comm": True}, {"overlap_comm": "too_little"}),
        ({"stage": 1, "contiguous_gradients": False}, {"contiguous_gradients": "too_much"}),
        ({"stage": 3, "zero_hpz_partition_size": 8}, {"zero_hpz_partition_size": "too_little"}),
        ({"stage": 3, "zero_quantized_weights": True}, {"zero_quantized_weights": "too_much"}),
        ({"stage": 3, "reduce_bucket_sise": 5e8}, {"reduce_bucket_sise": "unknown"}),
    ],
)
def test_what_is_replayed_otherwise_is_named(settings, effects):
    assert notices(**settings) == effects


def test_what_is_replayed_as_it_is_written_is_read():
    zero(
        stage=3,
        reduce_bucket_size=5e8,
        stage3_max_live_parameters=1e9,
        stage3_max_reuse_distance=1e9,
        sub_group_size=1e9,
        stage3_prefetch_bucket_size="auto",
        stage3_param_persistence_threshold="auto",
        stage3_gather_16bit_weights_on_model_save=True,
        overlap_comm=True,
        contiguous_gradients=True,
        allgather_bucket_size=2e8,
    )
    zero(stage=2, zero_hpz_partition_size=1, zero_quantized_weights=False, overlap_comm=False)


@pytest.mark.parametrize(
    ("optimizer", "optim"),
    [
        ({"type": "AdamW", "params": {"lr": 1e-5}}, "adamw_torch_fused"),
        ({"type": "Adam", "params": {"torch_adam": True}}, "adamw_torch"),
        ({"type": "Lion"}, "lion_32bit"),
    ],
)
def test_the_optimizer_is_deepspeeds(optimizer, optim):
    assert read(optimizer=optimizer).optim == optim


def test_an_optimizer_that_is_not_counted_is_named():
    with pytest.warns(ReadingWarning, match=r"optimizer.type: 'OneBitAdam'"):
        vw.from_deepspeed({"optimizer": {"type": "OneBitAdam"}}, model_path="m")


def test_the_batch_and_the_precision_are_read():
    config = read(
        bf16={"enabled": True}, train_micro_batch_size_per_gpu=4, gradient_accumulation_steps=2
    )
    assert (config.mixed_precision, config.tokens) == ("bf16", 4 * 1024)
    assert config.gradient_accumulation_steps == 2
    assert read(fp16={"enabled": True}).mixed_precision == "fp16"
    assert read(bf16={"enabled": "auto"}).mixed_precision == "bf16"
    assert read(bf16={"enabled": False}).mixed_precision == "no"


def test_a_pipeline_is_another_kind_of_run():
    with pytest.raises(vw.ConfigError, match="pipeline"):
        read(pipeline={"stages": 4})


def test_gpus_must_be_given_where_weights_are_sharded():
    with pytest.warns(ReadingWarning, match="give num_gpus"):
        vw.from_deepspeed({"zero_optimization": {"stage": 3}}, model_path="m")


def test_one_gpu_with_offload_is_deepspeed_too():
    settings = {"zero_optimization": {"stage": 2, "offload_optimizer": HOST}}
    config = vw.from_deepspeed(settings, model_path="m", num_gpus=1)
    assert (config.sharding, config.cpu_offload) == ("zero2", "optimizer")
    assert not config.uncounted
    with pytest.warns(ReadingWarning, match="On one GPU DeepSpeed"):
        vw.from_deepspeed({"zero_optimization": {"stage": 2}}, model_path="m", num_gpus=1)


def test_a_file_is_read_from_its_path_and_as_text(tmp_path):
    file = tmp_path / "zero3.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    for settings in (file, str(file), file.read_text()):
        assert vw.from_deepspeed(settings, model_path="m", num_gpus=2).sharding == "zero3"


@pytest.mark.parametrize(
    "settings",
    [
        {"zero_optimization": 3},
        {"zero_optimization": {"stage": 3, "offload_param": 3}},
        {"zero_optimization": {"stage": [1]}},
        {"zero_optimization": {"stage": 3, "sub_group_size": "nan"}},
        {"optimizer": []},
        {"train_micro_batch_size_per_gpu": -1},
        {"bf16": True},
        {"tensor_parallel": {"autotp_size": "x"}},
        {1: 2},
        "[]",
        "no-such-file.json",
        "{",
    ],
)
def test_hostile_settings_are_read_or_refused_in_a_sentence(settings):
    sentence = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadingWarning)
        try:
            vw.from_deepspeed(settings, model_path="m", num_gpus=2)
        except vw.ConfigError as error:
            sentence = str(error)
    assert "\n" not in sentence


def test_every_setting_of_zero_is_known():
    zero_config = pytest.importorskip("deepspeed.runtime.zero.config").DeepSpeedZeroConfig
    for name, field in zero_config.model_fields.items():
        for key in {name, field.alias or name}:
            settings = {"zero_optimization": {"stage": 3, key: "x"}}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ReadingWarning)
                config = vw.from_deepspeed(settings, model_path="m", num_gpus=2)
            assert not any("no setting known" in each["text"] for each in config.uncounted), key
