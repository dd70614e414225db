"""MiniCPM 3: latent attention and a plain MLP, both branches scaled."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import Tensor
from .parts.latent import latent_attention, latent_attention_weights
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config


def minicpm3(config: Config) -> Decoder:
    """MiniCPM 3: latent attention and a plain MLP, residual branches scaled."""
    hidden = config["hidden_size"]
    value = config.get("v_head_dim") or hidden // config["num_attention_heads"]
    config = {**config, "v_head_dim": value}
    mlp = gated_mlp_weights("mlp", hidden, config["intermediate_size"])
    weights = prenorm(hidden, latent_attention_weights(config), mlp)
    return decoder(config, alike(config, minicpm3_layer, weights, layer_types(config)))


def minicpm3_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """MiniCPM 3: latent attention and a plain MLP, both branches scaled."""
    residual = x
    x = latent_attention(context, layer, rms_norm(layer, "input_layernorm", x))
    x = ops.add(residual, ops.scale(x))
    residual = x
    x = gated_mlp(layer, rms_norm(layer, "post_attention_layernorm", x))
    return ops.add(residual, ops.scale(x))


FAMILIES = {
    "minicpm3": Family(
        minicpm3,
        {
            "vocab_size": 73448,
            "hidden_size": 2560,
            "intermediate_size": 6400,
            "num_hidden_layers": 62,
            "num_attention_heads": 40,
            "num_key_value_heads": 40,
            "hidden_act": "silu",
            "max_position_embeddings": 32768,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "kv_lora_rank": 256,
            "q_lora_rank": 768,
            "qk_nope_head_dim": 64,
            "qk_rope_head_dim": 32,
        },
        scaled_word_embedding=True,
        scaled_hidden_state=True,
    ),
}
