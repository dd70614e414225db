"""Llama 2 and 3, and what has its layers: SmolLM 2 and 3, TinyLlama, Falcon 3."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import Tensor
from .parts.attention import attention_weights, grouped_attention
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config


def llama(config: Config) -> Decoder:
    """Llama 2 and 3, SmolLM 2 and 3, TinyLlama, Falcon 3."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = attention_weights(config, config["attention_bias"])
    weights = prenorm(
        hidden, attention, gated_mlp_weights("mlp", hidden, inner, config["mlp_bias"])
    )
    return decoder(config, alike(config, llama_layer, weights, layer_types(config)))


def llama_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Norm, attention, norm, MLP."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


#: What transformers' config class of llama has where config.json leaves a field out.
LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}

FAMILIES = {
    "llama": Family(llama, LLAMA, multimodal={"llava": False, "llava_next": False}),
    "smollm3": Family(
        llama,
        {
            **LLAMA,
            "vocab_size": 128256,
            "hidden_size": 2048,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "use_sliding_window": False,
            "no_rope_layer_interval": 4,
            "tie_word_embeddings": True,
        },
    ),
}
