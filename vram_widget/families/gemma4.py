"""Gemma 4: wider heads in full attention, shared keys, experts beside the MLP, inputs by layer."""

from __future__ import annotations

from ..errors import ModelError
from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import per_head
from ..step.ops import experts as mixture
from ..step.tape import FLOAT32, Tensor
from .gemma import four_norms_weights, wide_mlp_weights
from .parts.attention import attend, attention_weights, rotary
from .parts.experts import Routing, expert_weights, experts
from .parts.layers import FULL, DecoderLayer, decoder, grouped, layer_types, window
from .parts.mlp import gated_mlp
from .parts.weights import Config, Weights, embedding, head_norms, linear, norm


def gemma4(config: Config) -> Decoder:
    """Gemma 4: full attention with wider heads, keys shared between layers, inputs by layer."""
    kinds = layer_types(config, every=6)
    kinds[-1] = FULL  # transformers makes the last layer so, whatever config.json says
    count, shared = config["num_hidden_layers"], config["num_kv_shared_layers"]
    if shared >= count:
        raise ModelError(
            f"config.json says num_kv_shared_layers = {shared}, which leaves none of "
            f"{count} layers with keys of its own; correct it."
        )
    layers = grouped(
        layer_weights(config, kind, i >= count - shared) for i, kind in enumerate(kinds)
    )
    more: Weights = {}
    if by_layer := count * config["hidden_size_per_layer_input"]:
        rows, hidden = config["vocab_size_per_layer_input"], config["hidden_size"]
        more |= embedding("model.embed_tokens_per_layer", rows, by_layer)
        more |= linear("model.per_layer_model_projection", hidden, by_layer)
        more |= norm("model.per_layer_projection_norm", config["hidden_size_per_layer_input"])
    return decoder(config, layers, more=more)


def layer_weights(config: Config, kind: str, shares_keys: bool) -> DecoderLayer:
    """Return one layer of Gemma 4."""
    hidden, by_layer = config["hidden_size"], config["hidden_size_per_layer_input"]
    doubled = config["use_double_wide_mlp"] and shares_keys
    weights = {
        **four_norms_weights(config),
        **wide_mlp_weights(config, 2 if doubled else 1),
        **gemma4_attention_weights(config, kind, shares_keys),
    }
    if by_layer:
        weights |= linear("per_layer_input_gate", hidden, by_layer)
        weights |= linear("per_layer_projection", by_layer, hidden)
        weights |= norm("post_per_layer_input_norm", hidden)
    if config["enable_moe_block"]:
        count = config["num_experts"]
        weights |= {"router.scale": (hidden,), "router.per_expert_scale": (count,)}
        weights |= linear("router.proj", hidden, count)
        weights |= expert_weights("experts", count, hidden, config["moe_intermediate_size"])
        weights |= norm("post_feedforward_layernorm_1", hidden)
        weights |= norm("post_feedforward_layernorm_2", hidden)
        weights |= norm("pre_feedforward_layernorm_2", hidden)
    return DecoderLayer(gemma4_layer, weights, window(config, kind))


def gemma4_attention_weights(config: Config, kind: str, shares_keys: bool) -> Weights:
    """Return Gemma 4's attention; full ones may use their keys as values."""
    full, biased = kind == FULL, config["attention_bias"]
    own = dict(config)
    if full:
        own["head_dim"] = config.get("global_head_dim", 512)
        if config["attention_k_eq_v"]:
            groups = config.get("num_global_key_value_heads")
            own["num_key_value_heads"] = groups or config["num_key_value_heads"]
    weights = {**attention_weights(own, biased), **head_norms(own, "q_norm", "k_norm")}
    without = []
    if shares_keys:
        without = ["self_attn.k_", "self_attn.v_"]
    elif full and config["attention_k_eq_v"]:
        without = ["self_attn.v_"]
    return {name: shape for name, shape in weights.items() if not name.startswith(tuple(without))}


def gemma4_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Gemma 4's layer; its weights say whether it has experts, keys of its own, an input."""
    residual = x
    x = gemma4_norm(layer, "input_layernorm", x)
    x = attention(context, layer, x)
    x = gemma4_norm(layer, "post_attention_layernorm", x)
    x = ops.add(residual, x)
    residual = x
    x = gemma4_norm(layer, "pre_feedforward_layernorm", x)
    x = gated_mlp(layer, x)
    if layer.has("router.proj"):
        x = gemma4_norm(layer, "post_feedforward_layernorm_1", x)
        routing = router(context, layer, residual)
        mixed = gemma4_norm(layer, "pre_feedforward_layernorm_2", residual)
        mixed = experts(context, layer, "experts", mixed, routing)
        mixed = gemma4_norm(layer, "post_feedforward_layernorm_2", mixed)
        x = ops.add(x, mixed)
    x = gemma4_norm(layer, "post_feedforward_layernorm", x)
    x = ops.add(residual, x)
    if context.per_layer_inputs is not None:
        residual = x
        x = ops.activation(layer.linear("per_layer_input_gate", x), "act(gate)")
        mine = ops.part(context.per_layer_inputs, x.width)
        x = layer.linear("per_layer_projection", ops.mul(x, mine, "gated input"))
        x = gemma4_norm(layer, "post_per_layer_input_norm", x)
        x = ops.add(residual, x)
    return ops.follows(ops.detach(x), x)  # times a number, in place


def attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention with normed queries, keys and values; full layers may use keys as values."""
    q = layer.linear("self_attn.q_proj", x)
    head_dim = q.width // context.heads
    q = per_head(gemma4_norm, layer, "self_attn.q_norm", q, head_dim)
    layer.begin("self_attn")
    q = rotary(layer, context, q)
    if layer.has("self_attn.k_proj"):
        k = layer.linear("self_attn.k_proj", x)
        v = k
        if layer.has("self_attn.v_proj"):
            v = layer.linear("self_attn.v_proj", x)
        k = per_head(gemma4_norm, layer, "self_attn.k_norm", k, head_dim)
        k = rotary(layer, context, k)
        v = per_head(gemma4_norm, layer, "self_attn.v_norm", v, head_dim)
    else:  # the keys and values of the last layer that has its own, which that layer keeps
        width = context.config["num_key_value_heads"] * head_dim
        k, v = (Tensor(x.tape, x.rows, width, x.dtype, None) for _ in range(2))
    out = attend(context, q, k, v)
    return layer.linear("self_attn.o_proj", out)


def router(context: Context, layer: Layer, x: Tensor) -> Routing:
    """Softmax over all experts of a normed, scaled input; the chosen scores are scaled again."""
    outer = layer.begin("router")
    x = gemma4_norm(layer, "router.norm", x)
    x = ops.mul(x, layer.weights["router.scale"], "scaled")
    x = ops.scale(x)
    scores = ops.softmax(layer.linear("router.proj", x), FLOAT32)
    best, chosen = mixture.top_k(scores, context.config["top_k_experts"])
    best = mixture.normalize(best)
    each = mixture.gather(layer.weights["router.per_expert_scale"], chosen, "scale of each")
    best = ops.mul(best, ops.reshape(each, best.rows, best.width), "scores")
    layer.end(outer)
    return Routing(scores, best, chosen)


def gemma4_norm(layer: Layer, name: str, x: Tensor) -> Tensor:
    """Gemma 4's RMSNorm: in float32, scaled by its weight where it has one."""
    weight = layer.weights.get(f"{name}.weight")
    outer = layer.begin(name)
    if layer.liger and weight is not None:
        out = ops.liger_rms_norm(x, weight)
    else:
        wide = ops.to(x, FLOAT32, "input in float32")
        normed = ops.mul(wide, ops.rsqrt(ops.mean(ops.square(wide))), "normed")
        if weight is not None:
            normed = ops.mul(normed, ops.to(weight, FLOAT32), "scaled")
        out = ops.to(normed, x.dtype, "output")
    layer.end(outer)
    return out


def per_layer_inputs(decoder: Decoder, outside: Layer, tokens: Tensor, x: Tensor) -> Tensor | None:
    """Return the inputs by layer (E2B, E4B): a table's rows and a projection, normed."""
    stem = decoder.embedding_name.rpartition(".")[0]
    table = outside.weights.get(f"{stem}.embed_tokens_per_layer.weight")
    if table is None:
        return None
    outside.begin(f"{stem}.embed_tokens_per_layer")
    rows = ops.scale(ops.embedding(tokens, table))
    projected = ops.scale(outside.linear(f"{stem}.per_layer_model_projection", x))
    width = int(decoder.config["hidden_size_per_layer_input"])
    projected = per_head(
        gemma4_norm, outside, f"{stem}.per_layer_projection_norm", projected, width
    )
    return ops.scale(ops.add(projected, rows), "inputs by layer")


FAMILIES = {
    "gemma4_text": Family(
        gemma4,
        {
            "vocab_size": 262144,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 30,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 131072,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "sliding_window": 512,
            "vocab_size_per_layer_input": 262144,
            "hidden_size_per_layer_input": 256,
            "attention_k_eq_v": False,
            "num_kv_shared_layers": 0,
            "enable_moe_block": False,
            "use_double_wide_mlp": False,
            "global_head_dim": 512,
        },
        multimodal={"gemma4": True},
        norm=gemma4_norm,
        scaled_word_embedding=True,
        position_tables=2,
        per_layer_inputs=per_layer_inputs,
    ),
}
