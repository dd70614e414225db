"""Nemotron-H: layers that are Mamba-2, attention, an MLP or experts, and no more."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Block, Decoder
from ..step.family import Family, no_rotary_features
from ..step.layer import Layer
from ..step.norms import normed
from ..step.tape import FLOAT32, Tensor
from .parts.attention import attend, attention_weights
from .parts.experts import deepseek_router, experts
from .parts.layers import FULL, LINEAR, DecoderLayer, decoder, in_order, layer_types
from .parts.mamba import Mixer, mamba2, mamba2_weights
from .parts.mlp import relu2, relu2_mlp
from .parts.weights import Config, Weights, linear, norm


def nemotron_h(config: Config) -> Decoder:
    """Nemotron-H: layers that are Mamba-2, attention, an MLP or experts, and no more."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    before, mixer = norm("norm", hidden), "mixer"
    mamba = mamba2_weights(
        mixer,
        hidden,
        config["mamba_num_heads"] * config["mamba_head_dim"],
        config["mamba_num_heads"],
        config["n_groups"],
        config["ssm_state_size"],
        config["conv_kernel"],
        conv_bias=config["use_conv_bias"],
        proj_bias=config["use_bias"],
        out_bias=config["use_bias"],
    )
    mlp = {
        **linear("mixer.up_proj", hidden, inner, config["mlp_bias"]),
        **linear("mixer.down_proj", inner, hidden, config["mlp_bias"]),
    }
    of_kind = {
        LINEAR: DecoderLayer(mamba2_layer, before | mamba),
        FULL: DecoderLayer(attention_layer, before | attention_weights(config, name=mixer)),
        "moe": DecoderLayer(moe_layer, before | moe_weights(config)),
        "mlp": DecoderLayer(mlp_layer, before | mlp),
    }
    # transformers never ties this family's lm_head, whatever config.json says.
    config = {**config, "tie_word_embeddings": False}
    return decoder(
        config,
        in_order(config, of_kind, nemotron_kinds(config)),
        tokens="embeddings",
        last="norm_f",
    )


def nemotron_kinds(config: Config) -> list[str]:
    """Return Nemotron-H's kinds of layer, which older files write as one letter a layer."""
    pattern = config.get("hybrid_override_pattern")
    if config.get("layer_types") is not None or not isinstance(pattern, str):
        return layer_types(config)
    letters = {"M": LINEAR, "E": "moe", "*": FULL, "-": "mlp"}
    return layer_types(
        {**config, "layer_types": [letters.get(letter, letter) for letter in pattern]}
    )


def moe_weights(config: Config) -> Weights:
    """Return Nemotron-H's ungated experts, perhaps in a narrower space, and the shared one."""
    hidden, count = config["hidden_size"], config["num_experts"]
    inner, shared = config["moe_intermediate_size"], config["moe_shared_expert_intermediate_size"]
    width = config.get("moe_latent_size") or hidden
    weights: Weights = {
        "mixer.gate.weight": (count, hidden),
        "mixer.experts.up_proj": (count, inner, width),
        "mixer.experts.down_proj": (count, width, inner),
        **linear("mixer.shared_experts.up_proj", hidden, shared, config["mlp_bias"]),
        **linear("mixer.shared_experts.down_proj", shared, hidden, config["mlp_bias"]),
    }
    if config.get("moe_latent_size"):
        weights |= linear("mixer.fc1_latent_proj", hidden, width, config["mlp_bias"])
        weights |= linear("mixer.fc2_latent_proj", width, hidden, config["mlp_bias"])
    return weights


def mamba2_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Mamba-2."""
    return nemotron_layer(context, layer, x, mamba)


def attention_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention without positions."""
    return nemotron_layer(context, layer, x, attention)


def mlp_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """An MLP."""
    return nemotron_layer(context, layer, x, mlp)


def moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Routed experts, perhaps in a narrower space, and a shared one."""
    return nemotron_layer(context, layer, x, moe)


def nemotron_layer(context: Context, layer: Layer, x: Tensor, mixer: Block) -> Tensor:
    """Norm, mixer, and the hidden state added to it."""
    residual = x
    x = nemotron_norm(layer, "norm", x)
    x = mixer(context, layer, x)
    return ops.add(residual, x)


def nemotron_norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    """Nemotron-H's RMSNorm: scaled by its weight in float32."""
    outer, weight = layer.begin(name), layer.weights[f"{name}.weight"]
    x = ops.to(x, weight.dtype)
    scaled = ops.mul(normed(x), ops.to(weight, FLOAT32), "scaled")
    out = ops.to(scaled, x.dtype, "output")
    layer.end(outer)
    return out


def mamba(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Nemotron-H's Mamba-2."""
    config = context.config
    mixer = Mixer(
        "mixer",
        config["mamba_num_heads"],
        config["mamba_head_dim"],
        config["n_groups"],
        config["ssm_state_size"],
        config["chunk_size"],
    )
    return mamba2(context, layer, mixer, x)


def attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention that rotates nothing."""
    q = layer.linear("mixer.q_proj", x)
    k = layer.linear("mixer.k_proj", x)
    v = layer.linear("mixer.v_proj", x)
    layer.begin("mixer")
    return layer.linear("mixer.o_proj", attend(context, q, k, v))


def mlp(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """An MLP whose activation is squared."""
    return relu2_mlp(layer, x, "mixer")


def moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Experts without gates, in the space of a first projection if there is one."""
    routing = deepseek_router(context, layer, "mixer.gate", x)
    narrow = layer.linear("mixer.fc1_latent_proj", x) if layer.has("mixer.fc1_latent_proj") else x
    out = experts(context, layer, "mixer.experts", narrow, routing, relu2, first="up_proj")
    if layer.has("mixer.fc2_latent_proj"):
        out = layer.linear("mixer.fc2_latent_proj", out)
    return ops.add(out, relu2_mlp(layer, x, "mixer.shared_experts"))


FAMILIES = {
    "nemotron_h": Family(
        nemotron_h,
        {
            "vocab_size": 131072,
            "hidden_size": 4096,
            "tie_word_embeddings": False,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 4096,
            "attention_bias": False,
            "intermediate_size": 21504,
            "mlp_hidden_act": "relu2",
            "mlp_bias": False,
            "ssm_state_size": 128,
            "mamba_num_heads": 128,
            "mamba_head_dim": 64,
            "n_groups": 8,
            "conv_kernel": 4,
            "use_conv_bias": True,
            "chunk_size": 128,
            "mamba_proj_bias": False,
            "n_routed_experts": 8,
            "n_shared_experts": 1,
            "moe_intermediate_size": 7688,
            "moe_shared_expert_intermediate_size": 7688,
            "num_experts_per_tok": 2,
            "use_bias": False,
        },
        norm=nemotron_norm,
        rotary_features=no_rotary_features,
    ),
}
