"""Cohere's decoders: Command R, Command R7B, Command A, Aya."""

from __future__ import annotations

from ..step.architecture import Architecture
from .parts.layers import FULL, Layer, alike, decoder, layer_types, runs, window
from .parts.weights import Config, Weights, gated_mlp, grouped_attention, norm


def cohere(config: Config) -> Architecture:
    """Command R: one LayerNorm without a bias, attention and MLP side by side."""
    weights = parallel(config)
    if config["use_qk_norm"]:
        head = config["head_dim"]
        weights["self_attn.q_norm.weight"] = (config["num_attention_heads"], head)
        weights["self_attn.k_norm.weight"] = (config["num_key_value_heads"], head)
    return decoder(config, alike(config, "cohere", weights, layer_types(config)))


def cohere2(config: Config) -> Architecture:
    """Command R7B and A: as Command R, but layers that attend in full know no positions."""
    weights = parallel(config)
    kinds = layer_types(config, config.get("sliding_window_pattern", 4))
    layers = runs(
        Layer("cohere_nope" if kind == FULL else "cohere", weights, window(config, kind))
        for kind in kinds
    )
    return decoder(config, layers)


def parallel(config: Config) -> Weights:
    """Return a layer of one norm, attention and an MLP."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return {
        **norm("input_layernorm", hidden),
        **grouped_attention(config, config["attention_bias"]),
        **gated_mlp("mlp", hidden, inner),
    }
