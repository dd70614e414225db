"""Settings of another program that are put into the widget (``Imported`` in messages.ts)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ..config import TrainingConfig
from ..config.uncounted import Effect
from ..errors import ConfigError, VRAMWidgetError
from .pinned import differences

#: Fields that hardly any settings hold: what these leave open stays as it is in the widget.
STAYING = (
    *("gpu", "gpu_memory", "gpu_hour_price"),
    *("num_samples", "tokens_per_sample", "memory_model"),
)

#: What leaving a setting out does to the figure, beside its sentence.
EFFECTS: dict[Effect, str] = {
    "too_little": "Counts too little",
    "too_much": "Counts too much",
    "unknown": "Cannot say",
}


def read(text: str, now: TrainingConfig) -> TrainingConfig:
    """Return what a text says; without a model, or a number of GPUs to shard over, those of now.

    It comes from a browser: it is never taken for a path, and a file that it names is opened only
    in the working folder.

    Raises
    ------
    ConfigError
        If it cannot be read.

    Examples
    --------
    >>> now = TrainingConfig("a/b", num_gpus=8)
    >>> found = read('{"zero_optimization": {"stage": 3}}', now)
    >>> found.model_path, found.sharding, found.num_gpus
    ('a/b', 'zero3', 8)
    """
    from ..export.readers import from_file
    from ..export.readers.reading import UnnamedModelError
    from ..export.readers.source import confined

    settings = f"{text}\n"  # what has lines is no path
    choices: dict[str, Any] = {}
    try:
        with warnings.catch_warnings(), confined():
            warnings.simplefilter("ignore")  # the widget shows each itself
            try:
                found = from_file(settings)
            except UnnamedModelError:
                choices["model_path"] = now.model_path
                found = from_file(settings, **choices)
            if found.sharding != "ddp" and found.num_gpus == 1 < now.num_gpus:
                found = from_file(settings, num_gpus=now.num_gpus, **choices)
    except VRAMWidgetError:
        raise
    except Exception as fault:  # a stranger's text must not end the widget
        raise ConfigError(f"The settings cannot be read: {fault!r}.") from fault
    return found


def keep(found: TrainingConfig, now: TrainingConfig) -> TrainingConfig:
    """Return what was read, and where it leaves open what `STAYING` names, that of `now`.

    Examples
    --------
    >>> keep(TrainingConfig("a/b"), TrainingConfig("m", gpu="L40S")).gpu
    'L40S'
    """
    return found.replace(
        **{name: getattr(now, name) for name in STAYING if name not in found._chosen}
    )


def heading(name: str, text: str, found: TrainingConfig) -> str:
    """Return what was read, by the name of its file if it has one, and whose settings it was.

    Examples
    --------
    >>> heading("zero.json", '{"zero_optimization": {}}', TrainingConfig("m", trainer="trl"))
    'zero.json, read as settings of DeepSpeed'
    """
    from ..export.readers.files import recognised
    from ..export.readers.source import documents

    program = str(TrainingConfig.fields()["trainer"].metadata["options"][found.trainer])
    try:
        content = documents(text, program)
        if len(content) == 1 and isinstance(content[0], Mapping):
            program = recognised(content[0]).label
    except ConfigError:
        pass  # a command line
    return f"{name or 'The text'}, read as settings of {program}"


def imported(
    heading: str, found: TrainingConfig, now: TrainingConfig, error: str = ""
) -> dict[str, Any]:
    """Return what the widget shows of settings that were read, in JSON types.

    Parameters
    ----------
    heading : str
        What was read, and whose settings it was.
    found, now : TrainingConfig
        What they say, and what the controls do.
    error : str
        Why the controls cannot take them.
    """
    return {
        "heading": heading,
        "differences": differences(now, found),
        "notices": [
            {"text": each["text"], "effect": EFFECTS[each["effect"]]} for each in found.uncounted
        ],
        "error": error,
    }


def unread(error: str) -> dict[str, Any]:
    """Return what the widget shows where nothing could be read."""
    return {"heading": "", "differences": [], "notices": [], "error": error}
