"""Gemma 1 to 4: norms in float32, a scaled embedding, GeGLU."""

from __future__ import annotations

from ..errors import ModelError
from ..step.architecture import Architecture
from .dense import head_norms
from .parts.layers import FULL, Layer, alike, decoder, layer_types, prenorm, runs, window
from .parts.weights import (
    Config,
    Weights,
    embedding,
    experts,
    gated_mlp,
    grouped_attention,
    linear,
    norm,
)


def gemma(config: Config) -> Architecture:
    """Gemma 1: Llama's layer, with norms in float32."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = grouped_attention(config, config["attention_bias"])
    weights = prenorm(hidden, attention, gated_mlp("mlp", hidden, inner))
    return decoder(config, alike(config, "gemma", weights, layer_types(config)))


def gemma2(config: Config) -> Architecture:
    """Gemma 2: four norms a layer, soft-capping, a window in every other layer."""
    weights = {**four_norms(config), **gated(config)}
    weights |= grouped_attention(config, config["attention_bias"])
    return decoder(config, alike(config, "gemma2", weights, layer_types(config, every=2)))


def gemma3(config: Config) -> Architecture:
    """Gemma 3: Gemma 2 with q and k normed in place of soft-capping; every sixth layer in full."""
    weights = {**four_norms(config), **gated(config), **head_norms(config, "q_norm", "k_norm")}
    weights |= grouped_attention(config, config["attention_bias"])
    kinds = layer_types(config, every=config.get("sliding_window_pattern", 6))
    return decoder(config, alike(config, "gemma3", weights, kinds))


def four_norms(config: Config) -> Weights:
    """Return the norms before and after attention and before and after the MLP."""
    return {
        name: shape
        for place in (
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        )
        for name, shape in norm(place, config["hidden_size"]).items()
    }


def gated(config: Config, times: int = 1) -> Weights:
    """Return the MLP, so many times as wide."""
    return gated_mlp("mlp", config["hidden_size"], times * config["intermediate_size"])


def gemma4(config: Config) -> Architecture:
    """Gemma 4: full attention with wider heads, keys shared between layers, inputs by layer."""
    kinds = layer_types(config, every=6)
    kinds[-1] = FULL  # transformers makes the last layer so, whatever config.json says
    count, shared = config["num_hidden_layers"], config["num_kv_shared_layers"]
    if shared >= count:
        raise ModelError(
            f"config.json says num_kv_shared_layers = {shared}, which leaves none of "
            f"{count} layers with keys of its own; correct it."
        )
    layers = runs(gemma4_layer(config, kind, i >= count - shared) for i, kind in enumerate(kinds))
    more: Weights = {}
    if by_layer := count * config["hidden_size_per_layer_input"]:
        rows, hidden = config["vocab_size_per_layer_input"], config["hidden_size"]
        more |= embedding("model.embed_tokens_per_layer", rows, by_layer)
        more |= linear("model.per_layer_model_projection", hidden, by_layer)
        more |= norm("model.per_layer_projection_norm", config["hidden_size_per_layer_input"])
    return decoder(config, layers, more=more)


def gemma4_layer(config: Config, kind: str, shares_keys: bool) -> Layer:
    """Return one layer of Gemma 4."""
    hidden, by_layer = config["hidden_size"], config["hidden_size_per_layer_input"]
    doubled = config["use_double_wide_mlp"] and shares_keys
    weights = {
        **four_norms(config),
        **gated(config, 2 if doubled else 1),
        **gemma4_attention(config, kind, shares_keys),
    }
    if by_layer:
        weights |= linear("per_layer_input_gate", hidden, by_layer)
        weights |= linear("per_layer_projection", by_layer, hidden)
        weights |= norm("post_per_layer_input_norm", hidden)
    if config["enable_moe_block"]:
        count = config["num_experts"]
        weights |= {"router.scale": (hidden,), "router.per_expert_scale": (count,)}
        weights |= linear("router.proj", hidden, count)
        weights |= experts("experts", count, hidden, config["moe_intermediate_size"])
        weights |= norm("post_feedforward_layernorm_1", hidden)
        weights |= norm("post_feedforward_layernorm_2", hidden)
        weights |= norm("pre_feedforward_layernorm_2", hidden)
    return Layer("gemma4", weights, window(config, kind))


def gemma4_attention(config: Config, kind: str, shares_keys: bool) -> Weights:
    """Return Gemma 4's attention; full ones may use their keys as values."""
    full, biased = kind == FULL, config["attention_bias"]
    own = dict(config)
    if full:
        own["head_dim"] = config.get("global_head_dim", 512)
        if config["attention_k_eq_v"]:
            groups = config.get("num_global_key_value_heads")
            own["num_key_value_heads"] = groups or config["num_key_value_heads"]
    weights = {**grouped_attention(own, biased), **head_norms(own, "q_norm", "k_norm")}
    without = []
    if shares_keys:
        without = ["self_attn.k_", "self_attn.v_"]
    elif full and config["attention_k_eq_v"]:
        without = ["self_attn.v_"]
    return {name: shape for name, shape in weights.items() if not name.startswith(tuple(without))}
