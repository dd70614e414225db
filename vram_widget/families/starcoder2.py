"""StarCoder 2: LayerNorms, an MLP without a gate, biases and dropout."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import layer_norm
from ..step.tape import Tensor
from .parts.attention import attention_weights, grouped_attention
from .parts.layers import SLIDING, alike, decoder
from .parts.mlp import plain_mlp, plain_mlp_weights
from .parts.weights import Config, norm


def starcoder2(config: Config) -> Decoder:
    """StarCoder 2: LayerNorms, an MLP without a gate, biases everywhere."""
    hidden, inner, biased = (
        config["hidden_size"],
        config["intermediate_size"],
        config["use_bias"],
    )
    weights = {
        **norm("input_layernorm", hidden, bias=True),
        **attention_weights(config, biased),
        **norm("post_attention_layernorm", hidden, bias=True),
        **plain_mlp_weights(("mlp.c_fc", "mlp.c_proj"), hidden, inner, biased),
    }
    kinds = [SLIDING] * config["num_hidden_layers"]
    return decoder(config, alike(config, starcoder2_layer, weights, kinds), last_bias=True)


def starcoder2_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """StarCoder 2: LayerNorms, and dropout behind both branches."""
    drops = bool(context.config.get("residual_dropout"))
    residual = x
    x = layer_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, ops.dropout(x) if drops else x)
    residual = x
    x = layer_norm(layer, "post_attention_layernorm", x)
    x = plain_mlp(layer, x, "mlp.c_fc", "mlp.c_proj", context.config["hidden_act"])
    return ops.add(residual, ops.dropout(x) if drops else x)


FAMILIES = {
    "starcoder2": Family(
        starcoder2,
        {
            "hidden_size": 3072,
            "num_hidden_layers": 30,
            "num_attention_heads": 24,
            "vocab_size": 49152,
            "intermediate_size": 12288,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "use_bias": True,
            "hidden_act": "gelu_pytorch_tanh",
            "residual_dropout": 0.0,
            "embedding_dropout": 0.0,
        },
        norm=layer_norm,
    ),
}
