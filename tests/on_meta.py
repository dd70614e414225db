"""What transformers itself makes of a config: the parameters it builds, the defaults it fills in.

Models are built on torch's meta device, which holds no numbers, so that the largest costs nothing.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import pytest

Config = dict[str, Any]


def transformers() -> Any:
    """Return the module, or skip the test where it is not installed; in CI it must be."""
    if os.environ.get("CI") != "true":
        for name in ("torch", "transformers"):
            pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[trace]'")
    import transformers as module

    return module


def built(config: Config) -> Any:
    """Return transformers' configuration for a config.json."""
    fields = {name: value for name, value in config.items() if name != "model_type"}
    return transformers().CONFIG_MAPPING[config["model_type"]](**fields)


def parameters(config: Config) -> dict[str, tuple[int, ...]]:
    """Return every parameter of the model that a config.json describes, tied ones once."""
    return {name: tuple(weight.shape) for name, weight in model(config).named_parameters()}


def linears(config: Config) -> set[str]:
    """Return the weight of every linear of the model that a config.json describes."""
    modules = model(config).named_modules()
    import torch
    from transformers.pytorch_utils import Conv1D

    kinds = (torch.nn.Linear, Conv1D)  # those that PEFT adapts by "all-linear"
    return {f"{name}.weight" for name, module in modules if isinstance(module, kinds)}


def model(config: Config) -> Any:
    """Return the model that a config.json describes, on the meta device."""
    module = transformers()
    import torch

    several = any(name.endswith("_config") for name in config)
    classes = (
        module.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        if several
        else module.MODEL_FOR_CAUSAL_LM_MAPPING
    )
    configuration = built(config)
    with torch.device("meta"):
        made = classes[type(configuration)](configuration)
    made.tie_weights()
    return made


def windows(config: Config) -> list[int | None]:
    """Return how many tokens back each layer's attention reaches, None for all of them."""
    configuration = built(config)
    count = configuration.num_hidden_layers
    window = getattr(configuration, "sliding_window", None) or None
    chunk = getattr(configuration, "attention_chunk_size", None)
    kinds = getattr(configuration, "layer_types", None)
    if kinds is None:
        return [window] * count
    reach = {"sliding_attention": window, "chunked_attention": chunk}
    return [reach.get(kind) for kind in kinds]


def class_defaults(model_type: str) -> Config:
    """Return what transformers' configuration class takes for each field that is left out."""
    fields = dataclasses.fields(transformers().CONFIG_MAPPING[model_type])
    return {field.name: field.default for field in fields}
