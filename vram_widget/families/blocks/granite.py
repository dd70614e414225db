"""Granite 4's blocks: Mamba-2 or attention, then a shared MLP, perhaps with experts beside it."""

from __future__ import annotations

from ...step.context import Context
from ...step.layer import Layer
from ...step.tape import Tensor
from ..parts.attention import grouped_attention
from ..parts.mamba import mamba2, named_mixer
from .moe import granite_mlp, granite_moe_and_mlp, prenorm


def granite_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention and an MLP."""
    return prenorm(context, layer, x, grouped_attention, granite_mlp, scales=True)


def granite_attention_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention, experts and an MLP."""
    return prenorm(context, layer, x, grouped_attention, granite_moe_and_mlp, scales=True)


def granite_mamba2(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Mamba-2 and an MLP."""
    return prenorm(context, layer, x, granite_mixer, granite_mlp, scales=True)


def granite_mamba2_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Mamba-2, experts and an MLP."""
    return prenorm(context, layer, x, granite_mixer, granite_moe_and_mlp, scales=True)


def granite_mixer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite's Mamba-2."""
    config = context.config
    inner = config["mamba_expand"] * config["hidden_size"]
    return mamba2(context, layer, named_mixer(config, inner), x)
