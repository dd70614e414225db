"""Multi-head latent attention: DeepSeek V2, V3 and V3.2, and MiniCPM 3."""

from __future__ import annotations

from collections.abc import Callable

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import rms_norm
from ...step.tape import Tensor
from . import indexer
from .attention import attend, rotary
from .weights import Config, Weights, linear, norm

#: Rotates the queries or keys of a layer.
Rotate = Callable[[Layer, Context, Tensor], Tensor]


def latent_attention_weights(config: Config) -> Weights:
    """Return the low-rank projections of q and of k and v together."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    biased = config["attention_bias"]
    turned, plain = config["qk_rope_head_dim"], config["qk_nope_head_dim"]
    value, rank = config["v_head_dim"], config["kv_lora_rank"]
    queries = heads * (plain + turned)
    if q_rank := config.get("q_lora_rank"):
        weights = {
            **linear("self_attn.q_a_proj", hidden, q_rank, biased),
            **norm("self_attn.q_a_layernorm", q_rank),
            **linear("self_attn.q_b_proj", q_rank, queries),
        }
    else:
        weights = linear("self_attn.q_proj", hidden, queries)
    return {
        **weights,
        **linear("self_attn.kv_a_proj_with_mqa", hidden, rank + turned, biased),
        **norm("self_attn.kv_a_layernorm", rank),
        **linear("self_attn.kv_b_proj", rank, heads * (plain + value)),
        **linear("self_attn.o_proj", heads * value, hidden, biased),
    }


def rotate_as_configured(layer: Layer, context: Context, x: Tensor) -> Tensor:
    """Rotate pair by pair where config.json says so (``rope_interleave``), or as Llama does."""
    assert context.cos is not None
    assert context.sin is not None
    if not context.config.get("rope_interleave"):
        return rotary(layer, context, x)
    half = x.width // 2
    first, second = ops.part(x, half), ops.part(x, half)
    return ops.cat(
        ops.sub(ops.mul(first, context.cos), ops.mul(second, context.sin)),
        ops.add(ops.mul(second, context.cos), ops.mul(first, context.sin)),
    )


def latent_attention(
    context: Context, layer: Layer, x: Tensor, rotate: Rotate = rotate_as_configured
) -> Tensor:
    """Attention on keys and values that are made from one narrow projection."""
    config, heads = context.config, context.heads
    plain, turned = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
    latent = None
    if layer.has("self_attn.q_a_proj"):
        latent = layer.linear("self_attn.q_a_proj", x)
        latent = rms_norm(layer, "self_attn.q_a_layernorm", latent)
        q = layer.linear("self_attn.q_b_proj", latent)
    else:
        q = layer.linear("self_attn.q_proj", x)
    if not layer.has(f"{indexer.NAME}.wq_b"):
        latent = None  # nobody else looks at it
    layer.begin("self_attn")
    q_pass, q_rot = ops.split_widths(q, heads * plain, heads * turned)
    compressed = layer.linear("self_attn.kv_a_proj_with_mqa", x)
    kv, k_rot = ops.split_widths(compressed, config["kv_lora_rank"], turned)
    kv = rms_norm(layer, "self_attn.kv_a_layernorm", kv)
    q_rot, k_rot = rotate(layer, context, q_rot), rotate(layer, context, k_rot)
    q_states = ops.cat(q_pass, q_rot)
    expanded = layer.linear("self_attn.kv_b_proj", kv)
    k_pass, v = ops.split_widths(expanded, heads * plain, heads * config["v_head_dim"])
    k_states = ops.cat(k_pass, ops.repeat_heads(k_rot, heads * turned, turned))
    if context.attn_implementation == "eager":
        v = ops.contiguous(v)  # a matrix product needs them in one piece
    masks = indexer.sparse_mask(context, layer, x, latent) if latent is not None else None
    out = attend(context, q_states, k_states, v)
    del masks
    return layer.linear("self_attn.o_proj", out)
