"""The presets are settings that fields accept, and follow the trainer and the method."""

import importlib
from dataclasses import FrozenInstanceError

import pytest

import vram_widget as vw
from vram_widget import TrainingConfig, advise, trainers
from vram_widget.families import families
from vram_widget.trainers import peft

METHODS = ["sft", "lora", "qlora", "osft"]
PAIRS = [(name, method) for name, each in trainers.TRAINERS.items() for method in each.defaults]


def test_the_form_offers_every_trainer_in_order():
    labels = {name: trainer.label for name, trainer in trainers.TRAINERS.items()}
    options = TrainingConfig.fields()["trainer"].metadata["options"]
    assert list(options.items()) == list(labels.items())
    assert list(labels)[:5] == ["training_hub", "trl", "unsloth", "axolotl", "torchtune"]


def test_a_trainer_is_one_file_of_its_name():
    for name, trainer in trainers.TRAINERS.items():
        assert importlib.import_module(f"vram_widget.trainers.{name}").TRAINER is trainer
    assert len({trainer.order for trainer in trainers.TRAINERS.values()}) == len(trainers.TRAINERS)


@pytest.mark.parametrize("trainer", trainers.TRAINERS.values(), ids=list(trainers.TRAINERS))
def test_what_is_known_of_a_trainer_speaks_of_what_there_is(trainer):
    fields = TrainingConfig.fields()
    assert trainer.configurable <= set(fields)
    assert trainer.shardable_quantization <= set(fields["quantization"].metadata["options"])
    for methods in (
        trainer.runs_fsdp1,
        trainer.keeps_last_layer_unsharded,
        trainer.liger_makes_logits,
    ):
        assert set(methods) <= set(trainer.defaults)
    with pytest.raises(FrozenInstanceError):
        trainer.label = "another"


@pytest.mark.parametrize(("trainer", "method"), PAIRS)
def test_a_preset_holds_fields_and_values_that_they_take(trainer, method):
    settings = trainers.defaults(trainer, method)
    config = TrainingConfig("m", trainer=trainer, training_method=method)
    assert settings
    assert {name: config.config[name] for name in settings} == settings


@pytest.mark.parametrize(("trainer", "method"), PAIRS)
def test_a_preset_can_be_changed_by_nobody_who_reads_it(trainer, method):
    trainers.defaults(trainer, method).clear()
    assert trainers.defaults(trainer, method)


@pytest.mark.parametrize("method", METHODS)
def test_training_hub_runs_every_method(method):
    assert trainers.supports("training_hub", method)


@pytest.mark.parametrize("trainer", sorted(set(trainers.TRAINERS) - {"training_hub"}))
def test_only_training_hub_runs_osft(trainer):
    assert not trainers.supports(trainer, "osft")
    assert trainers.defaults(trainer, "osft") == {}
    assert trainers.supporting("osft") == ["training_hub"]


def test_names_that_are_no_trainer_support_nothing():
    assert not trainers.supports("nobody", "sft")
    assert trainers.defaults("nobody", "sft") == {}


@pytest.mark.parametrize(
    ("trainer", "method", "fact"),
    [
        # what FACTS and each trainer's source say of the settings that decide memory
        ("training_hub", "sft", {"param_dtype": "float32", "mixed_precision": "bf16"}),
        ("training_hub", "sft", {"sharding": "hsdp", "gradient_checkpointing": True}),
        ("training_hub", "osft", {"sharding": "fsdp", "use_liger": False}),
        ("training_hub", "lora", {"sharding": "ddp", "offload_activations": True}),
        ("training_hub", "lora", {"lora_r": 16, "lora_alpha": 32.0, "micro_batch_size": 2}),
        ("trl", "sft", {"param_dtype": "float32", "mixed_precision": "bf16"}),
        ("trl", "sft", {"micro_batch_size": 8, "max_seq_len": 1024, "padded": True}),
        ("trl", "lora", {"target_modules": ["q_proj", "v_proj"], "lora_dtype": "float32"}),
        ("trl", "qlora", {"lora_dtype": "bfloat16", "bnb_4bit_use_double_quant": False}),
        ("unsloth", "lora", {"optim": "adamw_8bit", "lora_alpha": 16.0, "lora_dropout": 0.0}),
        ("axolotl", "qlora", {"optim": "paged_adamw_32bit", "lora_r": 32}),
        ("torchtune", "sft", {"optimizer_in_backward": True, "optim": "paged_adamw_8bit"}),
        ("torchtune", "lora", {"lora_r": 8, "lora_dtype": "bfloat16", "mixed_precision": "no"}),
    ],
)
def test_settings_that_decide_memory(trainer, method, fact):
    config = TrainingConfig("m", trainer=trainer, training_method=method).config
    assert {name: config[name] for name in fact} == fact


def test_trl_preset_agrees_with_the_installed_peft():
    constants = pytest.importorskip("peft.utils.constants")
    mapping = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    targets = trainers.defaults("trl", "lora")["target_modules"]
    assert targets == mapping["llama"] == mapping["mistral"] == mapping["qwen2"]
    for model_type, ours in peft.TARGET_MODULES.items():
        theirs = mapping.get(model_type) or mapping[model_type.removesuffix("_text")]
        # Gemma 4's is a pattern for the language model within a multimodal one
        assert ours == (peft.QUERY_AND_VALUE if isinstance(theirs, str) else theirs)
    assert not (families().keys() & mapping.keys()) - peft.TARGET_MODULES.keys()


@pytest.mark.parametrize(
    ("model_path", "adapted"),
    [("openai-community/gpt2", 12 * 16 * (768 + 2304)), ("EleutherAI/pythia-1b", 16 * 16 * 8192)],
)
def test_trl_adapts_what_peft_takes_for_the_family(model_path, adapted):
    est = vw.estimate(model_path, trainer="trl", training_method="lora", gpu="L40S")
    assert est.num_trainable == adapted
    assert est.notices == ()
    config = TrainingConfig(model_path, trainer="trl", training_method="lora")
    exported = vw.export(config, "trl")["LoraConfig"]["target_modules"]
    named = config.replace(trainer="axolotl", target_modules=exported, lora_r=16)
    assert vw.estimate(named, gpu="L40S").num_trainable == adapted


def test_a_family_that_peft_does_not_know_is_named():
    est = vw.estimate(
        "ibm-granite/granite-3.3-2b-instruct", trainer="trl", training_method="lora", gpu="L40S"
    )
    assert "has none for granite" in est.notices[0]
    assert vw.estimate(est.config.replace(target_modules="all-linear"), gpu="L40S").notices == ()


def test_trl_preset_agrees_with_the_installed_transformers():
    transformers = pytest.importorskip("transformers")
    fields = transformers.TrainingArguments.__dataclass_fields__
    settings = trainers.defaults("trl", "sft")
    assert settings["optim"] == fields["optim"].default
    assert settings["micro_batch_size"] == fields["per_device_train_batch_size"].default


STRATEGIES = TrainingConfig.fields()["sharding"].metadata["options"]

#: What each trainer's sources have, by method; all others have no way to it.
RUNS = {
    ("training_hub", "sft"): {"ddp", "zero2", "fsdp", "hsdp"},
    ("training_hub", "osft"): {"fsdp"},
    ("training_hub", "lora"): {"ddp", "device_map"},
    ("training_hub", "qlora"): {"ddp", "device_map"},
    **{("torchtune", method): {"zero2", "fsdp", "hsdp"} for method in METHODS[:3]},
    **{("unsloth", method): set(STRATEGIES) - {"hsdp"} for method in METHODS[:3]},
    **{("llamafactory", method): set(STRATEGIES) - {"device_map"} for method in METHODS[:3]},
}


@pytest.mark.parametrize("sharding", STRATEGIES)
@pytest.mark.parametrize(("trainer", "method"), PAIRS)
def test_a_strategy_is_run_or_refused_with_what_can_be(trainer, method, sharding):
    config = TrainingConfig(
        "m", trainer=trainer, training_method=method, num_gpus=2, sharding=sharding
    )
    runs = RUNS.get((trainer, method), set(STRATEGIES))
    if sharding in runs:
        config.check()
        return
    with pytest.raises(vw.ConfigError) as refused:
        config.check()
    said = str(refused.value)
    assert trainers.TRAINERS[trainer].label in said
    assert STRATEGIES[sharding] in said
    assert all(f"'{name}'" in said for name in runs)
    others = trainers.running(method, sharding)
    assert all(trainers.TRAINERS[name].label in said for name in others)
    config.replace(num_gpus=1).check()  # one GPU shards nothing


@pytest.mark.parametrize(("trainer", "method"), PAIRS)
def test_a_preset_is_run_on_several_gpus(trainer, method):
    TrainingConfig("m", trainer=trainer, training_method=method, num_gpus=8).check()


@pytest.mark.parametrize("start", PAIRS)
def test_who_changes_trainer_and_method_is_not_held_to_a_strategy_that_followed(start):
    trainer, method = start
    config = TrainingConfig("m", trainer=trainer, training_method=method, num_gpus=8)
    for name, other in PAIRS:
        config.trainer, config.training_method = name, other
        config.check()


@pytest.mark.parametrize("method", ["lora", "qlora", "osft"])
def test_training_hub_keeps_adapters_and_osft_off_the_host(method):
    config = TrainingConfig("m", training_method=method, cpu_offload="all")
    with pytest.raises(vw.ConfigError, match="host's memory"):
        config.check()
    TrainingConfig("m", training_method="sft", cpu_offload="all").check()


def test_a_comparison_of_methods_runs_each_as_it_can_be():
    config = {"trainer": "training_hub", "gpu": "H100", "num_gpus": 8, "sharding": "zero2"}
    found = advise.methods(TrainingConfig("HuggingFaceTB/SmolLM2-135M", **config))
    assert [each.config.sharding for each in found] == ["zero2", "ddp", "ddp", "fsdp"]


def test_a_recommendation_goes_over_what_runs_by_the_strategy():
    found = vw.recommend("H100", 8, ["HuggingFaceTB/SmolLM2-135M"], sharding="device_map")
    assert found.methods == ("lora", "qlora")
    with pytest.raises(vw.ConfigError, match="ZeRO-1"):
        vw.recommend("H100", 8, ["HuggingFaceTB/SmolLM2-135M"], sharding="zero1")
