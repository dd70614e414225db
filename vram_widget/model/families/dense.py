"""Dense decoders: attention and an MLP in every layer."""

from __future__ import annotations

from ..architecture import Architecture, LayerRun
from .weights import Config, decoder, gated_mlp, grouped_attention, norm


def llama(config: Config) -> Architecture:
    """Llama and its kin: Mistral, Qwen2, Granite 3, SmolLM2, TinyLlama."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    biased = config.get("attention_bias", False)
    qwen2 = config["model_type"] == "qwen2"
    block = "granite" if config["model_type"] == "granite" else "llama"
    weights = {
        **norm("input_layernorm", hidden),
        **grouped_attention(config, bias=biased or qwen2, out_bias=biased),
        **norm("post_attention_layernorm", hidden),
        **gated_mlp("mlp", hidden, inner, config.get("mlp_bias", False)),
    }
    return decoder(config, (LayerRun(block, config["num_hidden_layers"], weights),))
