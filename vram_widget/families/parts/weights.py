"""The modules that decoders are made of, as weights: names and shapes as in transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...step.methods.parameter import Shape

Config = Mapping[str, Any]


Weights = dict[str, Shape]


def linear(name: str, inputs: int, outputs: int, bias: bool = False) -> Weights:
    """Return the weights of a ``torch.nn.Linear``."""
    weights: Weights = {f"{name}.weight": (outputs, inputs)}
    if bias:
        weights[f"{name}.bias"] = (outputs,)
    return weights


def norm(name: str, width: int, bias: bool = False) -> Weights:
    """Return the weights of an RMSNorm or, with a bias, of a LayerNorm."""
    weights: Weights = {f"{name}.weight": (width,)}
    if bias:
        weights[f"{name}.bias"] = (width,)
    return weights


def embedding(name: str, rows: int, width: int) -> Weights:
    """Return the weight of a ``torch.nn.Embedding``."""
    return {f"{name}.weight": (rows, width)}


def convolution(name: str, channels: int, kernel: int, bias: bool) -> Weights:
    """Return the weights of a depthwise ``torch.nn.Conv1d``."""
    weights: Weights = {f"{name}.weight": (channels, 1, kernel)}
    if bias:
        weights[f"{name}.bias"] = (channels,)
    return weights


def head_norms(config: Config, queries: str, keys: str, bias: bool = False) -> Weights:
    """Return the norms over each head of q and k."""
    head = config["head_dim"]
    return {
        **norm(f"self_attn.{queries}", head, bias),
        **norm(f"self_attn.{keys}", head, bias),
    }
