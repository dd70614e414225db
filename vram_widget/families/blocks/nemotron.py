"""Nemotron-H's blocks: each is Mamba-2, attention, an MLP or experts, and no more."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import normed
from ...step.tape import FLOAT32, Tensor
from ..parts.attention import attend
from ..parts.experts import experts
from ..parts.mamba import Mixer, mamba2
from .latent import deepseek_router
from .moe import Part


def nemotron_h_mamba2(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Mamba-2."""
    return block(context, layer, x, mamba)


def nemotron_h_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention without positions."""
    return block(context, layer, x, attention)


def nemotron_h_mlp(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """An MLP."""
    return block(context, layer, x, mlp)


def nemotron_h_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Routed experts, perhaps in a narrower space, and a shared one."""
    return block(context, layer, x, moe)


def block(context: Context, layer: Layer, x: Tensor, mixer: Part) -> Tensor:
    """Norm, mixer, and the hidden state added to it."""
    residual = x
    x = norm(layer, "norm", x)
    x = mixer(context, layer, x)
    return ops.add(residual, x)


def norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    """Nemotron-H's RMSNorm: scaled by its weight in float32."""
    outer, weight = layer.begin(name), layer.weights[f"{name}.weight"]
    x = ops.to(x, weight.dtype)
    scaled = ops.mul(normed(x), ops.to(weight, FLOAT32), "scaled")
    out = ops.to(scaled, x.dtype, "output")
    layer.end(outer)
    return out


def relu2(x: Tensor) -> Tensor:
    """Square what is above zero; the square keeps that, and so does the ReLU."""
    return ops.square(ops.relu(x))


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


def mlp(context: Context, layer: Layer, x: Tensor, name: str = "mixer") -> Tensor:
    """An MLP whose activation is squared."""
    x = layer.linear(f"{name}.up_proj", x)
    layer.begin(name)
    x = relu2(x)
    return layer.linear(f"{name}.down_proj", x)


def moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Experts without gates, in the space of a first projection if there is one."""
    routing = deepseek_router(context, layer, x, "mixer.gate")
    narrow = layer.linear("mixer.fc1_latent_proj", x) if layer.has("mixer.fc1_latent_proj") else x
    out = experts(context, layer, "mixer.experts", narrow, routing, relu2, first="up_proj")
    if layer.has("mixer.fc2_latent_proj"):
        out = layer.linear("mixer.fc2_latent_proj", out)
    return ops.add(out, mlp(context, layer, x, "mixer.shared_experts"))
