"""Finds the language model in a config.json, fills its defaults in, and refuses what is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, TypeGuard

from ...errors import ModelError
from .weights import Config

#: Beyond any model there is; above it a config.json is broken or hostile.
LARGEST_DIMENSION = 1 << 24
MOST_LAYERS = 10_000

#: Where multimodal configs keep their language model.
TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")

#: Other families' names for the same dimension (transformers' own attribute maps).
SAME_AS = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "num_local_experts": "num_experts",
    "n_routed_experts": "num_experts",
    "layers_block_type": "layer_types",
}

#: Every config.json of a language model says these; inside a multimodal one they may be left out.
REQUIRED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

#: Whole numbers of at least 1.
SIZES = (*REQUIRED, "num_key_value_heads", "head_dim", "intermediate_size")

#: Whole numbers that may be 0, which says that the model has none of it.
COUNTS: tuple[str, ...] = ()

SWITCHES = ("tie_word_embeddings", "attention_bias", "mlp_bias")


@lru_cache(maxsize=1)
def defaults() -> dict[str, dict[str, Any]]:
    """Return what transformers takes for each model_type where config.json leaves a field out."""
    text = resources.files(__package__).joinpath("defaults.json").read_text("utf-8")
    table: dict[str, dict[str, Any]] = json.loads(text)
    return table


def read(config: object) -> dict[str, Any]:
    """Return the language model's config, whole and checked.

    Fields that families name differently are found under one name (`SAME_AS`), fields left out
    have the defaults of transformers' configuration class for that model_type.

    Raises
    ------
    ModelError
        If it is not a language model's, or a dimension is missing or makes no sense.
    """
    if not isinstance(config, Mapping):
        raise ModelError(
            f"config.json must hold an object of fields, not {type(config).__name__}; "
            "give the config.json of a language model."
        )
    text, nested = find_text(config)
    own = dict(text)
    for theirs, ours in SAME_AS.items():
        if own.get(ours) is None and own.get(theirs) is not None:
            own[ours] = own[theirs]
    missing = [name for name in REQUIRED if own.get(name) is None]
    if missing and not nested:
        raise ModelError(
            f"config.json has no {', '.join(missing)}; give the config.json of a language model."
        )
    filled = with_defaults(own)
    check(filled)
    return filled


def find_text(config: Config) -> tuple[Config, bool]:
    """Return the language model's part of a config, and whether it lies within another."""
    for name in TEXT_CONFIGS:
        inner = config.get(name)
        if isinstance(inner, Mapping):
            text = find_text(inner)[0]
            return {**text, **tied(config, text)}, True
    return config, False


def tied(config: Config, text: Config) -> dict[str, Any]:
    """Return the outer config's word on tied embeddings, which goes before the inner one's."""
    for place in (config, text):
        if place.get("tie_word_embeddings") is not None:
            return {"tie_word_embeddings": place["tie_word_embeddings"]}
    return {}


def with_defaults(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with the fields it leaves out, or leaves null, filled in."""
    model_type = own.get("model_type")
    family = defaults().get(model_type, {}) if isinstance(model_type, str) else {}
    filled = {
        "tie_word_embeddings": False,
        **family,
        **{name: value for name, value in own.items() if value is not None},
    }
    filled["model_type"] = str(model_type)
    heads, hidden = filled.get("num_attention_heads"), filled.get("hidden_size")
    if filled.get("num_key_value_heads") is None:
        filled["num_key_value_heads"] = heads
    if filled.get("head_dim") is None and whole(heads) and whole(hidden):
        filled["head_dim"] = hidden // heads
    return filled


def whole(value: object) -> TypeGuard[int]:
    """Return whether this is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def check(config: Config) -> None:
    """Refuse dimensions that make no sense."""
    for name in SIZES + COUNTS:
        value = config.get(name)
        if value is None or (name in COUNTS and value == 0):
            continue
        largest = MOST_LAYERS if name == "num_hidden_layers" else LARGEST_DIMENSION
        if not whole(value) or value > largest:
            raise ModelError(
                f"config.json says {name} = {shown(value)}, which must be a whole number "
                f"between 1 and {largest:,}; correct it."
            )
    for name in SWITCHES:
        if not isinstance(config.get(name, False), bool):
            raise ModelError(
                f"config.json says {name} = {shown(config[name])}, which must be true or false; "
                "correct it."
            )
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    if heads % groups:
        raise ModelError(
            f"config.json says num_attention_heads = {heads}, which is no multiple of "
            f"num_key_value_heads = {groups}; correct it."
        )


def shown(value: object) -> str:
    """Return a value as a person should see it, however long it is."""
    # A huge int would cost seconds, or an error, to turn into text.
    if isinstance(value, int) and abs(value) > 1 << 128:
        return "a number of more than 38 digits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
