"""A model as its files describe it: its config.json, and the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..step.methods.parameter import Shape

#: A stored tensor: its shape, and its dtype as safetensors spells it (``BF16``, ``F8_E4M3``).
Tensor = tuple[Shape, str]


@dataclass(frozen=True)
class Checkpoint:
    """A model as it is stored, on the Hub or in a folder.

    Attributes
    ----------
    config : mapping
        The parsed config.json.
    tensors : mapping of str to (tuple of int, str)
        Every tensor by its stored name, with its shape and dtype as the safetensors headers say;
        empty where there are no safetensors files.
    source : str
        Where it was read, in words.
    quantization : str or None
        How the weights are stored: nf4, int8, gptq, awq, fp8 or mxfp4; None where they are not
        quantised.
    commit : str or None
        The commit on the Hub.
    notices : tuple of str
        What a person should know about how it was read.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    source: str = ""
    quantization: str | None = None
    commit: str | None = None
    notices: tuple[str, ...] = ()
