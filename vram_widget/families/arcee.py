"""AFM of Arcee: Llama whose MLP has no gate, and an activation that is squared."""

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
from .parts.mlp import plain_mlp_weights, relu2_mlp
from .parts.weights import Config


def arcee(config: Config) -> Decoder:
    """AFM of Arcee: Llama whose MLP has no gate."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = attention_weights(config, config["attention_bias"])
    mlp = plain_mlp_weights(("mlp.up_proj", "mlp.down_proj"), hidden, inner, config["mlp_bias"])
    weights = prenorm(hidden, attention, mlp)
    return decoder(config, alike(config, arcee_layer, weights, layer_types(config)))


def arcee_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """AFM of Arcee: the MLP's activation is squared."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = relu2_mlp(layer, x, "mlp")
    return ops.add(residual, x)


FAMILIES = {
    "arcee": Family(
        arcee,
        {
            "hidden_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "vocab_size": 32000,
            "intermediate_size": 18432,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
            "attention_bias": False,
            "mlp_bias": False,
            "hidden_act": "relu2",
        },
    ),
}
