"""Mixtral: Mistral with experts in every layer."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.ops import experts as mixture
from ..step.tape import FLOAT32, Tensor
from .parts.attention import attention_weights, grouped_attention
from .parts.experts import Routing, chosen_experts, experts, routed_weights
from .parts.layers import SLIDING, alike, decoder, prenorm
from .parts.mlp import gated_mlp
from .parts.weights import Config


def mixtral(config: Config) -> Decoder:
    """Mixtral: Mistral with experts in every layer."""
    mlp = routed_weights(config, config["intermediate_size"])
    weights = prenorm(config["hidden_size"], attention_weights(config), mlp)
    kinds = [SLIDING] * config["num_hidden_layers"]
    return decoder(config, alike(config, mixtral_layer, weights, kinds))


def mixtral_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Norm, attention, norm, experts."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = mixtral_moe(context, layer, x)
    return ops.add(residual, x)


def mixtral_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Mixtral's experts."""
    routing = mixtral_router(context, layer, "mlp.gate", x)
    out = experts(context, layer, "mlp.experts", x, routing)
    if layer.has("mlp.shared_expert.gate_proj"):  # a family that is not known may have one
        out = ops.add(out, gated_mlp(layer, x, "mlp.shared_expert"))
    return out


def mixtral_router(context: Context, layer: Layer, name: str, x: Tensor) -> Routing:
    """Softmax over all experts; the scores of the chosen add up to one, in float32."""
    logits = layer.linear(name, x)
    layer.begin(name)
    scores, chosen = mixture.top_k(ops.softmax(logits, FLOAT32), chosen_experts(context))
    return Routing(logits, mixture.normalize(scores), chosen)


FAMILIES = {
    "mixtral": Family(
        mixtral,
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
            "num_experts_per_tok": 2,
            "num_local_experts": 8,
        },
    ),
}
