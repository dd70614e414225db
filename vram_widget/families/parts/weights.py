"""The modules that decoders are made of, as weights: names and shapes as in transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...step.architecture import Shape

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


def grouped_attention(
    config: Config,
    bias: bool = False,
    out_bias: bool | None = None,
    name: str = "self_attn",
    out: str = "o_proj",
) -> Weights:
    """Return the projections of grouped-query attention; `out_bias` is `bias` unless said."""
    hidden, head = config["hidden_size"], config["head_dim"]
    queries = config["num_attention_heads"] * head
    keys = config["num_key_value_heads"] * head
    return {
        **linear(f"{name}.q_proj", hidden, queries, bias),
        **linear(f"{name}.k_proj", hidden, keys, bias),
        **linear(f"{name}.v_proj", hidden, keys, bias),
        **linear(f"{name}.{out}", queries, hidden, bias if out_bias is None else out_bias),
    }


def gated_mlp(name: str, hidden: int, inner: int, bias: bool = False) -> Weights:
    """Return the gate, up and down projections of a SwiGLU-like MLP."""
    return {
        **linear(f"{name}.gate_proj", hidden, inner, bias),
        **linear(f"{name}.up_proj", hidden, inner, bias),
        **linear(f"{name}.down_proj", inner, hidden, bias),
    }


def plain_mlp(names: tuple[str, str], hidden: int, inner: int, bias: bool = True) -> Weights:
    """Return the two projections of an MLP without a gate."""
    up, down = names
    return {**linear(up, hidden, inner, bias), **linear(down, inner, hidden, bias)}


def experts(name: str, count: int, hidden: int, inner: int) -> Weights:
    """Return the fused, 3-D weights of a layer's gated experts."""
    return {
        f"{name}.gate_up_proj": (count, 2 * inner, hidden),
        f"{name}.down_proj": (count, hidden, inner),
    }
