"""What stands in for a family that is not known: the nearest decoder of its dimensions."""

from __future__ import annotations

from dataclasses import replace

from ..step import ops
from ..step.architecture import Architecture
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import Tensor
from .deepseek import deepseek_v3
from .llama import llama_layer
from .minicpm3 import minicpm3
from .mixtral import mixtral_layer
from .parts.attention import attention_weights, grouped_attention
from .parts.experts import routed_weights
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.mlp import gated_mlp_weights, plain_mlp, plain_mlp_weights
from .parts.weights import Config

#: Of the families that are not known, those whose MLP has no gate.
UNGATED = {
    *("apertus", "bloom", "codegen", "gpt_neo", "gptj", "mpt", "nemotron", "opt", "persimmon"),
    "xglm",
}
#: Of these, those that tie their lm_head to the token embedding by default.
TIED = ("bloom", "gpt_neo", "mpt", "opt", "xglm")


def nearest(config: Config) -> Decoder:
    """Return the nearest decoder that is known."""
    if "kv_lora_rank" in config:
        return latent(config)
    return sparse(config) if config.get("num_experts") else dense(config)


def latent(config: Config) -> Decoder:
    """Return what an unknown family with latent attention most likely is: DeepSeek or MiniCPM."""
    config = {"attention_bias": False, "first_k_dense_replace": 0, **config}
    return deepseek_v3(config) if config.get("num_experts") else minicpm3(config)


def sparse(config: Config) -> Decoder:
    """Return what an unknown mixture most likely is: Mixtral's layer, perhaps a shared expert."""
    hidden = config["hidden_size"]
    inner = config.get("moe_intermediate_size") or config["intermediate_size"]
    shared = config.get("shared_expert_intermediate_size")
    shared = shared or inner * config.get("n_shared_experts", 0)
    mlp = routed_weights(config, inner)
    if shared:
        mlp |= gated_mlp_weights("mlp.shared_expert", hidden, shared)
    weights = prenorm(hidden, attention_weights(config, config.get("attention_bias", False)), mlp)
    return decoder(config, alike(config, mixtral_layer, weights, layer_types(config)))


def dense(config: Config) -> Decoder:
    """Return what an unknown family most likely is: Llama's layer, with what config.json names."""
    hidden, ungated = config["hidden_size"], config["model_type"] in UNGATED
    if "n_embd" in config or ungated:
        # Files in GPT-2's words leave the MLP's width out where it is the usual one.
        config = {"intermediate_size": 4 * hidden, **config}
    inner = config["intermediate_size"]
    biased = config.get("attention_bias", False)
    attention = attention_weights(config, biased or config.get("qkv_bias", False), out_bias=biased)
    if ungated:
        mlp = plain_mlp_weights(("mlp.up_proj", "mlp.down_proj"), hidden, inner, bias=False)
    else:
        mlp = gated_mlp_weights("mlp", hidden, inner, config.get("mlp_bias", False))
    weights = prenorm(hidden, attention, mlp)
    block = ungated_layer if ungated else llama_layer
    return decoder(config, alike(config, block, weights, layer_types(config)))


def ungated_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """What stands in for an older family that is not known: OPT, BLOOM, GPT-J, MPT."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = plain_mlp(layer, x, "mlp.up_proj", "mlp.down_proj")
    return ops.add(residual, x)


#: The record of every family that is not known.
UNKNOWN = Family(nearest)


def stand_in(config: Config) -> Architecture:
    """Return the decoder that stands in for a family that is not known."""
    notice = (
        f"The family {config['model_type']!r} is not known: a decoder of the same dimensions "
        "stands in for it, and the estimate is rougher."
    )
    return replace(Architecture.of(UNKNOWN, config), known=False, notices=(notice,))
