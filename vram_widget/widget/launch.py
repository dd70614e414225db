"""The configuration as text that launches it (``Launch`` in messages.ts)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pprint import pformat
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..export import TARGETS, to_yaml
from ..export.target import Language, Target

if TYPE_CHECKING:
    from ..config import TrainingConfig


def launches(config: TrainingConfig) -> list[dict[str, Any]]:
    """Return the configuration as text for each target, in JSON types.

    Where a target cannot run it, the text is empty and a notice says why.

    Examples
    --------
    >>> from vram_widget.config import TrainingConfig
    >>> for each in launches(TrainingConfig(training_method="osft"))[1:3]:
    ...     print(each["label"], *each["notices"] if not each["text"] else ["can"])
    Training Hub can
    TRL TRL cannot run osft: choose Training Hub, or another training_method.
    """
    plain = {"name": "python", "label": "Python dict", "text": _python(config.config)}
    return [{**plain, "notices": []}, *(_launch(config, target) for target in TARGETS.values())]


def _launch(config: TrainingConfig, target: Target) -> dict[str, Any]:
    named = {"name": target.name, "label": target.label}
    try:
        draft = target.export(config)
    except ConfigError as error:
        return {**named, "text": "", "notices": [str(error)]}
    return {**named, "text": WRITERS[target.language](draft.settings), "notices": draft.notices}


def _python(settings: dict[str, Any]) -> str:
    return pformat(settings, sort_dicts=False, width=80)


def _json(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=2)


#: How settings are written for what reads them.
WRITERS: dict[Language, Callable[[dict[str, Any]], str]] = {
    "python": _python,
    "yaml": to_yaml,
    "json": _json,
}
