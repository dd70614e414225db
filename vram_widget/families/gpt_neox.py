"""GPT-NeoX and Pythia: two LayerNorms of one input, attention and MLP side by side."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import layer_norm
from ..step.tape import Tensor
from .parts.attention import attend_on_concatenated, partial_rotary
from .parts.layers import alike, decoder, layer_types
from .parts.mlp import plain_mlp, plain_mlp_weights
from .parts.weights import Config, linear, norm


def gpt_neox(config: Config) -> Decoder:
    """GPT-NeoX and Pythia: two LayerNorms of one input, attention and MLP side by side."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    biased = config["attention_bias"]
    weights = {
        **norm("input_layernorm", hidden, bias=True),
        **norm("post_attention_layernorm", hidden, bias=True),
        **linear("attention.query_key_value", hidden, 3 * hidden, biased),
        **linear("attention.dense", hidden, hidden, biased),
        **plain_mlp_weights(("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), hidden, inner),
    }
    block = gpt_neox_layer if config["use_parallel_residual"] else gpt_neox_serial_layer
    layers = alike(config, block, weights, layer_types(config))
    return decoder(
        config,
        layers,
        stem="gpt_neox",
        tokens="embed_in",
        last="final_layer_norm",
        last_bias=True,
    )


def gpt_neox_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """GPT-NeoX and Pythia: attention and MLP side by side, each on a norm of its own."""
    attended = neox_attention(context, layer, layer_norm(layer, "input_layernorm", x))
    normed = layer_norm(layer, "post_attention_layernorm", x)
    fed = plain_mlp(layer, normed, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    del normed
    return ops.add(ops.add(fed, attended), x)


def gpt_neox_serial_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """GPT-NeoX with the MLP behind attention."""
    attended = neox_attention(context, layer, layer_norm(layer, "input_layernorm", x))
    attended = ops.add(attended, x)
    normed = layer_norm(layer, "post_attention_layernorm", attended)
    fed = plain_mlp(layer, normed, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    del normed
    return ops.add(fed, attended)


def neox_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention on three views of one projection, partly rotated heads."""
    qkv = layer.linear("attention.query_key_value", x)
    layer.begin("attention")
    q, k, v = ops.split(qkv, 3)
    q, k = partial_rotary(layer, context, q, k)
    out = attend_on_concatenated(context, q, k, v)
    return layer.linear("attention.dense", out)


FAMILIES = {
    "gpt_neox": Family(
        gpt_neox,
        {
            "vocab_size": 50432,
            "hidden_size": 6144,
            "num_hidden_layers": 44,
            "num_attention_heads": 64,
            "intermediate_size": 24576,
            "hidden_act": "gelu",
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            "use_parallel_residual": True,
            "attention_bias": True,
        },
        norm=layer_norm,
    ),
}
