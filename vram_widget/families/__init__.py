"""config.json -> Architecture: one file a family, of its weights, its layers and its record.

The names and shapes are those of transformers' own modules for the same config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ModelError
from ..step.architecture import Architecture
from .registry import families

__all__ = ["families", "from_config"]


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a config.json describes.

    Parameters
    ----------
    config : mapping
        The parsed config.json. Of a multimodal model, the language model is what is trained;
        its other towers are held.

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
    from .generic import stand_in
    from .reading import read
    from .towers import around

    text, outer = read(config)
    family = families().get(text["model_type"])
    try:
        architecture = Architecture.of(family, text) if family else stand_in(text)
    except KeyError as missing:
        raise ModelError(
            f"config.json has no {missing.args[0]}; give the config.json of a language model."
        ) from None
    return around(architecture, config, outer) if outer else architecture
