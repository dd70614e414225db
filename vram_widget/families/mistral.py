"""Mistral: Llama whose attention may reach a window back."""

from __future__ import annotations

from ..step.decoder import Decoder
from ..step.family import Family
from .llama import llama_layer
from .parts.attention import attention_weights
from .parts.layers import SLIDING, alike, decoder, prenorm
from .parts.mlp import gated_mlp_weights
from .parts.weights import Config


def mistral(config: Config) -> Decoder:
    """Mistral: Llama whose attention may reach a window back."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    weights = prenorm(hidden, attention_weights(config), gated_mlp_weights("mlp", hidden, inner))
    kinds = [SLIDING] * config["num_hidden_layers"]
    return decoder(config, alike(config, llama_layer, weights, kinds))


FAMILIES = {
    "mistral": Family(
        mistral,
        {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "hidden_act": "silu",
            "max_position_embeddings": 131072,
            "tie_word_embeddings": False,
            "sliding_window": 4096,
        },
        multimodal={"mistral3": True},
    ),
    "ministral3": Family(
        mistral,
        {
            "vocab_size": 131072,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 34,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "hidden_act": "silu",
            "max_position_embeddings": 262144,
            "tie_word_embeddings": False,
        },
    ),
}
