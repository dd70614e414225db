"""Finds the language model in a config.json, fills its defaults in, and refuses what is none."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from ..errors import ModelError
from .fields import REQUIRED, SAME_AS, SWITCHES, check, shown, whole, wrong
from .generic import TIED
from .parts.weights import Config
from .registry import families

#: Where multimodal configs keep their language model.
TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")

#: Characters; no family's name is half as long.
LONGEST_NAME = 64

#: Endings of the classes in ``architectures`` that run a language model from left to right.
DECODERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForSequenceClassification")

#: Families that are no decoders, for files that do not say their class.
NO_DECODERS = {
    *("albert", "bert", "camembert", "clip", "deberta", "deberta-v2", "distilbert", "electra"),
    *("esm", "modernbert", "mpnet", "nomic_bert", "roberta", "siglip", "vit", "wav2vec2"),
    *("xlm-roberta", "dinov2", "hubert", "sam", "swin", "whisper"),
}


class Found(NamedTuple):
    """The language model in a config, and the model_type of the config around it, if any."""

    text: dict[str, Any]
    outer: str | None


@cache
def text_types() -> dict[str, str]:
    """Return each multimodal model_type's language model, which older files leave out."""
    return {outer: kind for kind, family in families().items() for outer in family.multimodal}


@cache
def defaults() -> dict[str, Config]:
    """Return what transformers takes for each model_type where config.json leaves a field out."""
    table: dict[str, Config] = {kind: {"tie_word_embeddings": True} for kind in TIED}
    for kind, family in families().items():
        table[kind] = family.defaults
        for outer, ties in family.multimodal.items():
            table[outer] = {"tie_word_embeddings": ties}
    return table


def read(config: object) -> Found:
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
            f"config.json must hold an object of fields, not {shown(config)}; "
            "give the config.json of a language model."
        )
    text, outer = find_text(config)
    own = {**one_name(text), "model_type": model_type(text)}
    if own.get("num_hidden_layers") is None and isinstance(own.get("layer_types"), list):
        own["num_hidden_layers"] = len(own["layer_types"])
    refuse_other_models(own)
    family = one_name(defaults().get(own["model_type"], {}))
    # A saved model's own config.json says every dimension; one within another may leave them out.
    refuse_missing(own if outer is None else {**family, **own}, family)
    # A null is a word of its own ("no sliding window"), except where only true or false will do.
    own = {name: value for name, value in own.items() if value is not None or name not in SWITCHES}
    filled = {"tie_word_embeddings": False, **family, **own}
    filled = {name: value for name, value in filled.items() if value is not None}
    if "num_key_value_heads" not in filled:
        filled["num_key_value_heads"] = filled.get("num_attention_heads")
    if "head_dim" not in filled:
        filled["head_dim"] = head_dim(filled)
    check(filled)
    return Found(filled, outer)


def find_text(config: Config) -> Found:
    """Return the language model's part of a config, with the outer config's word on tying."""
    outer = model_type(config)
    for name in TEXT_CONFIGS:
        inner = config.get(name)
        if isinstance(inner, Mapping):
            text = find_text(inner).text
            break
    else:
        if outer not in text_types():
            return Found(dict(config), None)
        text = {name: value for name, value in config.items() if name != "model_type"}
    if text.get("model_type") in (None, outer):
        text["model_type"] = text_types().get(outer, outer)
    tied = defaults().get(outer, {}).get("tie_word_embeddings", text.get("tie_word_embeddings"))
    if config.get("tie_word_embeddings") is not None:
        tied = config["tie_word_embeddings"]
    return Found({**text, "tie_word_embeddings": tied}, outer)


def model_type(config: Config) -> str:
    """Return the family that a config names."""
    named = config.get("model_type") or "unknown"
    if not isinstance(named, str) or len(named) > LONGEST_NAME:
        raise wrong("model_type", named, "the name of a family, such as llama")
    return named


def one_name(config: Config) -> dict[str, Any]:
    """Return what a config says, and under one name what families name differently."""
    said = dict(config)
    for theirs, ours in SAME_AS.items():
        if theirs in said:
            said.setdefault(ours, said[theirs])
    if isinstance(said.get("layer_types"), list):
        said.pop("sliding_window_pattern", None)  # of no more use; EXAONE 4 has letters there
    return said


def head_dim(config: Config) -> int | None:
    """Return the width of one attention head where config.json does not say it."""
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if not whole(hidden) or not whole(heads):
        return None
    if hidden % heads:
        raise ModelError(
            f"config.json says hidden_size = {hidden}, no multiple of num_attention_heads = "
            f"{heads}, and no head_dim; add its head_dim."
        )
    return hidden // heads


def refuse_missing(own: Config, family: Config) -> None:
    """Refuse a config without the dimensions that every saved model's config has."""
    needed = (
        REQUIRED if family.get("intermediate_size") is None else (*REQUIRED, "intermediate_size")
    )
    missing = [name for name in needed if own.get(name) is None]
    if missing:
        raise ModelError(
            f"config.json has no {', '.join(missing)}; give the config.json of a language model."
        )


def refuse_other_models(own: Config) -> None:
    """Refuse what is no decoder: an encoder, a vision model, a pipeline, a sequence to sequence."""
    kind = own["model_type"]
    if "_class_name" in own:
        raise ModelError(
            f"This is a diffusion model ({shown(own['_class_name'])}), not a language model; "
            "give a decoder such as ibm-granite/granite-3.3-2b-instruct."
        )
    if own.get("is_encoder_decoder") is True:
        raise ModelError(
            f"{kind} is an encoder with a decoder, which is not modelled; give a decoder."
        )
    if kind in defaults():
        return
    classes = own.get("architectures")
    if isinstance(classes, list) and classes:
        decodes = any(isinstance(name, str) and name.endswith(DECODERS) for name in classes)
    else:
        decodes = kind not in NO_DECODERS
    if not decodes or kind in NO_DECODERS:
        raise ModelError(
            f"{kind} is not a language model that writes from left to right; "
            "give a decoder such as ibm-granite/granite-3.3-2b-instruct."
        )
