"""The chosen configuration, as what a trainer accepts, and back."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from ..config import AnyConfig, TrainingConfig
from ..config.fields import nearest
from ..errors import ConfigError, shown
from .draft import Draft
from .readers import (
    ReadingWarning,
    from_axolotl,
    from_deepspeed,
    from_file,
    from_llamafactory,
    from_torchtune,
    from_training_hub,
    from_trainjob,
    from_trl,
    from_unsloth,
)
from .target import Target

__all__ = [
    "TARGETS",
    "ExportWarning",
    "ReadingWarning",
    "draft",
    "export",
    "from_axolotl",
    "from_deepspeed",
    "from_file",
    "from_llamafactory",
    "from_torchtune",
    "from_training_hub",
    "from_trainjob",
    "from_trl",
    "from_unsloth",
    "to_yaml",
]


def _found() -> dict[str, Target]:
    modules = (import_module(f"{__name__}.{file.name}") for file in iter_modules(__path__))
    targets: list[Target] = [each.TARGET for each in modules if hasattr(each, "TARGET")]
    return {target.name: target for target in sorted(targets, key=lambda each: each.order)}


#: Every target by name: a file in this folder that has a `TARGET` is one.
TARGETS = _found()


class ExportWarning(UserWarning):
    """Something that the target of an export has no setting for, or that a person must add."""


def draft(config: AnyConfig, target: str) -> Draft:
    """Return an export with its notices.

    Parameters
    ----------
    config : TrainingConfig, mapping or str
        What to export: the choices, or only the model.
    target : str
        One of `TARGETS`: a trainer, such as ``"trl"``, or ``"kubeflow"``, or ``"deepspeed"``.

    Returns
    -------
    Draft
        With `settings`, a plain dict, and `notices`, one sentence each.

    Raises
    ------
    ConfigError
        If there is no such target, or it cannot run the configuration at all.
    """
    if not isinstance(target, str) or target not in TARGETS:
        hint = nearest(target, TARGETS)
        raise ConfigError(f"target must be one of {', '.join(TARGETS)}, not {shown(target)}.{hint}")
    return TARGETS[target].export(TrainingConfig.of(config))


def export(config: AnyConfig, target: str) -> dict[str, Any]:
    """Return the configuration as a plain dict that `target` accepts.

    What the target has no setting for comes as a warning, one sentence each; `draft` returns them
    instead.

    Parameters
    ----------
    config : TrainingConfig, mapping or str
        What to export: the choices, or only the model.
    target : str
        A trainer: ``"training_hub"`` takes the keywords of ``sft``, ``osft`` or ``lora_sft``, and
        of a ``thub`` file; ``"trl"`` the fields of SFTConfig, LoraConfig and BitsAndBytesConfig;
        any other the keys of its file. ``"kubeflow"``: a TrainJob that runs Training Hub;
        ``"deepspeed"``: the JSON file of ZeRO, which a trainer takes beside its own settings.

    Raises
    ------
    ConfigError
        If there is no such target, or it cannot run the configuration at all.

    Examples
    --------
    >>> config = TrainingConfig("ibm-granite/granite-3.3-2b-instruct", num_gpus=2)
    >>> export(config, "training_hub")["nproc_per_node"]
    2
    """
    import warnings

    written = draft(config, target)
    for notice in written.notices:
        warnings.warn(notice, ExportWarning, stacklevel=2)
    return written.settings


def to_yaml(settings: Mapping[str, Any]) -> str:
    """Return an export as YAML, for ``thub --config``, another trainer's file or ``kubectl apply``.

    Examples
    --------
    >>> print(to_yaml({"lora_r": 16, "target_modules": ["q_proj"]}), end="")
    lora_r: 16
    target_modules:
    - q_proj
    """
    import yaml

    return str(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))
