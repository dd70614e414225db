"""The configuration as text that launches it (``Launch`` in messages.ts)."""

from __future__ import annotations

from pprint import pformat
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config import TrainingConfig

#: The targets by the names people know them by, and whether they read YAML; else Python.
TARGETS = {
    "training_hub": ("Training Hub", False),
    "trl": ("TRL", False),
    "axolotl": ("Axolotl", True),
    "kubeflow": ("TrainJob", True),
}


def launches(config: TrainingConfig) -> list[dict[str, Any]]:
    """Return the configuration as text for each target, in JSON types.

    Where a target cannot run it, the text is empty and a notice says why.

    Examples
    --------
    >>> from vram_widget.config import TrainingConfig
    >>> for each in launches(TrainingConfig(training_method="osft")):
    ...     print(each["label"], *each["notices"] if not each["text"] else ["can"])
    Python dict can
    Training Hub can
    TRL TRL cannot run osft: choose Training Hub, or another training_method.
    Axolotl Axolotl cannot run osft: choose Training Hub, or another training_method.
    TrainJob can
    """
    whole = {"name": "python", "label": "Python dict", "text": _python(config.config)}
    return [{**whole, "notices": []}, *(_launch(config, target) for target in TARGETS)]


def _launch(config: TrainingConfig, target: str) -> dict[str, Any]:
    from ..export import draft, to_yaml

    label, yaml = TARGETS[target]
    try:
        written = draft(config, target)
    except ConfigError as error:
        return {"name": target, "label": label, "text": "", "notices": [str(error)]}
    text = to_yaml(written.settings) if yaml else _python(written.settings)
    return {"name": target, "label": label, "text": text, "notices": written.notices}


def _python(settings: dict[str, Any]) -> str:
    return pformat(settings, sort_dicts=False, width=80)
