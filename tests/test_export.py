"""Exports are what the real trainers accept, lose nothing silently, and read back."""

import ast
import importlib
import importlib.util
import json
import re
import sys
import warnings
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vram_widget import TrainingConfig
from vram_widget.errors import ConfigError
from vram_widget.export import (
    TARGETS,
    draft,
    export,
    from_axolotl,
    from_deepspeed,
    from_llamafactory,
    from_training_hub,
    from_trl,
    kubeflow,
    to_yaml,
)
from vram_widget.export.draft import BESIDE, applies
from vram_widget.export.training_hub import FUNCTIONS
from vram_widget.export.trl import CHECKPOINTS
from vram_widget.trainers import TRAINERS

#: How an export is read back.
READ = {
    "training_hub": from_training_hub,
    "trl": from_trl,
    "axolotl": from_axolotl,
    "llamafactory": from_llamafactory,
}
PAIRS = [(name, m) for name in TARGETS if name in TRAINERS for m in TRAINERS[name].defaults]


@pytest.fixture
def imported(released, monkeypatch):
    """Return a function that imports a module out of a release."""

    def get(name, module):
        monkeypatch.syspath_prepend(str(released(name)))
        try:
            return importlib.import_module(module)
        except ImportError as missing:
            pytest.skip(f"{module} needs {missing.name}")

    return get


def variants(trainer, method):
    """Yield configurations that between them use every key of an export."""
    yield {}
    yield {"num_gpus": 8, "num_nodes": 2, "gradient_accumulation_steps": 4, "use_liger": True}
    yield {"num_gpus": 4, "sharding": "fsdp", "cpu_offload": "all", "optim": "adafactor"}
    yield {"num_gpus": 4, "num_nodes": 2, "sharding": "zero3", "attn_implementation": "sdpa"}
    yield {"max_tokens_per_gpu": 8192, "max_seq_len": 4096, "padded": True, "optim": "sgd"}
    yield {"param_dtype": "float16", "mixed_precision": "fp16", "loss_kernel": "chunked"}
    yield {"param_dtype": "float16", "mixed_precision": "no", "loss_kernel": "fused"}
    yield {"gradient_checkpointing": True, "offload_activations": True, "loss_kernel": "liger"}
    if method in ("lora", "qlora"):
        yield {"lora_r": 4, "lora_alpha": 7.5, "target_modules": ["q_proj"], "use_dora": True}
        yield {"target_modules": r".*\.(q|v)_proj", "lora_dtype": "bfloat16", "num_gpus": 2}
        yield {"modules_to_save": ["embed_tokens", "lm_head"], "trainable_token_indices": 3}
        yield {"target_parameters": ["experts.gate_up_proj"], "lora_dropout": 0.0}
    if method == "sft":
        yield {"trainable_parameters": [r"layers\.3[01]\.", "^lm_head"]}
    if method == "qlora":
        yield {"bnb_4bit_use_double_quant": False}
        yield {"quantization": "int8"}
        if trainer in ("trl", "axolotl"):
            yield from ({"quantization": name} for name in ("gptq", "fp8", "mxfp4"))


def cases(target):
    """Return configurations that a target can run."""
    trainer = TRAINERS[target if target in TRAINERS else "training_hub"]
    found = []
    for method in trainer.defaults:
        for choices in variants(trainer.name, method):
            if "sharding" in choices:
                choices["sharding"] = trainer.strategy(method, choices["sharding"])
            if method not in trainer.offloads:
                choices.pop("cpu_offload", None)
            chosen = {"trainer": trainer.name, "training_method": method, **choices}
            found.append(TrainingConfig("org/model", **chosen))
    return found


# -- Training Hub -----------------------------------------------------------------------------


def parameters_of(file, function):
    """Return the names a function takes, read from its source."""
    tree = ast.parse(file.read_text("utf-8"))
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    return {a.arg for node in found for a in (*node.args.args, *node.args.kwonlyargs)} - {"self"}


def class_body(file, name):
    tree = ast.parse(file.read_text("utf-8"))
    return next(
        node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name
    )


def fields_of(file, name):
    """Return the annotated fields of a class, read from its source."""
    return {n.target.id for n in class_body(file, name) if isinstance(n, ast.AnnAssign)}


@pytest.fixture
def accepted(released):
    """Return what each function of Training Hub accepts: its own keywords, and its backend's."""
    hub = released("training_hub") / "training_hub" / "algorithms"
    backends = {
        "sft": released("instructlab-training") / "instructlab" / "training" / "config.py",
        "osft": released("rhai-innovation-mini-trainer") / "mini_trainer" / "training_types.py",
    }
    files = {"sft": "sft.py", "osft": "osft.py", "lora_sft": "lora.py"}
    names = {  # each function hands **kwargs on to its algorithm's train
        function: parameters_of(hub / file, function) | parameters_of(hub / file, "train")
        for function, file in files.items()
    }
    assert all(names.values())
    return {
        function: own
        | (fields_of(backends[function], "TrainingArgs") if function in backends else set())
        for function, own in names.items()
    }


def test_training_hub_accepts_every_keyword(accepted):
    for config in cases("training_hub"):
        function = FUNCTIONS[config.training_method]
        exported = draft(config, "training_hub").settings
        assert set(exported) <= accepted[function], config


def test_training_hubs_own_command_runs_the_file(released, monkeypatch, tmp_path):
    pytest.importorskip("yaml")
    file = released("training_hub") / "training_hub" / "cli.py"
    spec = importlib.util.spec_from_file_location("thub_cli", file)
    cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cli)
    called = {}

    def backend(_):
        return SimpleNamespace(**{name: run(name) for name in set(FUNCTIONS.values())})

    def run(name):
        return lambda **keywords: called.update({name: keywords})

    monkeypatch.setattr(cli, "importlib", SimpleNamespace(import_module=backend))
    beside = {"data_path": "d.jsonl", "ckpt_output_dir": "out", "learning_rate": 1e-5}
    for config in cases("training_hub"):
        exported = draft(config, "training_hub").settings
        written = tmp_path / "run.yaml"
        written.write_text(to_yaml({**exported, **beside}))
        function = FUNCTIONS[config.training_method]
        cli.main([function.replace("_", "-"), "--config", str(written)])
        received = called.pop(function)
        exported["nproc_per_node"] = str(exported["nproc_per_node"])  # it also takes "auto"
        assert {key: received.get(key) for key in exported} == exported


def test_training_hubs_sharding_strategies_exist(released):
    file = released("instructlab-training") / "instructlab" / "training" / "config.py"
    strategies = {
        node.targets[0].id
        for node in class_body(file, "ShardingStrategies")
        if isinstance(node, ast.Assign)
    }
    options = fields_of(file, "FSDPOptions")
    for sharding in ("hsdp", "fsdp", "zero2", "ddp"):
        config = TrainingConfig("m", num_gpus=2, sharding=sharding, cpu_offload="all")
        exported = draft(config, "training_hub").settings["fsdp_options"]
        assert exported["sharding_strategy"] in strategies
        assert set(exported) <= options


def test_lora_sft_is_passed_both_factors_of_the_batch():
    config = TrainingConfig(
        "m", training_method="lora", micro_batch_size=1, gradient_accumulation_steps=16
    )
    exported = draft(config, "training_hub").settings
    assert (exported["micro_batch_size"], exported["gradient_accumulation_steps"]) == (1, 16)
    assert "effective_batch_size" not in exported


def test_sft_is_passed_tokens_and_the_samples_they_hold():
    config = TrainingConfig(
        "m",
        max_tokens_per_gpu=8192,
        tokens_per_sample=1000,
        num_gpus=4,
        gradient_accumulation_steps=2,
    )
    exported = draft(config, "training_hub").settings
    assert exported["max_tokens_per_gpu"] == 8192
    assert exported["effective_batch_size"] == 8 * 4 * 2


def test_an_unfreeze_rank_ratio_of_one_is_warned_about():
    config = TrainingConfig("m", training_method="osft", unfreeze_rank_ratio=1.0)
    with pytest.warns(UserWarning, match=r"1\.0 as 0\.5"):
        export(config, "training_hub")


# -- TRL --------------------------------------------------------------------------------------


def test_trl_constructs_its_own_classes(imported, tmp_path):
    pytest.importorskip("torch")
    sft_config = imported("trl", "trl.trainer.sft_config").SFTConfig
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    for config in cases("trl"):
        exported = draft(config, "trl").settings
        arguments = {k: v for k, v in exported["SFTConfig"].items() if k != "deepspeed"}
        if arguments["fp16"]:  # refused on a machine with no GPU
            arguments |= {"fp16": False, "bf16": False}
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            warnings.simplefilter("error", DeprecationWarning)
            built = sft_config(**arguments, use_cpu=True, output_dir=str(tmp_path))
        assert built.max_length == config.max_seq_len
        assert built.optim.value == config.optim
        assert built.activation_checkpointing == config.gradient_checkpointing
        if "LoraConfig" in exported:
            lora = peft.LoraConfig(**exported["LoraConfig"])
            assert (lora.r, lora.modules_to_save) == (config.lora_r, config.modules_to_save)
            assert lora.target_parameters == config.target_parameters
        if "BitsAndBytesConfig" in exported:
            quantised = transformers.BitsAndBytesConfig(**exported["BitsAndBytesConfig"])
            assert quantised.load_in_4bit == (config.quantization == "nf4")
        elif config.training_method == "qlora":
            name, _ = CHECKPOINTS[config.quantization]
            loaded = getattr(transformers, name)(**exported[name])
            assert loaded.quant_method == config.quantization
            read = from_trl({**exported, name: loaded})
            assert (read.training_method, read.quantization) == ("qlora", config.quantization)


def test_trl_sharded_by_deepspeed_names_a_field_of_training_arguments():
    transformers = pytest.importorskip("transformers")
    config = TrainingConfig("m", trainer="trl", num_gpus=4, sharding="zero2")
    exported = draft(config, "trl").settings["SFTConfig"]
    assert exported["deepspeed"]["zero_optimization"]["stage"] == 2
    assert "deepspeed" in transformers.TrainingArguments.__dataclass_fields__


@pytest.mark.parametrize(
    ("sharding", "mixed_precision", "storage"),
    [
        ("ddp", "bf16", "uint8"),
        ("zero2", "bf16", "uint8"),
        ("fsdp", "bf16", "bfloat16"),
        ("zero3", "bf16", "bfloat16"),
        ("hsdp", "fp16", "float16"),
    ],
)
def test_trl_stores_four_bits_as_floats_where_they_are_sharded(sharding, mixed_precision, storage):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    config = TrainingConfig(
        "m",
        trainer="trl",
        training_method="qlora",
        num_gpus=4,
        sharding=sharding,
        mixed_precision=mixed_precision,
    )
    exported = draft(config, "trl").settings["BitsAndBytesConfig"]
    built = transformers.BitsAndBytesConfig(**exported)
    assert built.bnb_4bit_quant_storage is getattr(torch, storage)
    if built.bnb_4bit_quant_storage.is_floating_point:
        assert built.bnb_4bit_quant_storage is built.bnb_4bit_compute_dtype


def test_accelerate_launches_with_the_exported_file(tmp_path):
    pytest.importorskip("yaml")
    launch = pytest.importorskip("accelerate.commands.launch")
    read = importlib.import_module("accelerate.commands.config.config_args")
    config = TrainingConfig("m", trainer="trl", num_gpus=16, num_nodes=2, sharding="zero2")
    written = draft(config, "trl")
    assert any("machine_rank" in notice for notice in written.notices)
    file = tmp_path / "accelerate.yaml"
    file.write_text(to_yaml(written.settings["accelerate"]))
    loaded = read.load_config_from_file(str(file))
    assert (loaded.num_processes, loaded.num_machines) == (16, 2)
    assert loaded.distributed_type.value == "MULTI_GPU"
    parser = launch.launch_command_parser()
    arguments = parser.parse_args(["--config_file", str(file), "train.py"])
    launched, *_ = launch._validate_launch_command(arguments)
    assert launched.multi_gpu
    assert not launched.use_deepspeed  # SFTConfig has it
    assert (launched.num_processes, launched.num_machines) == (16, 2)


@pytest.mark.parametrize("target", ["trl", "axolotl", "llamafactory"])
@pytest.mark.parametrize(
    ("sharding", "cpu_offload"),
    [("zero1", "none"), ("zero2", "optimizer"), ("zero3", "none"), ("zero3", "all")],
)
def test_deepspeeds_own_parser_takes_the_configuration(
    target, sharding, cpu_offload, tmp_path, imported
):
    pytest.importorskip("torch")
    runtime = pytest.importorskip("deepspeed.runtime.config")
    integration = pytest.importorskip("transformers.integrations.deepspeed")
    arguments = importlib.import_module("transformers").TrainingArguments
    choices = {"num_gpus": 8, "sharding": sharding, "cpu_offload": cpu_offload}
    config = TrainingConfig("m", trainer=target, **choices)
    exported = draft(config, target).settings
    written = exported.get("SFTConfig", exported)["deepspeed"]
    filled = integration.HfTrainerDeepSpeedConfig(json.loads(json.dumps(written)))
    trainer = arguments(output_dir=str(tmp_path), use_cpu=True, per_device_train_batch_size=3)
    filled.trainer_config_process(trainer)
    built = runtime.DeepSpeedConfig(filled.config)
    assert built.zero_optimization_stage == int(sharding[-1])
    assert built.train_micro_batch_size_per_gpu == 3
    offloads = (built.zero_config.offload_optimizer, built.zero_config.offload_param)
    assert [each is not None for each in offloads] == [cpu_offload != "none", cpu_offload == "all"]
    read = from_deepspeed(written, model_path="m", num_gpus=8)
    assert (read.sharding, read.cpu_offload) == (sharding, cpu_offload)


@pytest.mark.parametrize("mixed_precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("sharding", ["zero1", "zero2", "zero3"])
def test_deepspeeds_file_is_read_by_transformers_and_comes_back(
    sharding, mixed_precision, tmp_path
):
    pytest.importorskip("torch")
    integration = pytest.importorskip("transformers.integrations.deepspeed")
    choices = {"num_gpus": 8, "micro_batch_size": 3, "gradient_accumulation_steps": 5}
    choices |= {"trainer": "trl", "mixed_precision": mixed_precision, "cpu_offload": "optimizer"}
    config = TrainingConfig("m", sharding=sharding, **choices)
    written = draft(config, "deepspeed")
    file = tmp_path / "deepspeed.json"
    file.write_text(json.dumps(written.settings))
    filled = integration.HfTrainerDeepSpeedConfig(str(file))
    assert filled.get_value("zero_optimization.stage") == int(sharding[-1])
    read = from_deepspeed(file, model_path="m", num_gpus=8)
    assert read.config == config.config
    assert draft(read, "deepspeed").settings == written.settings


@pytest.mark.parametrize(
    "choices", [{"sharding": "fsdp"}, {"sharding": "zero2", "cpu_offload": "all"}]
)
def test_what_deepspeed_does_not_do_is_refused(choices):
    with pytest.raises(ConfigError, match="'zero3'"):
        draft(TrainingConfig("m", num_gpus=8, **choices), "deepspeed")


def test_every_optimizer_of_the_form_is_one_of_transformers():
    names = pytest.importorskip("transformers.training_args").OptimizerNames
    assert set(TrainingConfig.fields()["optim"].metadata["options"]) <= {n.value for n in names}


def test_what_trl_built_is_read_back(imported, tmp_path):
    pytest.importorskip("torch")
    sft_config = imported("trl", "trl.trainer.sft_config").SFTConfig
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    read = from_trl(
        {
            "model": "org/model",
            "SFTConfig": sft_config(output_dir=str(tmp_path), use_cpu=True, max_length=777),
            "LoraConfig": peft.LoraConfig(r=3, lora_alpha=5),
            "BitsAndBytesConfig": transformers.BitsAndBytesConfig(load_in_4bit=True),
        },
        gpu="L40S",
    )
    assert (read.training_method, read.lora_r, read.lora_alpha) == ("qlora", 3, 5)
    assert (read.max_seq_len, read.micro_batch_size, read.gpu) == (777, 8, "L40S")
    assert read.bnb_4bit_use_double_quant is False
    assert read.optim == "adamw_torch_fused"


# -- Axolotl ----------------------------------------------------------------------------------


def test_axolotls_schema_takes_every_file(imported, released):
    schema = imported("axolotl", "axolotl.utils.schemas.config").AxolotlInputConfig
    plugin = released("axolotl") / "axolotl" / "integrations" / "liger" / "args.py"
    known = set(schema.model_fields) | fields_of(plugin, "LigerArgs")
    data = {"datasets": [{"path": "data.jsonl", "type": "alpaca"}], "learning_rate": 2e-4}
    for config in cases("axolotl"):
        exported = draft(config, "axolotl").settings
        assert set(exported) <= known, config
        built = schema(**exported, **data)
        assert built.micro_batch_size == exported["micro_batch_size"]


def test_an_axolotl_file_is_read_with_axolotls_own_defaults():
    read = from_axolotl(
        "base_model: org/model\nadapter: qlora\nload_in_4bit: true\nlora_r: 32\nlora_alpha: 16\n"
        "lora_target_linear: true\noptimizer: paged_adamw_32bit\nsample_packing: true\n"
        "sequence_len: 4096\nbf16: auto\nlearning_rate: 0.0002\n"
    )
    assert (read.training_method, read.quantization) == ("qlora", "nf4")
    assert (read.param_dtype, read.mixed_precision) == ("bfloat16", "bf16")
    assert (read.micro_batch_size, read.gradient_checkpointing) == (1, False)
    assert (read.optim, read.max_seq_len, read.padded) == ("paged_adamw_32bit", 4096, False)


def test_an_axolotl_file_is_read_from_its_path(tmp_path):
    file = tmp_path / "run.yml"
    file.write_text("base_model: org/model\nsequence_len: 123\n")
    assert from_axolotl(str(file)).max_seq_len == 123


@pytest.mark.parametrize("text", ["no-such-file.yml", "- a\n- list\n", "a: [unclosed\n"])
def test_what_is_no_axolotl_file_is_said_in_one_sentence(text):
    with pytest.raises(ConfigError) as refused:
        from_axolotl(text)
    assert "\n" not in str(refused.value)


def test_a_deepspeed_file_is_read_or_said_to_be_missing(tmp_path):
    file = tmp_path / "zero3.json"
    on_host = '"offload_param": {"device": "cpu"}, "offload_optimizer": {"device": "cpu"}'
    file.write_text(f'{{"zero_optimization": {{"stage": 3, {on_host}}}}}')
    exported = {"base_model": "m", "deepspeed": str(file)}
    read = from_axolotl(exported, num_gpus=2)
    assert (read.sharding, read.cpu_offload) == ("zero3", "all")
    with pytest.raises(ConfigError, match="DeepSpeed"):
        from_axolotl({**exported, "deepspeed": "deepspeed_configs/missing.json"})


# -- LLaMA-Factory ----------------------------------------------------------------------------


@pytest.fixture
def llamafactory(imported, monkeypatch):
    """Return its parser, with names in place of two packages that it imports for other things."""
    for package, name in (("datasets", "DownloadMode"), ("omegaconf", "OmegaConf")):
        stand_in = ModuleType(package)
        setattr(stand_in, name, SimpleNamespace(REUSE_DATASET_IF_EXISTS=None))
        monkeypatch.setitem(sys.modules, package, stand_in)
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")  # it holds transformers to 5.6 at most
    return imported("llamafactory", "llamafactory.hparams.parser")


def test_llamafactorys_own_parser_takes_every_file(llamafactory, tmp_path):
    pytest.importorskip("torch")
    beside = {"dataset": "alpaca", "template": "llama3", "learning_rate": 1e-5, "use_cpu": True}
    for config in cases("llamafactory"):
        file = draft(config, "llamafactory").settings
        half = {key: False for key in ("bf16", "fp16") if file.get(key)}  # refused without a GPU
        exported = {**file, **beside, **half, "output_dir": str(tmp_path)}
        model, data, training, method, _ = llamafactory._parse_train_args(exported)
        llamafactory._verify_model_args(model, data, method)
        assert data.packing is (None if config.padded else True)
        assert data.cutoff_len == config.max_seq_len - bool(data.packing)
        assert model.disable_gradient_checkpointing != config.gradient_checkpointing
        assert training.optim.value == config.optim
        assert (training.deepspeed is not None) == (file.get("deepspeed") is not None)
        if config.adapts:
            assert (method.finetuning_type, method.lora_rank) == ("lora", config.lora_r)
            assert (model.quantization_bit is None) == (config.training_method == "lora")


@pytest.mark.parametrize(
    ("method", "stored", "computed", "keys"),
    [
        ("sft", "float32", "bf16", {"bf16"}),
        ("sft", "float32", "fp16", {"fp16"}),
        ("sft", "bfloat16", "no", {"pure_bf16"}),
        ("sft", "float32", "no", set()),
        ("lora", "bfloat16", "bf16", {"bf16"}),
        ("lora", "bfloat16", "no", set()),
    ],
)
def test_llamafactorys_precision_is_that_of_what_trains(method, stored, computed, keys):
    choices = {"param_dtype": stored, "mixed_precision": computed, "training_method": method}
    written = draft(TrainingConfig("m", trainer="llamafactory", **choices), "llamafactory")
    assert {"bf16", "fp16", "pure_bf16"} & written.settings.keys() == keys
    assert not written.unsupported


def test_llamafactory_has_a_key_for_the_revision():
    settings = export_quietly(
        TrainingConfig("org/model@v1", trainer="llamafactory"), "llamafactory"
    )
    assert (settings["model_name_or_path"], settings["model_revision"]) == ("org/model", "v1")


@pytest.mark.parametrize(
    "choices",
    [
        {"quantization": "int8", "num_gpus": 2, "sharding": "zero3"},
        {"quantization": "gptq", "num_gpus": 2, "sharding": "fsdp"},
        {"quantization": "awq", "use_dora": True},
    ],
)
def test_what_llamafactory_refuses_is_refused(choices):
    config = TrainingConfig("m", trainer="llamafactory", training_method="qlora", **choices)
    with pytest.raises(ConfigError, match="LLaMA-Factory"):
        draft(config, "llamafactory")


# -- Kubeflow ---------------------------------------------------------------------------------


def test_kubeflows_own_types_hold_the_whole_job(imported):
    models = imported("kubeflow-trainer-api", "kubeflow_trainer_api.models")
    for config in cases("kubeflow"):
        job = draft(config, "kubeflow").settings
        assert models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job


def test_a_train_job_asks_for_every_gpu_and_holds_training_hubs_keywords():
    config = TrainingConfig("org/model", num_gpus=16, num_nodes=2, gpu="MI300X")
    job = export_quietly(config, "kubeflow")
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["resourcesPerNode"]["limits"] == {"amd.com/gpu": 8}
    assert kubeflow.arguments(job) == export_quietly(config, "training_hub")
    read = from_training_hub(kubeflow.arguments(job), gpu="MI300X")
    assert read.config == config.replace(max_tokens_per_gpu=config.tokens).config


def test_a_train_job_of_lora_starts_one_process_for_each_gpu():
    config = TrainingConfig("org/model", training_method="lora", num_gpus=2)
    command = export_quietly(config, "kubeflow")["spec"]["trainer"]["command"]
    assert command[0] == "torchrun"
    assert "lora_sft" in command[-1]


@pytest.mark.parametrize("model", ["org/Model_1.5", "/folder/with spaces/", "x" * 200])
def test_a_train_job_has_a_name_that_kubernetes_takes(model):
    name = export_quietly(TrainingConfig(model), "kubeflow")["metadata"]["name"]
    assert len(name) <= 63
    assert all(part.isalnum() and part == part.lower() for part in name.split("-"))


# -- nothing is dropped silently, and it reads back -------------------------------------------


def export_quietly(config, target):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export(config, target)


#: Values of fields that hold names or expressions.
NAMES = {
    "target_modules": ["all-linear", ["k_proj"], r".*\.(q|v)_proj"],
    "target_parameters": [["experts.gate_up_proj", "experts.down_proj"]],
    "modules_to_save": [["lm_head"], ["embed_tokens", "lm_head"]],
    "trainable_parameters": [[r"layers\.3[01]\.", "^lm_head"], [r"(up|down)_proj"], ["q.proj"]],
}

#: Values of fields that hold a line of text.
TEXTS = {
    "model_path": "another/model",
    "gpu": "H100",
    "pytorch_alloc_conf": "expandable_segments:True",
}


def other_values(field):
    """Return values of a field beside its default."""
    options = field.metadata.get("options")
    if options:
        return list(options)
    kind, most = field.metadata["kind"], field.metadata.get("maximum", 0)
    return {
        "switch": [True, False],
        "count": [2, 3072],
        "number": [0.5, min(2.5, most)],
        "text": [TEXTS.get(field.name)],
        "modules": NAMES.get(field.name),
        "bytes": ["48GiB"],
        "uncountedsettings": [[]],
        "zerooptimization": [{"reduce_bucket_size": 200_000_000}],
    }[kind]


@pytest.mark.parametrize(("target", "method"), PAIRS)
def test_every_choice_is_exported_or_noticed(target, method):
    base = {
        "model_path": "m",
        "trainer": target,
        "training_method": method,
        "gradient_checkpointing": True,
        "num_gpus": 8192,
    }
    plain = draft(TrainingConfig(**base), target)
    for name, field in TrainingConfig.fields().items():
        if name in BESIDE:
            continue
        for value in other_values(field):
            try:
                config = TrainingConfig(**{**base, name: value})
                changed = draft(config, target)
            except ConfigError:
                continue  # refused aloud
            same = getattr(config, name) == getattr(plain.config, name)
            if not same and applies(config, name):
                silent = (changed.settings, changed.notices) == (plain.settings, plain.notices)
                assert not silent, f"{name}={value!r}"


@st.composite
def configurations(draw, target):
    method = draw(st.sampled_from(sorted(TRAINERS[target].defaults)))
    choices = {}
    for name, field in TrainingConfig.fields().items():
        if name in ("trainer", "training_method", "model_path", "gpu_memory", "memory_model"):
            continue
        if draw(st.integers(0, 2)) == 0:
            choices[name] = draw(st.sampled_from(other_values(field)))
    choices.pop("gpu", None)
    nodes = draw(st.sampled_from([1, 1, 2, 4]))
    choices |= {"num_nodes": nodes, "num_gpus": nodes * draw(st.sampled_from([1, 2, 8]))}
    return TrainingConfig("org/model", trainer=target, training_method=method, **choices)


def read_back(target, exported, config):
    """Read an export, adding what it does not hold."""
    beside = {name: getattr(config, name) for name in BESIDE - {"trainer", "training_method"}}
    if target in ("axolotl", "llamafactory") or config.sharding == "device_map":
        beside |= {"num_gpus": config.num_gpus, "num_nodes": config.num_nodes}
    if target == "training_hub":
        beside["training_method"] = config.training_method
    return READ[target](exported, **beside)


#: A field that may read back as another, beside those a trainer has no setting for, and what the
#: notice of it says.
NOTICED = {
    "lora_alpha": "is an integer",
    "num_epochs": "is an integer",
    "sharding": "became FSDP",
    "trainable_token_indices": "tokens that train",
    "pytorch_alloc_conf": "in no file",
    "quantization": "checkpoint itself must be",
    "training_method": "checkpoint itself must be",
    "use_reentrant": "use_reentrant_gc is false",
    "quantize_moe_experts": "quantize_moe_experts does not go with all linears",
}


#: Parameters that expressions are tried on: a trainer may write them in another way.
PARAMETERS = [
    f"model.layers.{layer}.{name}.weight"
    for layer in (1, 3, 30, 31)
    for name in ("self_attn.q_proj", "mlp.up_proj", "input_layernorm")
]
PARAMETERS += ["lm_head.weight", "model.embed_tokens.weight", "model.my_lm_head.weight"]


def alike(name, one, other):
    """Return whether two values of a field mean the same."""
    if name != "trainable_parameters":
        return one == other
    found = [
        {each for each in PARAMETERS if any(re.search(written, each) for written in value or [""])}
        for value in (one, other)
    ]
    return found[0] == found[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", list(READ))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_round_trips(target, data):
    config = data.draw(configurations(target))
    try:
        first = draft(config, target)
    except ConfigError:
        return  # refused aloud
    again = read_back(target, first.settings, config)
    assert draft(again, target).settings == first.settings
    said = " ".join(first.notices)
    for name in TrainingConfig.field_names():
        if name in ("micro_batch_size", "max_tokens_per_gpu", "loss_kernel", "uncounted"):
            continue
        if applies(config, name) and not alike(name, getattr(again, name), getattr(config, name)):
            assert name in first.unsupported or NOTICED.get(name, "?") in said, name
    assert again.tokens == config.tokens or "counts sequences" in said


@pytest.mark.parametrize(("target", "method"), PAIRS)
def test_the_trainers_own_settings_are_exported_without_a_word(target, method):
    config = TrainingConfig("org/model", trainer=target, training_method=method)
    assert draft(config, target).notices == []


@pytest.mark.parametrize(("target", "method"), [pair for pair in PAIRS if pair[0] in READ])
def test_the_trainers_own_settings_round_trip(target, method):
    config = TrainingConfig("org/model", trainer=target, training_method=method)
    written = draft(config, target)
    again = read_back(target, written.settings, config)
    if method == "osft":  # osft requires its tokens
        config = config.replace(max_tokens_per_gpu=config.tokens)
    assert not again.uncounted or target == "axolotl"  # it has kernels for adapters of its own
    for name in TrainingConfig.field_names():
        if applies(config, name) and name not in ("max_tokens_per_gpu", "uncounted"):
            assert getattr(again, name) == getattr(config, name), name


@pytest.mark.parametrize("target", list(TARGETS))
def test_what_was_not_read_is_not_written_either_and_said(target):
    setting = {"text": "TRL: bias: all is not counted (biases train too).", "effect": "too_little"}
    notices = draft(TrainingConfig("m", sharding="zero2", uncounted=[setting]), target).notices
    assert f"Left out here too: {setting['text']}" in notices


@pytest.mark.parametrize("target", ["trl", "axolotl"])
def test_a_number_of_tokens_is_not_the_list_of_them(target):
    choices = {"training_method": "lora", "trainable_token_indices": 3}
    written = draft(TrainingConfig("m", trainer=target, **choices), target)
    assert any("trainable_token_indices: the 3 tokens" in notice for notice in written.notices)
    assert not written.unsupported


def test_axolotls_patterns_unfreeze_what_the_expressions_do(imported):
    freeze = imported("axolotl", "axolotl.utils.freeze")
    for expressions in NAMES["trainable_parameters"]:
        config = TrainingConfig("m", trainer="axolotl", trainable_parameters=expressions)
        written = draft(config, "axolotl")
        if expressions == ["q.proj"]:
            assert "unfrozen_parameters" not in written.settings
            assert written.unsupported == ["trainable_parameters"]
            continue
        patterns = map(freeze.LayerNamePattern, written.settings["unfrozen_parameters"])
        ours = {each for each in PARAMETERS if any(re.search(e, each) for e in expressions)}
        patterns = list(patterns)
        assert {each for each in PARAMETERS if any(p.match(each) for p in patterns)} == ours


@pytest.mark.parametrize("target", ["trl", "axolotl"])
@pytest.mark.parametrize("choices", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_what_peft_refuses_is_refused(target, choices):
    adapted = {"training_method": "lora", "target_parameters": ["experts.gate_up_proj"]}
    config = TrainingConfig("m", trainer=target, lora_dropout=0.0).replace(**adapted, **choices)
    with pytest.raises(ConfigError, match="target_parameters"):
        draft(config, target)


@pytest.mark.parametrize("target", ["trl", "axolotl", "llamafactory"])
def test_osft_is_training_hubs_alone(target):
    with pytest.raises(ConfigError, match="Training Hub"):
        export(TrainingConfig("m", training_method="osft"), target)


@pytest.mark.parametrize(("target", "hint"), [("tlr", "'trl'"), (None, "")])
def test_an_unknown_target_is_refused(target, hint):
    with pytest.raises(ConfigError, match=f"target must be one of.*{hint}"):
        export(TrainingConfig("m"), target)


@pytest.mark.parametrize("target", list(TARGETS))
def test_gpus_that_are_no_multiple_of_the_nodes_are_refused(target):
    with pytest.raises(ConfigError, match="spread evenly"):
        export(TrainingConfig("m", num_gpus=3, num_nodes=2, sharding="zero2"), target)


def test_gpus_known_only_on_the_machine_must_be_given():
    exported = {"model_path": "m", "nproc_per_node": "auto"}
    with pytest.raises(ConfigError, match="num_gpus"):
        from_training_hub(exported)
    assert from_training_hub(exported, num_gpus=4).num_gpus == 4


def test_an_effective_batch_of_lora_goes_into_one_pass_unless_accumulated():
    exported = {"model_path": "m", "lora_r": 8, "effective_batch_size": 64, "nproc_per_node": 2}
    assert from_training_hub(exported).micro_batch_size == 32
    assert from_training_hub({**exported, "gradient_accumulation_steps": 8}).micro_batch_size == 4


@pytest.mark.parametrize("target", list(TARGETS))
def test_exports_are_plain_json(target):
    exported = export_quietly(TrainingConfig("org/model", sharding="zero2"), target)
    assert json.loads(json.dumps(exported)) == exported
    assert type(exported) is dict
