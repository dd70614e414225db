"""The pieces that decoders are made of, as weights: names and shapes of transformers' modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from ..architecture import Architecture, LayerRun, Shape

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


def grouped_attention(config: Config, bias: bool = False, out_bias: bool | None = None) -> Weights:
    """Return the projections of grouped-query attention."""
    hidden, head = config["hidden_size"], config["head_dim"]
    queries = config["num_attention_heads"] * head
    keys = config["num_key_value_heads"] * head
    return {
        **linear("self_attn.q_proj", hidden, queries, bias),
        **linear("self_attn.k_proj", hidden, keys, bias),
        **linear("self_attn.v_proj", hidden, keys, bias),
        **linear("self_attn.o_proj", queries, hidden, bias if out_bias is None else out_bias),
    }


def gated_mlp(name: str, hidden: int, inner: int, bias: bool = False) -> Weights:
    """Return the gate, up and down projections of a SwiGLU-like MLP."""
    return {
        **linear(f"{name}.gate_proj", hidden, inner, bias),
        **linear(f"{name}.up_proj", hidden, inner, bias),
        **linear(f"{name}.down_proj", inner, hidden, bias),
    }


def runs(layers: Iterable[tuple[str, Weights]]) -> tuple[LayerRun, ...]:
    """Return the layers, each given as its block and weights, with equal neighbours merged."""
    return tuple(
        LayerRun(block, len(list(alike)), weights) for (block, weights), alike in groupby(layers)
    )


def decoder(config: Config, layers: tuple[LayerRun, ...]) -> Architecture:
    """Return a decoder with a token embedding, a last RMSNorm and an lm_head, named as Llama's."""
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    outside = {**embedding("model.embed_tokens", vocab, hidden), **norm("model.norm", hidden)}
    if not config["tie_word_embeddings"]:
        outside |= linear("lm_head", hidden, vocab)
    return Architecture(config["model_type"], config, layers, outside)


def embedding(name: str, rows: int, width: int) -> Weights:
    """Return the weight of a ``torch.nn.Embedding``."""
    return {f"{name}.weight": (rows, width)}
