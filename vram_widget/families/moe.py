"""Mixtures of experts: in some or all layers a router chooses among fused experts."""

from __future__ import annotations

from ..step.architecture import Architecture
from .dense import head_norms
from .fields import wrong
from .parts.layers import FULL, SLIDING, Layer, alike, decoder, layer_types, prenorm, runs, window
from .parts.weights import Config, Weights, experts, gated_mlp, grouped_attention, linear, norm


def routed(config: Config, inner: int, name: str = "mlp") -> Weights:
    """Return a router, which is no ``nn.Linear`` in transformers, and its experts."""
    hidden, count = config["hidden_size"], config["num_experts"]
    return {
        f"{name}.gate.weight": (count, hidden),
        **experts(f"{name}.experts", count, hidden, inner),
    }


def mixtral(config: Config) -> Architecture:
    """Mixtral: Mistral with experts in every layer."""
    mlp = routed(config, config["intermediate_size"])
    weights = prenorm(config["hidden_size"], grouped_attention(config), mlp)
    kinds = [SLIDING] * config["num_hidden_layers"]
    return decoder(config, alike(config, "mixtral", weights, kinds))


def qwen2_moe(config: Config) -> Architecture:
    """Qwen 1.5 and 2 MoE: routed experts beside a gated shared one."""
    hidden, shared = config["hidden_size"], config["shared_expert_intermediate_size"]
    attention = grouped_attention(config, config["qkv_bias"], out_bias=False)
    sparse = {
        **routed(config, config["moe_intermediate_size"]),
        **gated_mlp("mlp.shared_expert", hidden, shared),
        **linear("mlp.shared_expert_gate", hidden, 1),
    }
    # A window, where there is one, is in every other of the first layers.
    first = config["max_window_layers"] if config["use_sliding_window"] else 0
    kinds = [FULL if i % 2 or i >= first else SLIDING for i in range(config["num_hidden_layers"])]
    if "layer_types" in config:
        kinds = layer_types(config)
    return sometimes_sparse(config, attention, sparse, ("llama", "qwen2_moe"), kinds)


def qwen3_moe(config: Config) -> Architecture:
    """Qwen 3 MoE: each head of q and k normed, routed experts."""
    attention = {
        **grouped_attention(config, config["attention_bias"]),
        **head_norms(config, "q_norm", "k_norm"),
    }
    sparse = routed(config, config["moe_intermediate_size"])
    kinds = layer_types(config, every=None)
    return sometimes_sparse(config, attention, sparse, ("qwen3", "qwen3_moe"), kinds)


def sometimes_sparse(
    config: Config,
    attention: Weights,
    sparse: Weights,
    blocks: tuple[str, str],
    kinds: list[str],
) -> Architecture:
    """Return Qwen's mixture: `blocks` names a layer with a plain MLP and one with experts."""
    hidden, step = config["hidden_size"], config["decoder_sparse_step"]
    plain = prenorm(hidden, attention, gated_mlp("mlp", hidden, config["intermediate_size"]))
    mixed = prenorm(hidden, attention, sparse)
    dense_only = config.get("mlp_only_layers") or []

    def layer(i: int, kind: str) -> Layer:
        chosen = config["num_experts"] > 0 and i not in dense_only and (i + 1) % step == 0
        weights = mixed if chosen else plain
        return Layer(blocks[chosen], weights, window(config, kind))

    return decoder(config, runs(layer(i, kind) for i, kind in enumerate(kinds)))


def granitemoe(config: Config) -> Architecture:
    """Granite 3 MoE, perhaps with a shared expert beside the routed ones."""
    hidden = config["hidden_size"]
    weights = prenorm(
        hidden, grouped_attention(config, config["attention_bias"]), granite_moe(config)
    )
    block = "granitemoe"
    if shared := config.get("shared_intermediate_size", 0):
        block = "granitemoeshared"
        weights |= shared_mlp(hidden, shared)
    return decoder(config, alike(config, block, weights, layer_types(config)))


def granite_moe(config: Config) -> Weights:
    """Return Granite's router and experts."""
    hidden, count, name = config["hidden_size"], config["num_experts"], "block_sparse_moe"
    return {
        f"{name}.router.weight": (count, hidden),
        **experts(f"{name}.experts", count, hidden, config["intermediate_size"]),
    }


def shared_mlp(hidden: int, inner: int) -> Weights:
    """Return Granite's MLP with gate and up in one projection."""
    return {
        **linear("shared_mlp.input_linear", hidden, 2 * inner),
        **linear("shared_mlp.output_linear", inner, hidden),
    }


def olmoe(config: Config) -> Architecture:
    """OLMoE: norms over the whole of q and of k, experts in every layer."""
    hidden, head = config["hidden_size"], config["head_dim"]
    attention = {
        **grouped_attention(config, config["attention_bias"]),
        **norm("self_attn.q_norm", config["num_attention_heads"] * head),
        **norm("self_attn.k_norm", config["num_key_value_heads"] * head),
    }
    weights = prenorm(hidden, attention, routed(config, config["intermediate_size"]))
    return decoder(config, alike(config, "olmoe", weights, layer_types(config)))


def gpt_oss(config: Config) -> Architecture:
    """gpt-oss: attention sinks, biased experts, a window in every other layer."""
    hidden, inner, count = config["hidden_size"], config["intermediate_size"], config["num_experts"]
    attention = {
        "self_attn.sinks": (config["num_attention_heads"],),
        **grouped_attention(config, config["attention_bias"]),
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
    return decoder(config, alike(config, "gpt_oss", weights, layer_types(config, every=2)))


def llama4(config: Config) -> Architecture:
    """Llama 4: a routed and a shared expert in some layers; every fourth layer does not rotate."""
    hidden, inner, count = config["hidden_size"], config["intermediate_size"], config["num_experts"]
    step, every = config["interleave_moe_layer_step"], config["no_rope_layer_interval"]
    attention = grouped_attention(config, config["attention_bias"])
    mixed = prenorm(
        hidden,
        attention,
        {
            "feed_forward.router.weight": (count, hidden),
            "feed_forward.experts.gate_up_proj": (count, hidden, 2 * inner),
            "feed_forward.experts.down_proj": (count, inner, hidden),
            **gated_mlp("feed_forward.shared_expert", hidden, inner),
        },
    )
    plain = prenorm(
        hidden, attention, gated_mlp("feed_forward", hidden, config["intermediate_size_mlp"])
    )
    sparse, layers = config.get("moe_layers"), config["num_hidden_layers"]
    rotating = config.get("no_rope_layers") or [(i + 1) % every != 0 for i in range(layers)]
    if len(rotating) != layers:
        raise wrong("no_rope_layers", rotating, f"a list of {layers}, one for each layer")
    chunked = {**config, "sliding_window": config["attention_chunk_size"]}

    def layer(i: int, kind: str) -> Layer:
        routed_here = i in sparse if sparse is not None else (i + 1) % step == 0
        block = ("llama4_moe" if routed_here else "llama4") + ("" if rotating[i] else "_nope")
        return Layer(block, mixed if routed_here else plain, window(chunked, kind))

    kinds = layer_types(config, every=every)
    return decoder(config, runs(layer(i, kind) for i, kind in enumerate(kinds)))


def generic(config: Config) -> Architecture:
    """Return what an unknown mixture most likely is: Mixtral's layer, perhaps a shared expert."""
    hidden = config["hidden_size"]
    inner = config.get("moe_intermediate_size") or config["intermediate_size"]
    shared = config.get("shared_expert_intermediate_size")
    shared = shared or inner * config.get("n_shared_experts", 0)
    mlp = routed(config, inner)
    if shared:
        mlp |= gated_mlp("mlp.shared_expert", hidden, shared)
    weights = prenorm(hidden, grouped_attention(config, config.get("attention_bias", False)), mlp)
    return decoder(config, alike(config, "mixtral", weights, layer_types(config)))
