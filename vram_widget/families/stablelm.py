"""StableLM 2 and StableLM-3B: LayerNorms, partly rotated heads, a gated MLP."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import layer_norm
from ..step.tape import Tensor
from .parts.attention import attention_weights, split_attention
from .parts.layers import alike, decoder, layer_types
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config, norm


def stablelm(config: Config) -> Decoder:
    """StableLM 2 and StableLM-3B: Llama with LayerNorms, perhaps attention and MLP side by side."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    weights = {
        **norm("input_layernorm", hidden, bias=True),
        **attention_weights(config, config["use_qkv_bias"], out_bias=False),
        **gated_mlp_weights("mlp", hidden, inner),
    }
    if config["qk_layernorm"]:
        for name, heads in (("q", "num_attention_heads"), ("k", "num_key_value_heads")):
            for i in range(config[heads]):
                weights |= norm(f"self_attn.{name}_layernorm.norms.{i}", config["head_dim"])
    if config["use_parallel_residual"]:
        block = stablelm_parallel_layer
    else:
        block = stablelm_layer
        weights |= norm("post_attention_layernorm", hidden, bias=True)
    return decoder(config, alike(config, block, weights, layer_types(config)), last_bias=True)


def stablelm_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """StableLM 2: LayerNorms, partly rotated heads, a gated MLP."""
    residual = x
    x = layer_norm(layer, "input_layernorm", x)
    attended = split_attention(context, layer, x, "self_attn.o_proj")
    residual = ops.add(residual, attended)
    normed = layer_norm(layer, "post_attention_layernorm", residual)
    fed = gated_mlp(layer, normed)
    del normed
    return ops.add(residual, fed)


def stablelm_parallel_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """StableLM with attention and MLP side by side."""
    residual = x
    x = layer_norm(layer, "input_layernorm", x)
    attended = split_attention(context, layer, x, "self_attn.o_proj")
    fed = gated_mlp(layer, x)
    return ops.add(ops.add(residual, attended), fed)


FAMILIES = {
    "stablelm": Family(
        stablelm,
        {
            "vocab_size": 50304,
            "intermediate_size": 6912,
            "hidden_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "hidden_act": "silu",
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
            "use_qkv_bias": False,
            "qk_layernorm": False,
            "use_parallel_residual": False,
        },
        norm=layer_norm,
    ),
}
