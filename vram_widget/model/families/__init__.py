"""config.json -> Architecture: one short function a family, that lists its weights.

The names and shapes are those of transformers' own modules for the same config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import ModelError
from ..architecture import Architecture
from . import dense
from .reading import read
from .weights import Config

#: model_type -> the function that lists its weights.
FAMILIES: dict[str, Callable[[Config], Architecture]] = {
    "granite": dense.llama,
    "llama": dense.llama,
    "mistral": dense.llama,
    "qwen2": dense.llama,
}


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a config.json describes.

    Parameters
    ----------
    config : mapping
        The parsed config.json.

    Raises
    ------
    ModelError
        If it is not a language model's, or a dimension is missing or makes no sense.

    Examples
    --------
    >>> tiny = from_config({"model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    ...     "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100})
    >>> tiny.num_parameters
    95040
    """
    filled = read(config)
    family = FAMILIES.get(filled["model_type"])
    if family is None:
        raise ModelError(f"The model family {filled['model_type']!r} is not known.")
    try:
        return family(filled)
    except KeyError as missing:
        raise ModelError(
            f"config.json has no {missing.args[0]}; give the config.json of a language model."
        ) from None
