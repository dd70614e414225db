"""Models known with no network: their config.json's own dimensions, each with its source."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib import resources
from typing import Any

#: Endings of names that say how a copy is stored, not what its dimensions are.
STORED_AS = re.compile(
    r"-(?:unsloth|bnb|4bit|8bit|gptq|awq|marlin|gguf|mlx|hf|bf16|fp16|fp8|dynamic|nvfp4|mxfp4"
    r"|int4|int8|w4a16|w8a8|w8a16|quantized\.w\w+)$"
)


@lru_cache(maxsize=1)
def _models() -> dict[str, dict[str, Any]]:
    text = resources.files(__package__).joinpath("catalog.json").read_text("utf-8")
    models: dict[str, dict[str, Any]] = json.loads(text)
    return models


@lru_cache(maxsize=1)
def _ids() -> dict[str, str]:
    """Return every id by its lower-case form: the Hub ignores case."""
    return {name.lower(): name for name in _models()}


@lru_cache(maxsize=1)
def _endings() -> dict[str, set[str]]:
    """Return the ids that each bare name, without its organisation, stands for."""
    endings: dict[str, set[str]] = {}
    for name in _models():
        endings.setdefault(bare(name), set()).add(name)
    return endings


def names() -> list[str]:
    """Return the id of every model in the catalogue, in alphabetical order.

    Examples
    --------
    >>> "meta-llama/Llama-3.1-8B" in names()
    True
    """
    return list(_models())


def lookup(name: str) -> dict[str, Any] | None:
    """Return the config of the model with this id, or None if the catalogue has none.

    Examples
    --------
    >>> lookup("meta-llama/Llama-3.1-8B")["hidden_size"]
    4096
    """
    entry = _entry(name)
    return None if entry is None else dict(entry["config"])


def source(name: str) -> str | None:
    """Return where the dimensions of the model with this id were seen, or None.

    Examples
    --------
    >>> source("Qwen/Qwen3-8B")
    'Lightning-AI/litgpt@2685705 litgpt/config.py; tie: aiconfigurator HF config.json'
    """
    entry = _entry(name)
    return None if entry is None else str(entry["source"])


def kin(name: str) -> str | None:
    """Return the id of the model that this one, by its name, is a copy or a fine-tune of.

    That is a copy by another organisation, a quantised one, or a name that ends in the name of a
    known model. None where that fits no model, or several that differ.

    Examples
    --------
    >>> kin("unsloth/Llama-3.1-8B-Instruct-bnb-4bit")
    'meta-llama/Llama-3.1-8B-Instruct'
    >>> kin("NousResearch/Hermes-3-Llama-3.1-8B")
    'meta-llama/Llama-3.1-8B'
    >>> kin("my-own-model") is None
    True
    """
    words = bare(name).split("-")
    for start in range(len(words)):
        ids = _endings().get("-".join(words[start:]), set())
        if ids:
            alike = {_models()[known].get("same_as", known) for known in ids}
            return min(ids) if len(alike) == 1 else None
    return None


def bare(name: str) -> str:
    """Return a model's name without its organisation and without how it is stored.

    Examples
    --------
    >>> bare("meta-llama/Meta-Llama-3-8B-Instruct-GPTQ")
    'llama-3-8b-instruct'
    """
    word = name.rsplit("/", 1)[-1].lower().removeprefix("meta-")
    while (shorter := STORED_AS.sub("", word)) != word:
        word = shorter
    return word


def _entry(name: str) -> dict[str, Any] | None:
    known = _ids().get(name.lower())
    if known is None:
        return None
    entry = _models()[known]
    return _models()[entry["same_as"]] if "same_as" in entry else entry
