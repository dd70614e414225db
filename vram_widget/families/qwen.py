"""Qwen 2, 2.5 and 3, and the language models of Qwen VL."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import Tensor
from .llama import llama_layer
from .parts.attention import attention_weights, normed_attention
from .parts.layers import FULL, SLIDING, alike, decoder, layer_types, prenorm
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config, head_norms


def qwen2(config: Config) -> Decoder:
    """Qwen 2 and 2.5: Llama with biases on q, k and v."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = attention_weights(config, bias=True, out_bias=False)
    weights = prenorm(hidden, attention, gated_mlp_weights("mlp", hidden, inner))
    return decoder(config, alike(config, llama_layer, weights, qwen_layer_types(config)))


def qwen3(config: Config) -> Decoder:
    """Qwen 3: each head of q and k normed."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = {
        **attention_weights(config, config["attention_bias"]),
        **head_norms(config, "q_norm", "k_norm"),
    }
    weights = prenorm(hidden, attention, gated_mlp_weights("mlp", hidden, inner))
    return decoder(config, alike(config, qwen3_layer, weights, qwen_layer_types(config)))


def qwen_layer_types(config: Config) -> list[str]:
    """Return Qwen's kinds of layer: the first attend in full, the others may have a window."""
    if config.get("layer_types") is not None:
        return layer_types(config)
    count = config["num_hidden_layers"]
    full = min(config.get("max_window_layers", count), count)
    return [FULL] * full + [SLIDING] * (count - full)


def qwen3_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Qwen3: Llama with queries and keys normalised head by head."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = normed_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


#: What transformers' config class of qwen2 has where config.json leaves a field out.
QWEN2 = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}

#: What transformers' config class of qwen2_vl_text has where config.json leaves a field out.
QWEN2_VL_TEXT = {
    "vocab_size": 152064,
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 80,
}

FAMILIES = {
    "qwen2": Family(qwen2, QWEN2),
    "qwen2_vl_text": Family(qwen2, QWEN2_VL_TEXT, multimodal={"qwen2_vl": False}),
    "qwen2_5_vl_text": Family(qwen2, QWEN2_VL_TEXT, multimodal={"qwen2_5_vl": False}),
    "qwen3": Family(qwen3, {**QWEN2, "head_dim": 128, "attention_bias": False}),
    "qwen3_vl_text": Family(
        qwen3,
        {
            "vocab_size": 151936,
            "hidden_size": 4096,
            "intermediate_size": 22016,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "head_dim": 128,
            "hidden_act": "silu",
            "max_position_embeddings": 128000,
            "attention_bias": False,
        },
        multimodal={"qwen3_vl": False},
    ),
}
