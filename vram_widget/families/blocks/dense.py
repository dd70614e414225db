"""Dense decoder blocks: what one layer of each family does, operator by operator.

Each reads like the model's own code in transformers, and holds on to the same tensors for as long:
a local variable here is a local variable there.
"""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import float32_rms_norm, layer_norm, per_head, rms_norm
from ...step.tape import FLOAT32, Tensor
from ..parts.attention import (
    attend,
    attend_on_concatenated,
    grouped_attention,
    partial_rotary,
    rotary,
    rotate_half,
)
from ..parts.mlp import fused_gated_mlp, gated_mlp, plain_mlp


def llama(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Llama, Mistral, Qwen2, SmolLM2, TinyLlama."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


def seed_oss(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Seed-OSS: Llama with dropout behind both branches."""
    drops = bool(context.config.get("residual_dropout"))
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, ops.dropout(x) if drops else x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, ops.dropout(x) if drops else x)


def ernie4_5(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """ERNIE 4.5: Llama with its heads rotated in float32."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = ernie4_5_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


def ernie4_5_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention, rotated in float32."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary_in_float32(context, q, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def rotary_in_float32(context: Context, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate by cosines and sines in float32, each repeated for two neighbouring features."""
    cos, sin = context.cos, context.sin
    assert cos is not None
    assert sin is not None
    cos, sin = (x.tape.new(x.rows, x.width, FLOAT32, "positions") for x in (cos, sin))
    dtype = q.dtype
    turned = [
        ops.add(ops.mul(ops.to(x, FLOAT32), cos), ops.mul(ops.to(rotate_half(x), FLOAT32), sin))
        for x in (q, k)
    ]
    del cos, sin
    query, key = (ops.to(x, dtype, "rotated") for x in turned)
    return query, key


def exaone4(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """EXAONE 4: norms behind attention and MLP, and on each head of queries and keys."""
    residual = x
    x = normed_attention(context, layer, x)
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = ops.add(residual, x)
    residual = x
    x = gated_mlp(layer, x)
    x = rms_norm(layer, "post_feedforward_layernorm", x)
    return ops.add(residual, x)


def exaone4_nope(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """The layers of EXAONE 4 that attend in full, without positions."""
    return exaone4(context._replace(cos=None, sin=None), layer, x)


def granite(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Granite 3: Llama with its residual branches scaled."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = grouped_attention(context, layer, x)
    x = ops.add(residual, ops.scale(x))
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, ops.scale(x))


def qwen3(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Qwen3: Llama with queries and keys normalised head by head."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = normed_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


def normed_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention with a norm on each head of queries and keys."""
    head_dim = context.head_dim
    q = per_head(rms_norm, layer, "self_attn.q_norm", layer.linear("self_attn.q_proj", x), head_dim)
    k = per_head(rms_norm, layer, "self_attn.k_norm", layer.linear("self_attn.k_proj", x), head_dim)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def hunyuan(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Hunyuan: as Qwen3, the norms after the rotation."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    q = per_head(rms_norm, layer, "self_attn.query_layernorm", q, context.head_dim)
    k = per_head(rms_norm, layer, "self_attn.key_layernorm", k, context.head_dim)
    x = layer.linear("self_attn.o_proj", attend(context, q, k, v))
    del q, k, v
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = gated_mlp(layer, x)
    return ops.add(residual, x)


def olmo2(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """OLMo 2: norms behind attention and MLP, and over whole queries and keys."""
    residual = x
    x = olmo2_attention(context, layer, x)
    x = float32_rms_norm(layer, "post_attention_layernorm", x)
    x = ops.add(residual, x)
    residual = x
    x = gated_mlp(layer, x)
    x = float32_rms_norm(layer, "post_feedforward_layernorm", x)
    return ops.add(residual, x)


def olmo2_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention with a norm over all queries, and one over all keys."""
    q = float32_rms_norm(layer, "self_attn.q_norm", layer.linear("self_attn.q_proj", x))
    k = float32_rms_norm(layer, "self_attn.k_norm", layer.linear("self_attn.k_proj", x))
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def phi3(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Phi-3 and Phi-4: queries, keys and values in one projection, gate and up in another."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = phi3_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = fused_gated_mlp(layer, x)
    return ops.add(residual, x)


def phi3_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention on views of one projection: the values keep all of it."""
    qkv = layer.linear("self_attn.qkv_proj", x)
    layer.begin("self_attn")
    queries = context.heads * context.head_dim
    keys = (qkv.width - queries) // 2
    q, k, v = ops.part(qkv, queries), ops.part(qkv, keys), ops.part(qkv, keys)
    q, k = partial_rotary(layer, context, q, k)
    out = attend_on_concatenated(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def phi(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Phi-1.5 and Phi-2: attention and MLP side by side on one norm."""
    residual = x
    x = layer_norm(layer, "input_layernorm", x)
    drops = context.config.get("resid_pdrop", 0.0) > 0
    attended = split_attention(context, layer, x, "self_attn.dense")
    if drops:
        attended = ops.dropout(attended)
    fed = plain_mlp(layer, x, "mlp.fc1", "mlp.fc2", context.config["hidden_act"])
    if drops:
        fed = ops.dropout(fed)
    return ops.add(ops.add(attended, fed), residual)


def split_attention(context: Context, layer: Layer, x: Tensor, output: str) -> Tensor:
    """Attention with separate projections and partly rotated heads."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = partial_rotary(layer, context, q, k)
    out = attend_on_concatenated(context, q, k, v)
    return layer.linear(output, out)


def stablelm(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """StableLM 2: LayerNorms, partly rotated heads, a gated MLP."""
    residual = x
    x = layer_norm(layer, "input_layernorm", x)
    attended = split_attention(context, layer, x, "self_attn.o_proj")
    residual = ops.add(residual, attended)
    normed = layer_norm(layer, "post_attention_layernorm", residual)
    fed = gated_mlp(layer, normed)
    del normed
    return ops.add(residual, fed)


def stablelm_parallel(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """StableLM with attention and MLP side by side."""
    residual = x
    x = layer_norm(layer, "input_layernorm", x)
    attended = split_attention(context, layer, x, "self_attn.o_proj")
    fed = gated_mlp(layer, x)
    return ops.add(ops.add(residual, attended), fed)


def gpt_neox(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """GPT-NeoX and Pythia: attention and MLP side by side, each on a norm of its own."""
    attended = neox_attention(context, layer, layer_norm(layer, "input_layernorm", x))
    normed = layer_norm(layer, "post_attention_layernorm", x)
    fed = plain_mlp(layer, normed, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    del normed
    return ops.add(ops.add(fed, attended), x)


def gpt_neox_serial(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """GPT-NeoX with the MLP behind attention."""
    attended = neox_attention(context, layer, layer_norm(layer, "input_layernorm", x))
    attended = ops.add(attended, x)
    normed = layer_norm(layer, "post_attention_layernorm", attended)
    fed = plain_mlp(layer, normed, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    del normed
    return ops.add(fed, attended)


def neox_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention on three views of one projection, partly rotated heads."""
    qkv = layer.linear("attention.query_key_value", x)
    layer.begin("attention")
    q, k, v = ops.split(qkv, 3)
    q, k = partial_rotary(layer, context, q, k)
    out = attend_on_concatenated(context, q, k, v)
    return layer.linear("attention.dense", out)
