"""The widget's form: the fields of a configuration, grouped and described for the front end."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from .. import gpu
from ..config import TrainingConfig
from ..config.fields import Choice, Field, listed, nearest
from ..errors import UnknownFieldError, shown
from ..model import catalog
from ..show import text
from ..show.palette import PALETTE
from ..trace import PACKAGES
from ..units import GiB

#: Choices that rarely decide whether a run fits: out of sight while they hold their default.
ADVANCED = {
    "lora_alpha",
    "lora_dropout",
    "use_dora",
    "target_parameters",
    "modules_to_save",
    "trainable_token_indices",
    "trainable_parameters",
    "lora_dtype",
    "bnb_4bit_use_double_quant",
    "bnb_4bit_quant_storage",
    "prepare_model_for_kbit_training",
    "max_tokens_per_gpu",
    "sync_each_batch",
    "padded",
    "optimizer_in_backward",
    "gpu_memory",
    "cpu_offload",
    "memory_model",
}

#: Metadata that the front end draws from, where a field has it.
_DRAWN = ("unit", "slider", "scale", "shown_when")


def form(controls: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the groups of fields and the palette, in JSON types (``Form`` in messages.ts).

    Parameters
    ----------
    controls : iterable of str, optional
        The only fields there are to be controls for; every one of them is in sight.

    Raises
    ------
    UnknownFieldError
        If there is no control of such a name.
    ConfigError
        If they are no names.
    """
    if controls is None:
        return _all_controls()
    wanted = listed(controls, "controls")
    every = _all_controls()
    names = [field["name"] for group in every["groups"] for field in group["fields"]]
    for name in wanted:
        if name not in names:
            raise UnknownFieldError(f"There is no control {shown(name)}.{nearest(name, names)}")
    groups = [
        {
            **group,
            "fields": [{**f, "advanced": False} for f in group["fields"] if f["name"] in wanted],
        }
        for group in every["groups"]
    ]
    groups = [group for group in groups if group["fields"]]
    return {**every, "groups": groups, "compact": True}


@lru_cache(maxsize=1)
def _all_controls() -> dict[str, Any]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, field in TrainingConfig.fields().items():
        if not field.metadata["group"] or len(field.metadata.get("options", "several")) == 1:
            continue  # nothing to choose
        groups.setdefault(field.metadata["group"], []).append(_describe(name, field))
    return {
        "groups": [
            {"name": group, "label": group.capitalize(), "fields": fields}
            for group, fields in groups.items()
        ],
        "components": [{"name": name, **paint._asdict()} for name, paint in PALETTE.items()],
        "levels": text.VERDICTS,
        "compact": False,
        "readonly": False,
        "verifiable": all(find_spec(package) for package in PACKAGES),
    }


def _describe(name: str, field: Field[Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": name,
        "kind": field.metadata["kind"],
        "label": field.metadata["label"],
        "help": field.help,
        "default": field.default_value,
        "nullable": field.allow_none,
        "advanced": name in ADVANCED,
    }
    described |= {key: field.metadata[key] for key in _DRAWN if key in field.metadata}
    if isinstance(field, Choice):
        options = field.metadata["options"]
        described["options"] = [{"value": v, "label": label} for v, label in options.items()]
    if name == "training_method":
        described["segmented"] = True
    if name == "model_path":
        described["suggestions"] = catalog.names()
    if name == "gpu":
        described |= {"kind": "choice", "options": _gpus()}
    return described


def _gpus() -> list[dict[str, str | None]]:
    named: list[dict[str, str | None]] = [
        {"value": name, "label": _named_with_size(gpu.lookup(name))} for name in gpu.names()
    ]
    return [{"value": None, "label": "the one found here"}, *named]


def _named_with_size(card: gpu.GPU) -> str:
    return card.name if "GB" in card.name else f"{card.name} · {card.memory / GiB:g} GiB"
