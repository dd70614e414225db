"""Kubeflow's TrainJobs, as far as they carry settings."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import Any

import pytest

from vram_widget.config import TrainingConfig
from vram_widget.errors import ConfigError
from vram_widget.export import export, to_yaml
from vram_widget.export.readers.reading import ReadingWarning
from vram_widget.export.readers.trainjob import from_trainjob


def job(runtime: str, **trainer: Any) -> dict[str, Any]:
    """Return a TrainJob."""
    spec = {"runtimeRef": {"name": runtime}, "trainer": trainer}
    return {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "spec": spec}


def read(settings: Any, **choices: Any) -> TrainingConfig:
    """Read a job, whatever it leaves uncounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return from_trainjob(settings, **choices)


@pytest.mark.parametrize("method", ["sft", "osft", "lora", "qlora"])
def test_our_own_jobs_come_back(method: str, tmp_path: Any) -> None:
    config = TrainingConfig("org/m", training_method=method, num_gpus=8, num_nodes=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = export(config, "kubeflow")
        keywords = export(config, "training_hub")
    file = tmp_path / "job.yaml"
    file.write_text(to_yaml(written))
    for source in (written, to_yaml(written), file):
        again = read(source)
        assert (again.training_method, again.num_gpus, again.num_nodes) == (method, 8, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert export(again, "training_hub") == keywords


def gpus(number: int) -> dict[str, Any]:
    """Return the resources of a node with some GPUs."""
    return {"limits": {"nvidia.com/gpu": number}}


def test_torchtunes_runtimes_name_its_own_files() -> None:
    config = read(job("torchtune-qwen2.5-1.5b", resourcesPerNode=gpus(2)))
    assert (config.model_path, config.training_method) == ("Qwen/Qwen2.5-1.5B-Instruct", "sft")
    assert (config.num_gpus, config.micro_batch_size, config.optim) == (2, 2, "adamw_torch_fused")
    config = read(job("torchtune-qwen2.5-1.5b", resourcesPerNode=gpus(1)))
    assert (config.num_gpus, config.optim) == (1, "paged_adamw_32bit")
    assert config.optimizer_in_backward


def test_their_arguments_choose_the_method() -> None:
    adapters = ["model.lora_attn_modules=[q_proj,v_proj]", "batch_size=3", "epochs=2"]
    one = {"resourcesPerNode": gpus(1)}
    config = read(job("torchtune-llama3.2-1b", args=adapters, **one))
    assert (config.training_method, config.lora_r, config.micro_batch_size) == ("lora", 64, 3)
    assert config.target_modules == ["q_proj", "v_proj", "gate_proj", "down_proj", "up_proj"]
    config = read(job("torchtune-llama3.2-1b", args=["model.quantize_base=True"], **one))
    assert config.training_method == "qlora"
    config = read(job("torchtune-llama3.3-70b", numNodes=2, numProcPerNode=8))
    assert (config.num_gpus, config.num_nodes, config.max_seq_len) == (16, 2, 1024)


def test_the_runtime_beside_the_job_has_the_rest() -> None:
    node = {"name": "node", "resources": gpus(4)}
    template: Any = {"spec": {"template": {"spec": {"containers": [node]}}}}
    runtime = {
        "kind": "ClusterTrainingRuntime",
        "metadata": {"name": "torchtune-llama3.2-3b"},
        "spec": {
            "mlPolicy": {"numNodes": 1},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": template}]}},
        },
    }
    text = f"{to_yaml(runtime)}---\n{to_yaml(job('torchtune-llama3.2-3b'))}"
    assert read(text).num_gpus == 4
    broken = deepcopy(runtime)
    broken["spec"] = {"template": [1, 2]}
    with pytest.raises(ConfigError):
        read(f"{to_yaml(broken)}---\n{to_yaml(job('x'))}")


def test_a_command_of_a_program_that_is_known(tmp_path: Any) -> None:
    command = ["tune", "run", "full_finetune_distributed", "--config", "llama3_2/1B_full"]
    assert read(job("mine", command=command, resourcesPerNode=gpus(2))).num_gpus == 2
    script = f"pip install x\n{' '.join(command)} batch_size=9\n"
    config = read(job("mine", command=["bash", "-c", script], numProcPerNode=3))
    assert (config.num_gpus, config.micro_batch_size) == (3, 9)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (job("torch-distributed", command=["python", "train.py"]), "No model"),
        (job("torch-distributed", command=["torchrun", "python", "-c", "a()"]), "code of its own"),
        (job("torch-distributed", command=["bash", "-c", "echo"]), "Give settings, or one command"),
        (job("torch-distributed"), "holds no settings"),
        (job("torchtune-gpt-5"), "tune cp"),
        ({"kind": "Pod"}, "not 0"),
        ({"kind": "TrainingRuntime", "metadata": {"name": "x"}}, "holds no settings"),
        ({"kind": "TrainJob"}, "holds no settings"),
        ({"kind": "TrainJob", "spec": [1]}, "spec must be a mapping"),
        (job("x", env=[{"name": "TRAINING_HUB_ARGUMENTS", "value": "{"}]), "no JSON"),
    ],
)
def test_what_carries_no_settings_is_refused_in_a_sentence(settings: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(settings)


def test_a_job_names_the_model_that_it_downloads() -> None:
    written = job("torchtune-llama3.2-1b", resourcesPerNode=gpus(1))
    written["spec"]["initializer"] = {"model": {"storageUri": "hf://org/mine/revision"}}
    assert read(written).model_path == "org/mine"
    assert read(written, model_path="other").model_path == "other"


def test_a_misspelt_key_of_the_job_is_named() -> None:
    written = job("torchtune-llama3.2-1b", numNode=2, resourcesPerNode=gpus(1), image="x")
    with pytest.warns(ReadingWarning, match="spec.trainer.numNode: 2"):
        config = from_trainjob(written)
    assert "numNodes" in config.uncounted[-1]["text"]
