"""Blocks like Llama's whose MLP has no gate."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import layer_norm, rms_norm
from ...step.tape import Tensor
from ..parts.attention import grouped_attention
from ..parts.mlp import plain_mlp
from .nemotron import mlp


def ungated(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """What stands in for an older family that is not known: OPT, BLOOM, GPT-J, MPT."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = plain_mlp(layer, x, "mlp.up_proj", "mlp.down_proj")
    return ops.add(residual, x)


def arcee(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """AFM of Arcee: the MLP's activation is squared."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = mlp(context, layer, x, "mlp")
    return ops.add(residual, x)


def starcoder2(context: Context, layer: Layer, x: Tensor) -> Tensor:
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
