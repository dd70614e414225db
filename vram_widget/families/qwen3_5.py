"""Qwen 3.5: gated delta nets as transformers runs them in plain PyTorch, and gated attention.

With the package flash-linear-attention a Triton kernel takes the delta net's place, which keeps
none of the chunks' tensors.
"""

from __future__ import annotations

from functools import partial

from ..step import ops
from ..step.context import Context
from ..step.decoder import Block, Decoder
from ..step.family import Family, rotary_features
from ..step.layer import Layer
from ..step.norms import gemma_rms_norm, norm_then_gate, per_head
from ..step.ops import scan
from ..step.tape import FLOAT32, Tensor
from .parts.attention import attend_on_concatenated, attention_weights, partial_rotary
from .parts.experts import routed_weights
from .parts.layers import FULL, LINEAR, DecoderLayer, decoder, in_order, layer_types, prenorm
from .parts.mamba import convolve, masked, sequences
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config, Weights, convolution, head_norms, linear, norm
from .qwen_moe import moe_with_shared_expert

#: ``chunk_size`` of torch_chunk_gated_delta_rule.
CHUNK = 64


def qwen3_5(config: Config) -> Decoder:
    """Qwen 3.5: gated delta nets, and gated attention in every fourth layer."""
    mlp = gated_mlp_weights("mlp", config["hidden_size"], config["intermediate_size"])
    return around(config, mlp, linear_layer, attention_layer)


def qwen3_5_moe(config: Config) -> Decoder:
    """Qwen 3.5 MoE: Qwen 3.5 with routed experts beside a gated shared one."""
    hidden = config["hidden_size"]
    mlp = {
        **routed_weights(config, config["moe_intermediate_size"]),
        **gated_mlp_weights("mlp.shared_expert", hidden, config["shared_expert_intermediate_size"]),
        **linear("mlp.shared_expert_gate", hidden, 1),
    }
    return around(config, mlp, linear_moe_layer, attention_moe_layer)


def around(config: Config, mlp: Weights, linear_block: Block, attention_block: Block) -> Decoder:
    """Return Qwen 3.5's two kinds of layer around one kind of MLP."""
    hidden, queries = config["hidden_size"], config["num_attention_heads"] * config["head_dim"]
    attention = {
        **attention_weights(config, config["attention_bias"]),
        # q_proj makes each head's gate beside its query.
        **linear("self_attn.q_proj", hidden, 2 * queries, config["attention_bias"]),
        **head_norms(config, "q_norm", "k_norm"),
    }
    of_kind = {
        LINEAR: DecoderLayer(linear_block, prenorm(hidden, delta_net_weights(config), mlp)),
        FULL: DecoderLayer(attention_block, prenorm(hidden, attention, mlp)),
    }
    kinds = layer_types(config, config.get("full_attention_interval", 4), LINEAR)
    return decoder(config, in_order(config, of_kind, kinds))


def delta_net_weights(config: Config) -> Weights:
    """Return the weights of a gated delta net (linear attention)."""
    hidden, heads = config["hidden_size"], config["linear_num_value_heads"]
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    values = heads * config["linear_value_head_dim"]
    name = "linear_attn"
    return {
        f"{name}.dt_bias": (heads,),
        f"{name}.A_log": (heads,),
        **convolution(
            f"{name}.conv1d", 2 * keys + values, config["linear_conv_kernel_dim"], bias=False
        ),
        **linear(f"{name}.in_proj_qkv", hidden, 2 * keys + values),
        **linear(f"{name}.in_proj_z", hidden, values),
        **linear(f"{name}.in_proj_b", hidden, heads),
        **linear(f"{name}.in_proj_a", hidden, heads),
        **norm(f"{name}.norm", config["linear_value_head_dim"]),
        **linear(f"{name}.out_proj", values, hidden),
    }


def linear_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Delta net and MLP."""
    return qwen3_5_layer(context, layer, x, delta_net, plain)


def linear_moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Delta net and experts."""
    return qwen3_5_layer(context, layer, x, delta_net, moe_with_shared_expert)


def attention_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention and MLP."""
    return qwen3_5_layer(context, layer, x, gated_attention, plain)


def attention_moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention and experts."""
    return qwen3_5_layer(context, layer, x, gated_attention, moe_with_shared_expert)


def qwen3_5_layer(context: Context, layer: Layer, x: Tensor, mixer: Block, mlp: Block) -> Tensor:
    """Norm, mixer, norm, MLP, with Gemma's norms."""
    residual = x
    x = gemma_rms_norm(layer, "input_layernorm", x)
    x = mixer(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = gemma_rms_norm(layer, "post_attention_layernorm", x)
    x = mlp(context, layer, x)
    return ops.add(residual, x)


def plain(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """A gated MLP."""
    return gated_mlp(layer, x)


def gated_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention whose output is gated; queries and gates are one projection."""
    q, gate = ops.split(layer.linear("self_attn.q_proj", x), 2)
    layer.begin("self_attn")
    gate = ops.contiguous(gate)
    q = per_head(gemma_rms_norm, layer, "self_attn.q_norm", q, context.head_dim)
    k = layer.linear("self_attn.k_proj", x)
    k = per_head(gemma_rms_norm, layer, "self_attn.k_norm", k, context.head_dim)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = partial_rotary(layer, context, q, k)
    out = attend_on_concatenated(context, q, k, v)
    out = ops.mul(out, ops.sigmoid(gate), "gated")
    return layer.linear("self_attn.o_proj", out)


def delta_net(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """A gated delta net."""
    config, weights, name = context.config, layer.weights, "linear_attn"
    heads = config["linear_num_value_heads"]
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    values = heads * config["linear_value_head_dim"]
    layer.begin(name)
    x = masked(context, x)
    mixed = layer.linear(f"{name}.in_proj_qkv", x)
    z = layer.linear(f"{name}.in_proj_z", x)
    b = layer.linear(f"{name}.in_proj_b", x)
    a = layer.linear(f"{name}.in_proj_a", x)
    mixed = convolve(context, layer, f"{name}.conv1d", mixed)
    query, key, value = ops.split_widths(mixed, keys, keys, values)
    beta = ops.sigmoid(b)
    rate = ops.neg(scan.exp(ops.to(weights[f"{name}.A_log"], FLOAT32)))
    step = scan.softplus(ops.add_bias(ops.to(a, FLOAT32), weights[f"{name}.dt_bias"]))
    decay = ops.mul(step, rate, "decay")
    out = gated_delta_rule(context, heads, query, key, value, decay, beta)
    out = per_head(norm_then_gate(z), layer, f"{name}.norm", out, config["linear_value_head_dim"])
    return layer.linear(f"{name}.out_proj", out)


def gated_delta_rule(
    context: Context,
    heads: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    decay: Tensor,
    beta: Tensor,
) -> Tensor:
    """Chunk by chunk, each as a small attention, and a state from one to the next."""
    dtype, tokens, many = query.dtype, value.rows, sequences(context, value)
    chunks = many * -(-context.length // CHUNK)
    rows, key_dim = chunks * CHUNK, context.config["linear_key_head_dim"]
    query, key = repeated_heads(query, heads * key_dim), repeated_heads(key, heads * key_dim)
    query, key, value, beta = [ops.to(x, FLOAT32) for x in (query, key, value, beta)]
    query = l2norm(query, key_dim)
    key = l2norm(key, key_dim)
    query = ops.scale(query)
    query, key, value = [scan.pad(x, rows) for x in (query, key, value)]
    beta, decay = [scan.pad(x, rows) for x in (beta, decay)]
    value_beta = ops.mul(value, beta, "value * beta")
    key_beta = ops.mul(key, beta, "key * beta")
    total = scan.cumsum(decay)
    pairwise = scan.exp(scan.masked_fill(scan.between(total, CHUNK), rows * heads, CHUNK))
    # what was neither converted nor padded is not laid out chunk by chunk yet
    laid = ops.contiguous if dtype is FLOAT32 and rows == tokens else same
    system = ops.matmul(laid(key_beta), laid(key), rows * heads, CHUNK)
    system = ops.mul(system, pairwise, "system")
    weights = ops.matmul(laid(query), laid(key), rows * heads, CHUNK)
    weights = ops.mul(weights, pairwise, "weights")
    decayed_key = ops.mul(key_beta, scan.exp(total), "decayed key * beta")
    values = scan.solve_triangular(system, value_beta)
    decayed = scan.solve_triangular(system, decayed_key)
    states = Tensor(value.tape, chunks * heads * key_dim, value.width // heads, FLOAT32, None)
    query = ops.mul(query, scan.exp(total), "decayed query")
    key = ops.mul(key, scan.exp(scan.like(total)), "decayed key")
    out = scan.delta_rule(query, key, values, decayed, weights, states, chunks // many)
    out = scan.first_positions(ops.contiguous(out), tokens)
    return ops.to(out, dtype, "output")


def same(x: Tensor) -> Tensor:
    """Return x itself."""
    return x


def repeated_heads(x: Tensor, width: int) -> Tensor:
    """Copy the heads of queries or keys for the values' heads, where there are more of those."""
    return ops.copy_heads(x, width) if x.width < width else x


def l2norm(x: Tensor, head_dim: int) -> Tensor:
    """Divide each head by its length."""
    heads = ops.reshape(x, x.rows * x.width // head_dim, head_dim)
    inverse = ops.rsqrt(scan.sum_features(ops.mul(heads, heads, "square")))
    return ops.reshape(ops.mul(heads, inverse, "normed"), x.rows, x.width)


FAMILIES = {
    "qwen3_5_text": Family(
        qwen3_5,
        {
            "vocab_size": 248320,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "hidden_act": "silu",
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
            "attention_bias": False,
            "head_dim": 256,
            "linear_conv_kernel_dim": 4,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "full_attention_interval": 4,
        },
        multimodal={"qwen3_5": False},
        norm=gemma_rms_norm,
        rotary_features=partial(rotary_features, share=0.25),
    ),
    "qwen3_5_moe_text": Family(
        qwen3_5_moe,
        {
            "vocab_size": 248320,
            "hidden_size": 2048,
            "num_hidden_layers": 40,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "hidden_act": "silu",
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
            "attention_bias": False,
            "head_dim": 256,
            "linear_conv_kernel_dim": 4,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
            "num_experts_per_tok": 8,
            "num_experts": 256,
            "full_attention_interval": 4,
        },
        multimodal={"qwen3_5_moe": False},
        norm=gemma_rms_norm,
        rotary_features=partial(rotary_features, share=0.25),
    ),
}
