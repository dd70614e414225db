"""Kubeflow Trainer: a TrainJob (trainer.kubeflow.org/v1alpha1) that runs Training Hub.

Its runtime is OpenShift AI's ClusterTrainingRuntime ``training-hub`` (opendatahub-io/trainer,
manifests/rhoai/runtimes/training_hub.yaml), whose torch policy gives every node its rank and the
address of the first in PET_* variables, which Training Hub reads. On another cluster, or for other
cards than NVIDIA's, name the runtime found there.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..config import TrainingConfig
from ..gpu.catalogue import called
from . import training_hub
from .draft import Draft
from .target import Target

RUNTIME = "training-hub"

#: What a cluster calls the cards of a vendor, as its device plugin registers them.
RESOURCES = {
    "NVIDIA": "nvidia.com/gpu",
    "AMD": "amd.com/gpu",
    "Intel": "gpu.intel.com/i915",
}

#: The variable that holds Training Hub's keywords, as JSON.
ARGUMENTS = "TRAINING_HUB_ARGUMENTS"


def export(config: TrainingConfig) -> Draft:
    """Return the TrainJob."""
    draft = training_hub.export(config)
    function = training_hub.FUNCTIONS[config.training_method]
    arguments = draft.settings
    nodes, per_node = arguments["nnodes"], arguments["nproc_per_node"]
    cards = {_resource(config.gpu): per_node}
    run = (
        "import json, os, training_hub; "
        f"training_hub.{function}(**json.loads(os.environ['{ARGUMENTS}']))"
    )
    command = ["python", "-c", run]
    if function == "lora_sft" and config.num_processes > 1:
        command = ["torchrun", "--no-python", *command]
        draft.notices = [notice for notice in draft.notices if "torchrun" not in notice]
    draft.note(
        f"Add data_path, ckpt_output_dir and learning_rate to {ARGUMENTS}, and the volumes that "
        "hold them to the runtime or to the job."
    )
    draft.settings = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": _job_name(config)},
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "ClusterTrainingRuntime",
                "name": RUNTIME,
            },
            "trainer": {
                "numNodes": nodes,
                "numProcPerNode": per_node,
                "resourcesPerNode": {"requests": cards, "limits": dict(cards)},
                "command": command,
                "env": [{"name": ARGUMENTS, "value": json.dumps(arguments)}],
            },
        },
    }
    return draft


TARGET = Target("kubeflow", "TrainJob", 100, export, language="yaml")


def _resource(gpu: str | None) -> str:
    vendors = [card.vendor for card in called(gpu or "")]
    return RESOURCES[vendors[0]] if vendors and vendors[0] in RESOURCES else "nvidia.com/gpu"


def _job_name(config: TrainingConfig) -> str:
    """Return a name Kubernetes takes: lower case letters, digits and dashes, at most 63."""
    model = config.model_path.rstrip("/").rsplit("/", 1)[-1]
    name = re.sub(r"[^a-z0-9]+", "-", f"{config.training_method}-{model}".lower())
    return name[:50].strip("-")


def arguments(job: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of Training Hub that a TrainJob made by `export` holds."""
    variables = {entry["name"]: entry["value"] for entry in job["spec"]["trainer"]["env"]}
    held: dict[str, Any] = json.loads(variables[ARGUMENTS])
    return held
