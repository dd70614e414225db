"""Accelerate's file: every key is read, has no bearing, or is named."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import pytest

import vram_widget as vw
from vram_widget.config import TrainingConfig
from vram_widget.export.readers.reading import ReadingWarning

WRAPPED = {"fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}


def read(**settings: Any) -> TrainingConfig:
    """Read settings that leave nothing uncounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadingWarning)
        return vw.from_trl({"model": "m", "accelerate": settings})


def fsdp(**settings: Any) -> TrainingConfig:
    return read(distributed_type="FSDP", num_processes=8, fsdp_config={**WRAPPED, **settings})


def notices(**settings: Any) -> list[tuple[str, str]]:
    """Return how what is not counted begins, and its effects."""
    with pytest.warns(ReadingWarning):
        config = vw.from_trl({"model": "m", "accelerate": settings})
    return [(each["text"].split(":")[0], each["effect"]) for each in config.uncounted]


def fsdp_notices(**settings: Any) -> list[tuple[str, str]]:
    return notices(distributed_type="FSDP", num_processes=8, fsdp_config={**WRAPPED, **settings})


@pytest.mark.parametrize(
    ("kind", "sharding"),
    [("NO", "ddp"), (False, "ddp"), ("MULTI_GPU", "ddp"), ("fsdp", "fsdp"), ("DEEPSPEED", "zero2")],
)
def test_the_distributed_type_says_what_is_sharded(kind, sharding):
    config = read(distributed_type=kind, num_processes=16, num_machines=2, fsdp_config=WRAPPED)
    assert (config.sharding, config.num_gpus, config.num_nodes) == (sharding, 16, 2)


@pytest.mark.parametrize("kind", ["XLA", "MULTI_CPU", "MULTI_XPU", "MEGATRON_LM"])
def test_other_hardware_is_another_kind_of_run(kind):
    with pytest.raises(vw.ConfigError, match=f"{kind} is a run"):
        read(distributed_type=kind)


def test_deepspeed_is_read_inline_and_from_its_file(tmp_path):
    inline = {"zero_stage": 3, "offload_optimizer_device": "cpu", "offload_param_device": "cpu"}
    config = read(distributed_type="DEEPSPEED", num_processes=4, deepspeed_config=inline)
    assert (config.sharding, config.cpu_offload) == ("zero3", "all")
    (tmp_path / "zero1.json").write_text('{"zero_optimization": {"stage": 1}}')
    file = tmp_path / "accelerate.yaml"
    file.write_text(
        "distributed_type: DEEPSPEED\nnum_processes: 4\n"
        "deepspeed_config:\n  deepspeed_config_file: zero1.json\n  zero3_init_flag: false\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadingWarning)
        config = vw.from_trl({"model": "m", "accelerate": file})
    assert (config.sharding, config.num_gpus) == ("zero1", 4)


def test_what_another_type_would_read_is_left_aside():
    config = read(
        distributed_type="NO", num_processes=1, deepspeed_config={"deepspeed_config_file": "none"}
    )
    assert config.sharding == "ddp"


@pytest.mark.parametrize("value", [True, "true", "FULL_SHARD", 1])
def test_weights_are_resharded_after_forward(value):
    assert fsdp(fsdp_reshard_after_forward=value).sharding == "fsdp"


@pytest.mark.parametrize("value", [False, "false", "SHARD_GRAD_OP", 2])
def test_weights_that_stay_gathered_are_named(value):
    name = "fsdp_config.reshard_after_forward"
    assert fsdp_notices(fsdp_reshard_after_forward=value) == [(name, "too_little")]


@pytest.mark.parametrize(
    ("strategy", "sharding", "effects"),
    [
        ("FULL_SHARD", "fsdp", ["unknown"]),
        ("SHARD_GRAD_OP", "fsdp", ["too_little", "unknown"]),
        ("HYBRID_SHARD", "hsdp", ["unknown"]),
        ("HYBRID_SHARD_ZERO2", "hsdp", ["too_little", "unknown"]),
        (4, "hsdp", ["unknown"]),
    ],
)
def test_the_strategies_of_fsdp1(strategy, sharding, effects):
    settings = {**WRAPPED, "fsdp_version": 1, "fsdp_sharding_strategy": strategy}
    launch = {"distributed_type": "FSDP", "num_processes": 8, "fsdp_config": settings}
    with pytest.warns(ReadingWarning):
        config = vw.from_trl({"model": "m", "accelerate": launch})
    assert config.sharding == sharding
    assert [each["effect"] for each in config.uncounted] == effects


def test_nothing_is_sharded_by_no_shard():
    assert fsdp(fsdp_version=1, fsdp_sharding_strategy="NO_SHARD").sharding == "ddp"


def test_layers_that_are_not_wrapped_are_gathered_at_once():
    ((sentence, effect),) = fsdp_notices(fsdp_auto_wrap_policy="NO_WRAP")
    assert "all weights are gathered at once" in sentence
    assert effect == "too_little"


def test_fsdps_own_savers_are_read():
    config = fsdp(
        fsdp_offload_params="true",
        fsdp_activation_checkpointing=True,
        fsdp_activation_checkpointing_offload=True,
        fsdp_state_dict_type="SHARDED_STATE_DICT",
        fsdp_cpu_ram_efficient_loading=True,
    )
    assert config.cpu_offload == "all"
    assert (config.gradient_checkpointing, config.offload_activations) == (True, True)


@pytest.mark.parametrize(
    ("settings", "name", "effect"),
    [
        ({"fsdp_ignored_modules": "lm_head"}, "fsdp_config.ignored_modules", "too_little"),
        ({"fsdp_forward_prefetch": True}, "fsdp_config.forward_prefetch", "too_little"),
        ({"fsdp_offlod_params": True}, "fsdp_config.offlod_params", "unknown"),
    ],
)
def test_what_fsdp_does_otherwise_is_named(settings, name, effect):
    assert fsdp_notices(**settings) == [(name, effect)]


def test_sequences_and_products_that_are_split_are_named():
    sizes = {"parallelism_config_dp_shard_size": 2, "parallelism_config_cp_size": 4}
    launch = {"distributed_type": "FSDP", "fsdp_config": WRAPPED, "parallelism_config": sizes}
    with pytest.warns(ReadingWarning, match="cp_size"):
        config = vw.from_trl({"model": "m", "accelerate": launch})
    assert config.num_gpus == 8
    assert [each["effect"] for each in config.uncounted] == ["too_much"]


def test_gpus_must_be_given_where_the_file_does_not_say():
    for kind, effect in (("FSDP", "too_much"), ("MULTI_GPU", "too_little")):
        ((sentence, said),) = notices(distributed_type=kind, fsdp_config=WRAPPED)
        assert "give num_gpus" in sentence
        assert said == effect
        with warnings.catch_warnings():
            warnings.simplefilter("error", ReadingWarning)
            launch = {"distributed_type": kind, "fsdp_config": WRAPPED}
            vw.from_trl({"model": "m", "accelerate": launch}, num_gpus=4)


def test_the_arguments_precision_wins_over_the_files():
    assert read(mixed_precision="fp16").mixed_precision == "bf16"  # TRL's own default
    settings = {"model": "m", "SFTConfig": {"bf16": False}}
    config = vw.from_trl({**settings, "accelerate": {"mixed_precision": "fp16"}})
    assert config.mixed_precision == "fp16"


def test_compiled_code_is_named():
    compiled = notices(dynamo_config={"dynamo_backend": "INDUCTOR"})
    assert compiled == [("accelerate.dynamo_config", "unknown")]
    read(dynamo_config={"dynamo_backend": "NO"})


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("accelerate.commands.config.config_args", "ClusterConfig"),
        ("accelerate.utils", "FullyShardedDataParallelPlugin"),
        ("accelerate.utils", "DeepSpeedPlugin"),
        ("accelerate.parallelism_config", "ParallelismConfig"),
    ],
)
def test_every_field_of_accelerates_classes_is_known(module, name):
    section = {
        "ClusterConfig": lambda key: {key: "x"},
        "FullyShardedDataParallelPlugin": lambda key: {"fsdp_config": {key: "x"}},
        "DeepSpeedPlugin": lambda key: {"deepspeed_config": {key: "x"}},
        "ParallelismConfig": lambda key: {"parallelism_config": {key: "x"}},
    }[name]
    kind = {"FullyShardedDataParallelPlugin": "FSDP", "DeepSpeedPlugin": "DEEPSPEED"}
    for field in dataclasses.fields(getattr(pytest.importorskip(module), name)):
        launch = {"distributed_type": kind.get(name, "NO"), **section(field.name)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReadingWarning)
            try:
                config = vw.from_trl({"model": "m", "accelerate": launch})
            except vw.ConfigError:
                continue  # looked at
        said = [each["text"] for each in config.uncounted]
        assert not any("no setting known" in each for each in said), field.name


def test_every_option_of_the_launcher_is_known():
    parser = pytest.importorskip("accelerate.commands.launch").launch_command_parser()
    for action in parser._actions:
        option = next((each for each in action.option_strings if each.startswith("--")), "")
        if not option or option in ("--help", "--config_file", "--module"):
            continue
        words = ["accelerate", "launch", option, *(["1"] if action.nargs != 0 else []), "sft.py"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReadingWarning)
            try:
                config = vw.from_trl([*words, "--model_name_or_path", "m"])
            except vw.ConfigError:
                continue  # looked at
        said = [each["text"] for each in config.uncounted]
        assert not any("no setting known" in each for each in said), option
