"""GPT-2's block, and GPT-BigCode's, whose queries all have one key."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import layer_norm
from ...step.tape import Tensor
from ..parts.attention import attend
from ..parts.mlp import plain_mlp


def gpt2(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """GPT-2 and GPT-BigCode (StarCoder): learned positions, dropout behind both branches."""
    drops = context.config["resid_pdrop"] > 0
    residual = x
    x = layer_norm(layer, "ln_1", x)
    attended = attention(context, layer, x)
    if drops:
        attended = ops.dropout(attended)
    x = ops.add(attended, residual)
    residual = x
    x = layer_norm(layer, "ln_2", x)
    fed = plain_mlp(layer, x, "mlp.c_fc", "mlp.c_proj", context.config["hidden_act"])
    if drops:
        fed = ops.dropout(fed)
    return ops.add(residual, fed)


def attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention on views of one projection."""
    qkv = layer.linear("attn.c_attn", x)
    layer.begin("attn")
    queries = context.heads * context.head_dim
    keys = (qkv.width - queries) // 2
    q, k, v = ops.split_widths(qkv, queries, keys, keys)
    out = attend(context, q, k, v)
    return layer.linear("attn.c_proj", out)
