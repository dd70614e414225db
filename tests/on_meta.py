"""What transformers itself builds from a config: the names and shapes of its parameters.

Models are built on torch's meta device, which holds no numbers, so that the largest costs nothing.
"""

from __future__ import annotations

import os
from typing import Any

import pytest


def parameters(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return every parameter of the model that this config.json describes, tied ones once."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("torch", reason="torch is not installed: pip install '.[trace]'")
        pytest.importorskip("transformers", reason="transformers is not installed")
    import torch
    from transformers import (
        CONFIG_MAPPING,
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    )

    built = CONFIG_MAPPING[config["model_type"]](
        **{name: value for name, value in config.items() if name != "model_type"}
    )
    inside = any(name.endswith("_config") for name in config)
    classes = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING if inside else MODEL_FOR_CAUSAL_LM_MAPPING
    with torch.device("meta"):
        model = classes[type(built)](built)
    model.tie_weights()
    return {name: tuple(weight.shape) for name, weight in model.named_parameters()}
