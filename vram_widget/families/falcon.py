"""Falcon: one fused projection, and attention and MLP side by side.

Its linears transpose their weights (FalconLinear), and of a view autocast keeps no copy.
"""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import layer_norm
from ..step.tape import FLOAT32, DType, Tensor
from .parts.attention import attend, rotary
from .parts.layers import alike, decoder, layer_types
from .parts.mlp import plain_mlp_weights
from .parts.weights import Config, linear, norm


def falcon(config: Config) -> Decoder:
    """Falcon 7B (one key head) and 40B (grouped key heads, a LayerNorm each for both branches)."""
    hidden, biased, grouped = (
        config["hidden_size"],
        config["bias"],
        config["new_decoder_architecture"],
    )
    inner = config.get("ffn_hidden_size") or 4 * hidden
    heads, head = config["num_attention_heads"], hidden // config["num_attention_heads"]
    keys = (config.get("num_kv_heads") or heads) if grouped or not config["multi_query"] else 1
    weights = {
        **linear("self_attention.query_key_value", hidden, (heads + 2 * keys) * head, biased),
        **linear("self_attention.dense", hidden, hidden, biased),
        **plain_mlp_weights(("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), hidden, inner, biased),
    }
    norms = config.get("num_ln_in_parallel_attn") or (2 if grouped else 1)
    if not config["parallel_attn"]:
        block, named = falcon_serial_layer, ["input_layernorm", "post_attention_layernorm"]
    elif norms == 2:
        block, named = falcon_two_norms_layer, ["ln_attn", "ln_mlp"]
    else:
        block, named = falcon_layer, ["input_layernorm"]
    for name in named:
        weights |= norm(name, hidden, bias=True)
    config = {**config, "num_key_value_heads": keys, "intermediate_size": inner}
    return decoder(
        config,
        alike(config, block, weights, layer_types(config)),
        stem="transformer",
        layers_in="h",
        tokens="word_embeddings",
        last="ln_f",
        last_bias=True,
    )


def falcon_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Falcon 7B, 11B: attention and MLP side by side on one norm."""
    residual = x
    x = layer_norm(layer, "input_layernorm", x)
    return parallel(context, layer, residual, x, x)


def falcon_two_norms_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Falcon 40B and 180B: attention and MLP side by side, each on a norm of its own."""
    before_attention = layer_norm(layer, "ln_attn", x)
    before_mlp = layer_norm(layer, "ln_mlp", x)
    return parallel(context, layer, x, before_attention, before_mlp)


def falcon_serial_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Falcon RW: the MLP behind attention."""
    attended = falcon_attention(context, layer, layer_norm(layer, "input_layernorm", x))
    residual = ops.add(x, attended)
    fed = falcon_mlp(layer, layer_norm(layer, "post_attention_layernorm", residual))
    return ops.add(residual, fed)


def parallel(
    context: Context, layer: Layer, residual: Tensor, before_attention: Tensor, before_mlp: Tensor
) -> Tensor:
    """Attention and MLP side by side."""
    attended = falcon_attention(context, layer, before_attention)
    fed = falcon_mlp(layer, before_mlp)
    fed = ops.add_in_place(fed, attended)
    return ops.add(residual, fed)


def falcon_mlp(layer: Layer, x: Tensor) -> Tensor:
    """Falcon's MLP."""
    layer.begin("mlp")
    x = ops.activation(layer.linear("mlp.dense_h_to_4h", x, transposes=True), "act")
    return layer.linear("mlp.dense_4h_to_h", x, transposes=True)


def falcon_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention on one projection: queries are a view of it, keys and values are copied out."""
    dtype = x.dtype
    qkv = layer.linear("self_attention.query_key_value", x, transposes=True)
    layer.begin("self_attention")
    q, k, v = split_heads(context, qkv)
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    if context.attn_implementation == "eager":
        out = falcon_eager_attention(context, q, k, v, dtype)
    elif context.attn_implementation == "sdpa" and k.width != q.width:
        out = ops.contiguous(broadcast_attention(context, q, k, v))
    else:
        out = attend(context, q, k, v)
    return layer.linear("self_attention.dense", out, transposes=True)


def split_heads(context: Context, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take queries, keys and values out of the projection as each generation of Falcon does."""
    queries = context.heads * context.head_dim
    keys = (qkv.width - queries) // 2
    if context.config["new_decoder_architecture"]:  # a key head goes to each query of its group
        q, k, v = ops.part(qkv, queries), ops.copied_part(qkv, keys), ops.copied_part(qkv, keys)
        grouped = keys > context.head_dim
        return (
            ops.contiguous(q) if grouped else q,
            ops.repeat_heads(k, queries, context.head_dim),
            ops.repeat_heads(v, queries, context.head_dim),
        )
    if context.config["multi_query"]:
        return ops.part(qkv, queries), ops.copied_part(qkv, keys), ops.copied_part(qkv, keys)
    return ops.part(qkv, queries), ops.part(qkv, keys), ops.part(qkv, keys)


def falcon_eager_attention(
    context: Context, q: Tensor, k: Tensor, v: Tensor, dtype: DType
) -> Tensor:
    """Falcon's own: scores divided in place, their softmax in the hidden state's dtype."""
    queries, keys = ops.contiguous(q), ops.copy_heads(k, q.width)
    scores = ops.matmul(queries, keys, q.rows * context.heads, context.length)
    del queries, keys
    masked = ops.add_mask(ops.scale_in_place(scores), context.mask_dtype)
    weights = ops.softmax(masked, dtype)
    del scores, masked
    return ops.contiguous(ops.matmul(weights, ops.copy_heads(v, q.width), q.rows, q.width))


def broadcast_attention(context: Context, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Run SDPA where all queries share one key head, for which PyTorch has no fused kernel.

    Its plain implementation works in float32 and copies the keys for each query.
    """
    tape = q.tape
    outer, tape.autocast = tape.autocast, None
    dtype = outer or q.dtype
    q, k, v = (ops.to(ops.to(x, dtype), FLOAT32, "in float32") for x in (q, k, v))
    queries, keys = ops.contiguous(ops.scale(q)), ops.copy_heads(ops.scale(k), q.width)
    scores = ops.matmul(queries, keys, q.rows * context.heads, context.length)
    weights = ops.softmax(scores, FLOAT32)
    del scores
    returned = ops.to(ops.detach(weights), dtype, "weights, which nobody takes")
    out = ops.matmul(weights, ops.copy_heads(v, q.width), q.rows, q.width)
    out = ops.to(out, dtype, "attention")
    del returned
    tape.autocast = outer
    return out


FAMILIES = {
    "falcon": Family(
        falcon,
        {
            "vocab_size": 65024,
            "hidden_size": 4544,
            "num_hidden_layers": 32,
            "num_attention_heads": 71,
            "new_decoder_architecture": False,
            "multi_query": True,
            "parallel_attn": True,
            "bias": False,
            "max_position_embeddings": 2048,
            "activation": "gelu",
            "tie_word_embeddings": True,
        },
        norm=layer_norm,
        always_masked=True,
    ),
}
