"""Gemma 1 to 3: norms in float32, a scaled embedding, GeGLU; four norms a layer from Gemma 2 on."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import gemma_rms_norm, per_head
from ..step.tape import Tensor
from .parts.attention import attend, attention_weights, grouped_attention, rotary
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config, Weights, head_norms, norm


def gemma(config: Config) -> Decoder:
    """Gemma 1: Llama's layer, with norms in float32."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = attention_weights(config, config["attention_bias"])
    weights = prenorm(hidden, attention, gated_mlp_weights("mlp", hidden, inner))
    return decoder(config, alike(config, gemma_layer, weights, layer_types(config)))


def gemma2(config: Config) -> Decoder:
    """Gemma 2: four norms a layer, soft-capping, a window in every other layer."""
    weights = {**four_norms_weights(config), **wide_mlp_weights(config)}
    weights |= attention_weights(config, config["attention_bias"])
    return decoder(config, alike(config, gemma2_layer, weights, layer_types(config, every=2)))


def gemma3(config: Config) -> Decoder:
    """Gemma 3: Gemma 2 with q and k normed in place of soft-capping; every sixth layer in full."""
    weights = {
        **four_norms_weights(config),
        **wide_mlp_weights(config),
        **head_norms(config, "q_norm", "k_norm"),
    }
    weights |= attention_weights(config, config["attention_bias"])
    kinds = layer_types(config, every=config.get("sliding_window_pattern", 6))
    return decoder(config, alike(config, gemma3_layer, weights, kinds))


def four_norms_weights(config: Config) -> Weights:
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


def wide_mlp_weights(config: Config, times: int = 1) -> Weights:
    """Return the MLP, so many times as wide."""
    return gated_mlp_weights("mlp", config["hidden_size"], times * config["intermediate_size"])


def gemma_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Gemma: Llama with Gemma's norms."""
    residual = x
    x = gemma_rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = gemma_rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


def gemma2_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Gemma 2: a norm before and behind attention and MLP, attention scores soft-capped."""
    softcap = bool(context.config.get("attn_logit_softcapping"))
    return four_norms(context, layer, x, normed=False, softcap=softcap)


def gemma3_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Gemma 3: as Gemma 2 without the soft cap, queries and keys normalised head by head."""
    return four_norms(context, layer, x, normed=True, softcap=False)


def four_norms(context: Context, layer: Layer, x: Tensor, normed: bool, softcap: bool) -> Tensor:
    """A block with four norms."""
    residual = x
    x = gemma_rms_norm(layer, "input_layernorm", x)
    x = gemma_attention(context, layer, x, normed, softcap)
    x = gemma_rms_norm(layer, "post_attention_layernorm", x)
    x = ops.add(residual, x)
    residual = x
    x = gemma_rms_norm(layer, "pre_feedforward_layernorm", x)
    x = gated_mlp(layer, x)
    x = gemma_rms_norm(layer, "post_feedforward_layernorm", x)
    return ops.add(residual, x)


def gemma_attention(
    context: Context, layer: Layer, x: Tensor, normed: bool, softcap: bool
) -> Tensor:
    """Grouped attention, with norms on heads or a soft cap on scores."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    if normed:
        q = per_head(gemma_rms_norm, layer, "self_attn.q_norm", q, context.head_dim)
        k = per_head(gemma_rms_norm, layer, "self_attn.k_norm", k, context.head_dim)
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v, softcap)
    return layer.linear("self_attn.o_proj", out)


FAMILIES = {
    "gemma": Family(
        gemma,
        {
            "vocab_size": 256000,
            "hidden_size": 3072,
            "intermediate_size": 24576,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "head_dim": 256,
            "hidden_act": "gelu_pytorch_tanh",
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
            "attention_bias": False,
        },
        norm=gemma_rms_norm,
        scaled_word_embedding=True,
    ),
    "gemma2": Family(
        gemma2,
        {
            "vocab_size": 256000,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "sliding_window": 4096,
            "final_logit_softcapping": 30.0,
            "attn_logit_softcapping": 50.0,
        },
        norm=gemma_rms_norm,
        scaled_word_embedding=True,
        supports_sdpa=False,
    ),
    "gemma3_text": Family(
        gemma3,
        {
            "vocab_size": 262208,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 131072,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "sliding_window": 4096,
            "sliding_window_pattern": 6,
        },
        multimodal={"gemma3": True},
        norm=gemma_rms_norm,
        scaled_word_embedding=True,
        position_tables=2,
    ),
}
