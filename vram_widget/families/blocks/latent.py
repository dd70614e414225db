"""Multi-head latent attention: DeepSeek V2 and V3, MiniCPM 3."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import rms_norm
from ...step.ops import experts as mixture
from ...step.tape import FLOAT32, Tensor
from ..parts.attention import attend, rotary
from ..parts.experts import Routing, chosen_experts, experts
from ..parts.mlp import gated_mlp
from . import indexer


def deepseek(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """DeepSeek's first layers, which have a plain MLP."""
    x = attended(context, layer, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    return ops.add(residual, gated_mlp(layer, x))


def deepseek_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """DeepSeek's other layers: routed experts, and some that every token goes to."""
    x = attended(context, layer, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    routing = deepseek_router(context, layer, x)
    routed = experts(context, layer, "mlp.experts", x, routing)
    x = ops.add(routed, gated_mlp(layer, x, "mlp.shared_experts"))
    del routed, routing
    return ops.add(residual, x)


def minicpm3(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """MiniCPM 3: latent attention and a plain MLP, both branches scaled."""
    residual = x
    x = latent_attention(context, layer, rms_norm(layer, "input_layernorm", x))
    x = ops.add(residual, ops.scale(x))
    residual = x
    x = gated_mlp(layer, rms_norm(layer, "post_attention_layernorm", x))
    return ops.add(residual, ops.scale(x))


def attended(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Return the hidden state after the attention branch."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = latent_attention(context, layer, x)
    return ops.add(residual, x)


def latent_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
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
    q_rot, k_rot = turn(layer, context, q_rot), turn(layer, context, k_rot)
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


def turn(layer: Layer, context: Context, x: Tensor) -> Tensor:
    """Rotate positions: as complex numbers (V2), pair by pair (V3), or as Llama does."""
    assert context.cos is not None
    assert context.sin is not None
    if context.config["model_type"] == "deepseek_v2":
        return ops.to(ops.mul(ops.to(x, FLOAT32), context.cos), x.dtype)
    if not context.config.get("rope_interleave"):
        return rotary(layer, context, x)
    half = x.width // 2
    first, second = ops.part(x, half), ops.part(x, half)
    return ops.cat(
        ops.sub(ops.mul(first, context.cos), ops.mul(second, context.sin)),
        ops.add(ops.mul(second, context.cos), ops.mul(first, context.sin)),
    )


def deepseek_router(context: Context, layer: Layer, x: Tensor, name: str = "mlp.gate") -> Routing:
    """Scores of all experts in float32, of which the best count."""
    outer = layer.begin(name)
    weight = ops.to(layer.weight(f"{name}.weight"), FLOAT32)
    logits = ops.linear(ops.to(x, FLOAT32, "input in float32"), weight)
    if context.config["model_type"] == "deepseek_v2":
        scores = ops.softmax(logits, FLOAT32)
    else:
        scores = ops.sigmoid(logits)
    best, chosen = mixture.top_k(scores, chosen_experts(context))
    if context.config.get("norm_topk_prob"):
        best = mixture.normalize(best)
    best = ops.scale(best, "scores")
    layer.end(outer)
    return Routing(logits, best, chosen)
