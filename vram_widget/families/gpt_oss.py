"""gpt-oss: attention sinks, biased experts, a window in every other layer."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family, rotary_features
from ..step.layer import Layer
from ..step.norms import float32_rms_norm
from ..step.ops import experts as mixture
from ..step.tape import Tensor
from .parts.attention import attend_on_concatenated, attention_weights, repeated
from .parts.experts import Routing, chosen_experts, experts
from .parts.layers import alike, decoder, layer_types, prenorm
from .parts.weights import Config, Weights


def gpt_oss(config: Config) -> Decoder:
    """gpt-oss: attention sinks, biased experts, a window in every other layer."""
    hidden, inner, count = config["hidden_size"], config["intermediate_size"], config["num_experts"]
    attention = {
        "self_attn.sinks": (config["num_attention_heads"],),
        **attention_weights(config, config["attention_bias"]),
    }
    # Unlike other families' experts, these are stored (experts, inputs, outputs).
    mlp: Weights = {
        "mlp.router.weight": (count, hidden),
        "mlp.router.bias": (count,),
        "mlp.experts.gate_up_proj": (count, hidden, 2 * inner),
        "mlp.experts.gate_up_proj_bias": (count, 2 * inner),
        "mlp.experts.down_proj": (count, inner, hidden),
        "mlp.experts.down_proj_bias": (count, hidden),
    }
    weights = prenorm(hidden, attention, mlp)
    return decoder(config, alike(config, gpt_oss_layer, weights, layer_types(config, every=2)))


def gpt_oss_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Norm, attention with sinks, norm, experts with biases."""
    residual = x
    x = float32_rms_norm(layer, "input_layernorm", x)
    x = sink_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = float32_rms_norm(layer, "post_attention_layernorm", x)
    x = gpt_oss_moe(context, layer, x)
    return ops.add(residual, x)


def gpt_oss_moe(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """gpt-oss's experts."""
    routing = gpt_oss_router(context, layer, "mlp.router", x)
    return experts(context, layer, "mlp.experts", x, routing, clamped_swiglu)


def gpt_oss_router(context: Context, layer: Layer, name: str, x: Tensor) -> Routing:
    """Softmax over the chosen experts only, in the logits' dtype."""
    logits = layer.linear(name, x)
    layer.begin(name)
    best, chosen = mixture.top_k(logits, chosen_experts(context))
    return Routing(logits, ops.softmax(best, best.dtype), chosen)


def clamped_swiglu(both: Tensor) -> Tensor:
    """(up + 1) * gate * sigmoid(alpha * gate), both clamped, gate and up interleaved."""
    gate, up = ops.part(both, both.width // 2), ops.part(both, both.width // 2)
    gate = ops.clamp(gate, bounds=1)
    up = ops.clamp(up, bounds=2)
    glu = ops.mul(gate, ops.sigmoid(ops.scale(gate)), "gate * sigmoid")
    return ops.mul(ops.shift(up), glu, "gated")


def sink_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention in which each head may attend to nothing; eager, or a flash kernel's."""
    q = layer.linear("self_attn.q_proj", x)
    k = layer.linear("self_attn.k_proj", x)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotate_by_halves(context, q), rotate_by_halves(context, k)
    if context.attn_implementation == "eager":
        out = attend_with_sinks(context, q, k, v, layer.weights["self_attn.sinks"])
    else:
        out = attend_on_concatenated(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def rotate_by_halves(context: Context, x: Tensor) -> Tensor:
    """Rotary position embedding with a cosine for each pair of features, not for each feature."""
    cos, sin = context.cos, context.sin
    assert cos is not None
    assert sin is not None
    first, second = ops.split(x, 2)
    turned = ops.sub(ops.mul(first, cos), ops.mul(second, sin))
    other = ops.add(ops.mul(second, cos), ops.mul(first, sin))
    return ops.cat(turned, other)


def attend_with_sinks(context: Context, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor) -> Tensor:
    """Eager attention whose softmax has one more column, which is then dropped."""
    k, v = repeated(context, q, k, v)
    scores = ops.scale(ops.matmul(q, k, q.rows * context.heads, context.length))
    scores = ops.add_mask(scores, context.mask_dtype)
    scores = ops.to(scores, ops.wider(scores.dtype, sinks.dtype), "scores in the sinks' dtype")
    combined = ops.cat(scores, mixture.expand(sinks, scores.rows))
    combined = mixture.subtract_max(combined)
    probabilities = ops.softmax(combined, combined.dtype)
    weights = ops.part(probabilities, context.length)
    return ops.contiguous(ops.matmul(ops.to(weights, v.dtype), v, q.rows, q.width))


def rotated_pairs(config: Config) -> int:
    """Return how many pairs of features are rotated: each has one cosine and one sine."""
    return rotary_features(config) // 2


FAMILIES = {
    "gpt_oss": Family(
        gpt_oss,
        {
            "num_hidden_layers": 36,
            "num_local_experts": 128,
            "vocab_size": 201088,
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "head_dim": 64,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "sliding_window": 128,
            "tie_word_embeddings": False,
            "hidden_act": "silu",
            "max_position_embeddings": 131072,
            "num_experts_per_tok": 4,
            "attention_bias": True,
        },
        norm=float32_rms_norm,
        rotary_features=rotated_pairs,
        supports_sdpa=False,
    ),
}
