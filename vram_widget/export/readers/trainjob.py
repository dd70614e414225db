"""Read Kubeflow's TrainJob (trainer.kubeflow.org/v1alpha1; Kubeflow Trainer 2.2).

A TrainJob holds how many nodes and processes there are; what they train is said by the program that
it runs: Training Hub as our own export has it, torchtune in the runtimes that Kubeflow comes with,
or a command line of another program known here.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...errors import ConfigError, shown
from ..kubeflow import ARGUMENTS
from . import commands, source, torchtune
from .reader import Reader
from .reading import Names, Reading, ReadingWarning, mapping
from .training_hub import from_training_hub

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...config.choices import Choices
    from .source import Source

PROGRAM = "Kubeflow"

RUNTIMES = ("ClusterTrainingRuntime", "TrainingRuntime")


def from_trainjob(settings: Source, **choices: Unpack[Choices]) -> TrainingConfig:
    """Return the configuration that a Kubeflow TrainJob trains with.

    Parameters
    ----------
    settings : mapping, str or path
        The TrainJob as a mapping or as YAML text, or the path of such a file. Its runtime may
        stand beside it, as another document, or by itself.
    **choices
        Fields that the job does not hold, such as `gpu`; they win.

    Warns
    -----
    ReadingWarning
        Once, of all that is not counted.

    Raises
    ------
    ConfigError
        If it is no TrainJob, or what it runs holds no settings that are known here.

    Examples
    --------
    >>> from vram_widget import TrainingConfig, export
    >>> job = export(TrainingConfig("org/model", training_method="osft", num_gpus=4), "kubeflow")
    >>> config = from_trainjob(job)
    >>> config.model_path, config.training_method, config.num_gpus
    ('org/model', 'osft', 4)
    """
    documents = [settings] if isinstance(settings, Mapping) else _documents(settings)
    jobs = [each for each in documents if _kind(each) == "TrainJob"]
    runtimes = {_name(each): each for each in documents if _kind(each) in RUNTIMES}
    if len(jobs or runtimes) != 1:
        raise ConfigError(f"Give one TrainJob of Kubeflow, not {len(jobs or runtimes)}.")
    reading = Reading(PROGRAM, jobs[0] if jobs else {}, Names.of("trainjob"))
    spec = reading.inside("spec")
    reference = spec.inside("runtimeRef").get("name") if jobs else next(iter(runtimes))
    runtime = runtimes.get(str(reference), {})
    trainer = spec.inside("trainer")
    start = _hardware(trainer, _container(runtime), mapping(runtime.get("spec"), "spec"))
    if model := _model(spec):
        start["model_path"] = model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadingWarning)  # the job's own says all
        config = _run(str(reference), trainer, _container(runtime), start, choices)
    return reading.around(config, choices)


def _run(
    runtime: str,
    trainer: Reading,
    container: Mapping[str, Any],
    start: Mapping[str, Any],
    choices: Mapping[str, Any],
) -> TrainingConfig:
    """Return the configuration of what a job runs."""
    fields = {**start, **choices}
    words = [*_words(trainer, "command"), *_words(trainer, "args")]
    if keywords := _keywords(trainer):
        return from_training_hub(keywords, **fields)
    if runtime.startswith("torchtune-"):
        return torchtune.run(_torchtune(runtime, _words(trainer, "args"), start), fields)
    words = words or [*_words(container, "command"), *_words(container, "args")]
    if not words:
        raise ConfigError(
            f"The TrainJob runs what its runtime {shown(runtime)} does, which holds no settings "
            "that are known here; give them to the reader of the library that it uses."
        )
    in_shell = words[0].rpartition("/")[2] in ("bash", "sh")
    return commands.read(commands.one(words[-1]) if in_shell else words, fields)


def _model(spec: Reading) -> str | None:
    """Return the Hub's model that a job downloads before it trains."""
    address = spec.inside("initializer").inside("model").get("storageUri")
    found = re.match(r"hf://([\w.-]+/[\w.-]+)", str(address))
    return found[1] if found else None


def _documents(settings: Any) -> list[Any]:
    return source.documents(source.text(settings, PROGRAM), PROGRAM)


def _kind(document: object) -> object:
    return document.get("kind") if isinstance(document, Mapping) else None


def _name(document: Mapping[str, Any]) -> str:
    return str(mapping(document.get("metadata"), "metadata").get("name"))


def _container(runtime: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the container that trains, of a runtime."""
    held: Any = runtime.get("spec")
    for key in ("template", "spec", "replicatedJobs"):
        held = held.get(key) if isinstance(held, Mapping) else None
    jobs = held if isinstance(held, list) else []
    for job in jobs:
        held = job if isinstance(job, Mapping) and job.get("name") == "node" else None
        for key in ("template", "spec", "template", "spec", "containers"):
            held = held.get(key) if isinstance(held, Mapping) else None
        if isinstance(held, list) and held and isinstance(held[0], Mapping):
            return held[0]
    return {}


def _hardware(
    trainer: Reading, container: Mapping[str, Any], runtime: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the number of GPUs and nodes."""
    policy = mapping(runtime.get("mlPolicy"), "mlPolicy")
    nodes = _number(trainer.get("numNodes")) or _number(policy.get("numNodes")) or 1
    processes = _number(trainer.get("numProcPerNode"))
    cards = _cards(trainer.get("resourcesPerNode")) or _cards(container.get("resources"))
    found: dict[str, Any] = {"num_nodes": nodes} if nodes > 1 else {}
    if processes or cards or nodes > 1:
        found["num_gpus"] = nodes * (processes or cards or 1)
    return found


def _cards(resources: object) -> int | None:
    """Return the GPUs among a node's resources, whatever their vendor."""
    held = mapping(resources, "resourcesPerNode")
    for key in ("limits", "requests"):
        for name, number in mapping(held.get(key), key).items():
            if re.search(r"gpu|nvidia\.com/mig", str(name)):
                return _number(number)
    return None


def _number(value: object) -> int | None:
    """Return a whole number above zero, of text too: Kubernetes takes both."""
    digits = str(value)
    return int(digits) if re.fullmatch(r"[1-9]\d{0,5}", digits) else None


def _words(holder: Reading | Mapping[str, Any], key: str) -> list[str]:
    words = holder.get(key, [])
    return [str(word) for word in words] if isinstance(words, list) else []


def _keywords(trainer: Reading) -> Mapping[str, Any]:
    """Return the keywords of Training Hub that our own export writes."""
    variables = trainer.get("env")
    for variable in variables if isinstance(variables, list) else []:
        if isinstance(variable, Mapping) and variable.get("name") == ARGUMENTS:
            try:
                return mapping(json.loads(str(variable.get("value"))), ARGUMENTS)
            except (ValueError, RecursionError):
                raise ConfigError(f"{ARGUMENTS} holds no JSON.") from None
    return {}


def _torchtune(runtime: str, arguments: list[str], start: Mapping[str, Any]) -> list[str]:
    """Return the command that Kubeflow runs for a runtime of torchtune.

    Its file is one of torchtune's own, by the runtime's name and by what the arguments change:
    getRecipeAndConfig in pkg/runtime/framework/plugins/torch/torchtune.go.
    """
    _, family, size = [*runtime.split("-", 2), "", ""][:3]
    adapts = any("model.lora_attn_modules" in each for each in arguments)
    quantises = any(re.match(r"model\.quantize_base=true$", each, re.I) for each in arguments)
    quantises &= not any(re.match(r"model\.use_dora=true$", each, re.I) for each in arguments)
    nodes, gpus = start.get("num_nodes", 1), start.get("num_gpus", 2)
    kind = "qlora" if quantises else "lora" if adapts else "full"
    if nodes > 1:
        kind = "full_multinode"
    single = "_single_device" if gpus == 1 else ""
    recipe = "lora_finetune" if kind.endswith("lora") else "full_finetune"
    name = f"{family.replace('.', '_')}/{size.upper()}_{kind}{single}"
    return ["run", f"{recipe}{single or '_distributed'}", "--config", name, *arguments]


def _recognises(settings: Mapping[str, Any]) -> bool:
    return _kind(settings) in ("TrainJob", *RUNTIMES)


READER = Reader("trainjob", "Kubeflow TrainJob", 0, _recognises, from_trainjob)
