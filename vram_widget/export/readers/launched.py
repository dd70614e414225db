"""Read Accelerate's configuration file by itself: what TRL's SFTTrainer is launched with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from .accelerate import PROGRAM
from .reader import Reader
from .source import opened
from .trl import from_trl

if TYPE_CHECKING:
    from .source import Source


def from_accelerate(settings: Source, **choices: Any) -> TrainingConfig:
    """Return the configuration that TRL runs with where Accelerate launches it with a file.

    Parameters
    ----------
    settings : mapping, str or path
        The file of ``accelerate launch --config_file`` as a mapping or text, or its path.
    **choices
        What it does not hold, `model_path` first of all; they win.

    Raises
    ------
    ConfigError
        If it cannot be read, or no model is named.

    Examples
    --------
    >>> file = {"distributed_type": "MULTI_GPU", "num_processes": 4}
    >>> from_accelerate(file, model_path="m").num_gpus
    4
    """
    return from_trl({"accelerate": opened(settings, PROGRAM)}, **choices)


def _recognises(settings: Mapping[str, Any]) -> bool:
    return "distributed_type" in settings or "compute_environment" in settings


READER = Reader("accelerate", PROGRAM, 15, _recognises, from_accelerate)
