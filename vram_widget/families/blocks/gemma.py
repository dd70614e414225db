"""Gemma's blocks: norms computed in float32, four of them a block from Gemma 2 on."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import gemma_rms_norm, per_head
from ...step.tape import Tensor
from ..parts.attention import attend, grouped_attention, rotary
from ..parts.mlp import gated_mlp


def gemma(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Gemma: Llama with Gemma's norms."""
    residual = x
    x = gemma_rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = gemma_rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


def gemma2(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Gemma 2: a norm before and behind attention and MLP, attention scores soft-capped."""
    softcap = bool(context.config.get("attn_logit_softcapping"))
    return four_norms(context, layer, x, normed=False, softcap=softcap)


def gemma3(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Gemma 3: as Gemma 2 without the soft cap, queries and keys normalised head by head."""
    return four_norms(context, layer, x, normed=True, softcap=False)


def four_norms(context: Context, layer: Layer, x: Tensor, normed: bool, softcap: bool) -> Tensor:
    """A block with four norms."""
    residual = x
    x = gemma_rms_norm(layer, "input_layernorm", x)
    x = gemma_attention(context, layer, x, normed, softcap)
    x = gemma_rms_norm(layer, "post_attention_layernorm", x)
    x = ops.add(residual, x)
    residual = x
    x = gemma_rms_norm(layer, "pre_feedforward_layernorm", x)
    x = gated_mlp(layer, x)
    x = gemma_rms_norm(layer, "post_feedforward_layernorm", x)
    return ops.add(residual, x)


def gemma_attention(
    context: Context, layer: Layer, x: Tensor, normed: bool, softcap: bool
) -> Tensor:
    """Grouped attention, with norms on heads or a soft cap on scores."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    if normed:
        q = per_head(gemma_rms_norm, layer, "self_attn.q_norm", q, context.head_dim)
        k = per_head(gemma_rms_norm, layer, "self_attn.k_norm", k, context.head_dim)
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v, softcap)
    return layer.linear("self_attn.o_proj", out)
