"""Llama 4: an MLP or experts, with rotated positions or with none.

Transformers hands every token to every expert, scaled by a score that is zero for those that were
not chosen: what a layer makes grows with the number of experts.
"""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Block, Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import normed, rms_norm
from ..step.ops import experts as mixture
from ..step.tape import FLOAT32, Tensor
from .fields import wrong
from .parts.attention import attend, attention_weights, repeated
from .parts.experts import Routing, chosen_experts
from .parts.layers import DecoderLayer, decoder, grouped, layer_types, prenorm, window
from .parts.mlp import gated_mlp, gated_mlp_weights
from .parts.weights import Config


def llama4(config: Config) -> Decoder:
    """Llama 4: a routed and a shared expert in some layers; every fourth layer does not rotate."""
    hidden, inner, count = config["hidden_size"], config["intermediate_size"], config["num_experts"]
    step, every = config["interleave_moe_layer_step"], config["no_rope_layer_interval"]
    attention = attention_weights(config, config["attention_bias"])
    mixed = prenorm(
        hidden,
        attention,
        {
            "feed_forward.router.weight": (count, hidden),
            "feed_forward.experts.gate_up_proj": (count, hidden, 2 * inner),
            "feed_forward.experts.down_proj": (count, inner, hidden),
            **gated_mlp_weights("feed_forward.shared_expert", hidden, inner),
        },
    )
    plain = prenorm(
        hidden,
        attention,
        gated_mlp_weights("feed_forward", hidden, config["intermediate_size_mlp"]),
    )
    sparse, layers = config.get("moe_layers"), config["num_hidden_layers"]
    rotating = config.get("no_rope_layers") or [(i + 1) % every != 0 for i in range(layers)]
    if len(rotating) != layers:
        raise wrong("no_rope_layers", rotating, f"a list of {layers}, one for each layer")
    chunked = {**config, "sliding_window": config["attention_chunk_size"]}

    def layer(i: int, kind: str) -> DecoderLayer:
        routed_here = i in sparse if sparse is not None else (i + 1) % step == 0
        block = BLOCKS[routed_here, bool(rotating[i])]
        return DecoderLayer(block, mixed if routed_here else plain, window(chunked, kind))

    kinds = layer_types(config, every=every)
    return decoder(config, grouped(layer(i, kind) for i, kind in enumerate(kinds)))


def plain_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Rotated positions, an MLP."""
    return llama4_layer(context, layer, x, rotating_attention, plain)


def plain_nope_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """No positions, an MLP."""
    return llama4_layer(context, layer, x, tempered_attention, plain)


def moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Rotated positions, experts."""
    return llama4_layer(context, layer, x, rotating_attention, moe)


def moe_nope_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """No positions, experts."""
    return llama4_layer(context, layer, x, tempered_attention, moe)


#: The layers with experts or without, and those that rotate or do not.
BLOCKS: dict[tuple[bool, bool], Block] = {
    (False, True): plain_layer,
    (False, False): plain_nope_layer,
    (True, True): moe_layer,
    (True, False): moe_nope_layer,
}


def llama4_layer(context: Context, layer: Layer, x: Tensor, attention: Block, mlp: Block) -> Tensor:
    """Norm, attention, norm, MLP; what attention gave is held on to until the end."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    attended = attention(context, layer, x)
    x = ops.add(residual, attended)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = mlp(context, layer, x)
    return ops.add(residual, x)


def plain(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """A gated MLP."""
    return gated_mlp(layer, x, "feed_forward")


def rotating_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention, rotated as complex numbers and perhaps normed head by head."""
    return attention(context, layer, x, rotated)


def tempered_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention without positions; its queries may grow with their place."""
    return attention(context, layer, x, tempered)


def attention(context: Context, layer: Layer, x: Tensor, place: Block) -> Tensor:
    """Grouped attention; `place` tells queries, and keys if they rotate, where they stand."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q = place(context, layer, q)
    if place is rotated:
        k = place(context, layer, k)
    if context.attn_implementation == "eager":
        out = llama4_eager_attention(context, q, k, v)
    else:
        out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def rotated(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Rotate pairs of features as complex numbers, in float32; perhaps norm each head."""
    assert context.cos is not None
    wide = ops.mul(ops.to(x, FLOAT32, "pairs in float32"), context.cos, "rotated")
    x = ops.to(wide, x.dtype, "rotated")
    if not context.config.get("use_qk_norm", True):
        return x
    heads = ops.reshape(x, x.rows * x.width // context.head_dim, context.head_dim)
    return ops.reshape(ops.to(normed(heads), x.dtype, "normed"), x.rows, x.width)


def tempered(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Scale queries by their place, in float32."""
    if not context.config.get("attn_temperature_tuning", True):
        return x
    places = x.tape.new(context.length, 1, FLOAT32, "scale of each place")
    return ops.to(ops.mul(x, places, "scaled"), x.dtype, "scaled")


def llama4_eager_attention(context: Context, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Run eager attention with a softmax in the scores' own dtype."""
    k, v = repeated(context, q, k, v)
    scores = ops.scale(ops.matmul(q, k, q.rows * context.heads, context.length))
    scores = ops.add_mask(scores, context.mask_dtype)
    weights = ops.softmax(scores, FLOAT32 if q.tape.autocast else scores.dtype)
    return ops.contiguous(ops.matmul(weights, v, q.rows, v.width))


def moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """All experts on all tokens, and a shared one."""
    routing = router(context, layer, x)
    count = routing.scores.width
    layer.begin("feed_forward")
    inputs = mixture.repeat_rows(x, count)
    scores = ops.contiguous(ops.reshape(routing.scores, inputs.rows, 1))
    inputs = ops.mul(inputs, scores, "inputs of every expert")
    out = every_expert(layer, inputs, count)
    shared = gated_mlp(layer, x, "feed_forward.shared_expert")
    layer.begin("feed_forward")
    return ops.add_in_place(shared, mixture.sum_groups(out, count))


def router(context: Context, layer: Layer, x: Tensor) -> Routing:
    """Score the chosen experts by a sigmoid, and the others zero."""
    logits = layer.linear("feed_forward.router", x)
    layer.begin("feed_forward.router")
    best, chosen = mixture.top_k(logits, chosen_experts(context))
    scores = mixture.scatter(best, chosen, logits.width)
    scores = ops.sigmoid(ops.to(scores, FLOAT32))
    return Routing(logits, ops.to(scores, logits.dtype, "scores"), chosen)


def every_expert(layer: Layer, x: Tensor, count: int) -> Tensor:
    """Run each expert's gated MLP on its copy of all tokens."""
    name = "feed_forward.experts"
    layer.begin(name)
    both = mixture.batched_mm(x, layer.weight(f"{name}.gate_up_proj"))
    gate, up = ops.split(both, 2)
    product = ops.mul(up, ops.activation(gate, "act(gate)"), "act(gate) * up")
    return mixture.batched_mm(product, layer.weight(f"{name}.down_proj"))


FAMILIES = {
    "llama4_text": Family(
        llama4,
        {
            "vocab_size": 202048,
            "hidden_size": 5120,
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "num_hidden_layers": 48,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "hidden_act": "silu",
            "max_position_embeddings": 131072,
            "tie_word_embeddings": False,
            "num_experts_per_tok": 1,
            "num_local_experts": 16,
            "interleave_moe_layer_step": 1,
            "no_rope_layer_interval": 4,
            "attention_chunk_size": 8192,
            "attention_bias": False,
            "use_qk_norm": True,
        },
        multimodal={"llama4": False},
    ),
}
