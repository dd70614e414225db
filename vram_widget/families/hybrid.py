"""Hybrids: layers of Mamba-2, linear attention or short convolution among attention layers."""

from __future__ import annotations

from ..errors import ModelError
from ..step.architecture import Architecture, LayerRun
from .dense import head_norms
from .moe import granite_moe, routed, shared_mlp
from .parts.layers import FULL, Layer, alike, decoder, layer_types, prenorm, runs
from .parts.weights import Config, Weights, convolution, gated_mlp, grouped_attention, linear, norm

LINEAR, CONVOLUTION = "linear_attention", "conv"


def mamba2(
    name: str,
    hidden: int,
    inner: int,
    heads: int,
    groups: int,
    state: int,
    kernel: int,
    *,
    conv_bias: bool,
    proj_bias: bool,
    out_bias: bool,
    normed: bool = True,
) -> Weights:
    """Return the weights of a Mamba-2 mixer of `inner` channels."""
    channels = inner + 2 * groups * state
    weights: Weights = {
        f"{name}.dt_bias": (heads,),
        f"{name}.A_log": (heads,),
        f"{name}.D": (heads,),
        **convolution(f"{name}.conv1d", channels, kernel, conv_bias),
        **linear(f"{name}.in_proj", hidden, inner + channels + heads, proj_bias),
        **linear(f"{name}.out_proj", inner, hidden, out_bias),
    }
    return weights | norm(f"{name}.norm", inner) if normed else weights


def granitemoehybrid(config: Config) -> Architecture:
    """Granite 4: Mamba-2 or attention, then a shared MLP, perhaps with routed experts beside it."""
    hidden = config["hidden_size"]
    mlp = shared_mlp(hidden, config["shared_intermediate_size"])
    ending = ""
    if config["num_experts"]:
        mlp |= granite_moe(config)
        ending = "_moe"
    mixer = mamba2(
        "mamba",
        hidden,
        config["mamba_expand"] * hidden,
        config["mamba_n_heads"],
        config["mamba_n_groups"],
        config["mamba_d_state"],
        config["mamba_d_conv"],
        conv_bias=config["mamba_conv_bias"],
        proj_bias=config["mamba_proj_bias"],
        out_bias=config["mamba_proj_bias"],
    )
    attention = grouped_attention(config, config["attention_bias"])
    of_kind = {
        LINEAR: Layer(f"granite_mamba2{ending}", prenorm(hidden, mixer, mlp)),
        FULL: Layer(f"granite_attention{ending}", prenorm(hidden, attention, mlp)),
    }
    return decoder(config, in_order(config, of_kind, layer_types(config, None, LINEAR)))


def in_order(config: Config, of_kind: dict[str, Layer], kinds: list[str]) -> tuple[LayerRun, ...]:
    """Return the layer that stands for each of `kinds`."""
    for kind in kinds:
        if kind not in of_kind:
            raise ModelError(
                f"config.json's layer_types has {kind[:40]!r}, which {config['model_type']} does "
                f"not know; it knows {', '.join(of_kind)}."
            )
    return runs(of_kind[kind] for kind in kinds)


def falcon_h1(config: Config) -> Architecture:
    """Falcon-H1: attention and Mamba-2 side by side in every layer."""
    hidden = config["hidden_size"]
    mixer = mamba2(
        "mamba",
        hidden,
        config.get("mamba_d_ssm") or config["mamba_expand"] * hidden,
        config["mamba_n_heads"],
        config["mamba_n_groups"],
        config["mamba_d_state"],
        config["mamba_d_conv"],
        conv_bias=config["mamba_conv_bias"],
        proj_bias=config["mamba_proj_bias"],
        out_bias=config["projectors_bias"],
        normed=config["mamba_rms_norm"],
    )
    weights = {
        **norm("input_layernorm", hidden),
        **mixer,
        **grouped_attention(config, config["attention_bias"]),
        **norm("pre_ff_layernorm", hidden),
        **gated_mlp("feed_forward", hidden, config["intermediate_size"], config["mlp_bias"]),
    }
    layers = alike(config, "falcon_h1", weights, [FULL] * config["num_hidden_layers"])
    return decoder(config, layers, last="final_layernorm")


def qwen3_5(config: Config) -> Architecture:
    """Qwen 3.5: gated delta nets, and gated attention in every fourth layer."""
    mlp = gated_mlp("mlp", config["hidden_size"], config["intermediate_size"])
    return qwen3_5_layers(config, mlp, "")


def qwen3_5_moe(config: Config) -> Architecture:
    """Qwen 3.5 MoE: Qwen 3.5 with routed experts beside a gated shared one."""
    hidden = config["hidden_size"]
    mlp = {
        **routed(config, config["moe_intermediate_size"]),
        **gated_mlp("mlp.shared_expert", hidden, config["shared_expert_intermediate_size"]),
        **linear("mlp.shared_expert_gate", hidden, 1),
    }
    return qwen3_5_layers(config, mlp, "_moe")


def qwen3_5_layers(config: Config, mlp: Weights, ending: str) -> Architecture:
    """Return Qwen 3.5's two kinds of layer around one kind of MLP."""
    hidden, queries = config["hidden_size"], config["num_attention_heads"] * config["head_dim"]
    attention = {
        **grouped_attention(config, config["attention_bias"]),
        # q_proj makes each head's gate beside its query.
        **linear("self_attn.q_proj", hidden, 2 * queries, config["attention_bias"]),
        **head_norms(config, "q_norm", "k_norm"),
    }
    of_kind = {
        LINEAR: Layer(f"qwen3_5_linear{ending}", prenorm(hidden, delta_net(config), mlp)),
        FULL: Layer(f"qwen3_5_attention{ending}", prenorm(hidden, attention, mlp)),
    }
    kinds = layer_types(config, config.get("full_attention_interval", 4), LINEAR)
    return decoder(config, in_order(config, of_kind, kinds))


def delta_net(config: Config) -> Weights:
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


def lfm2(config: Config) -> Architecture:
    """LFM2: gated short convolutions, and attention with normed heads in some layers."""
    hidden, inner = config["hidden_size"], lfm2_width(config)
    around = {
        **norm("operator_norm", hidden),
        **norm("ffn_norm", hidden),
        **linear("feed_forward.w1", hidden, inner),
        **linear("feed_forward.w3", hidden, inner),
        **linear("feed_forward.w2", inner, hidden),
    }
    biased = config["conv_bias"]
    short = {
        **convolution("conv.conv", hidden, config["conv_L_cache"], biased),
        **linear("conv.in_proj", hidden, 3 * hidden, biased),
        **linear("conv.out_proj", hidden, hidden, biased),
    }
    attention = {
        **grouped_attention(config, out="out_proj"),
        **head_norms(config, "q_layernorm", "k_layernorm"),
    }
    of_kind = {
        CONVOLUTION: Layer("lfm2_conv", around | short),
        FULL: Layer("lfm2_attention", around | attention),
    }
    full = config.get("full_attn_idxs")
    kinds = layer_types(config)
    if config.get("layer_types") is None and full is not None:
        kinds = [FULL if i in full else CONVOLUTION for i in range(len(kinds))]
    config = {**config, "intermediate_size": inner}
    return decoder(config, in_order(config, of_kind, kinds), last="embedding_norm")


def lfm2_width(config: Config) -> int:
    """Return the width of LFM2's MLP: two thirds of what config.json says, rounded up."""
    inner: int = config.get("block_ff_dim") or config["intermediate_size"]
    if not config["block_auto_adjust_ff_dim"]:
        return inner
    inner = int(2 * inner / 3)
    if "block_ffn_dim_multiplier" not in config:
        return inner
    step: int = config["block_multiple_of"]
    return step * -(-int(config["block_ffn_dim_multiplier"] * inner) // step)


def nemotron_h(config: Config) -> Architecture:
    """Nemotron-H: layers that are Mamba-2, attention, an MLP or experts, and no more."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    before, mixer = norm("norm", hidden), "mixer"
    mamba = mamba2(
        mixer,
        hidden,
        config["mamba_num_heads"] * config["mamba_head_dim"],
        config["mamba_num_heads"],
        config["n_groups"],
        config["ssm_state_size"],
        config["conv_kernel"],
        conv_bias=config["use_conv_bias"],
        proj_bias=config["use_bias"],
        out_bias=config["use_bias"],
    )
    mlp = {
        **linear("mixer.up_proj", hidden, inner, config["mlp_bias"]),
        **linear("mixer.down_proj", inner, hidden, config["mlp_bias"]),
    }
    of_kind = {
        LINEAR: Layer("nemotron_h_mamba2", before | mamba),
        FULL: Layer("nemotron_h_attention", before | grouped_attention(config, name=mixer)),
        "moe": Layer("nemotron_h_moe", before | nemotron_moe(config)),
        "mlp": Layer("nemotron_h_mlp", before | mlp),
    }
    # transformers never ties this family's lm_head, whatever config.json says.
    config = {**config, "tie_word_embeddings": False}
    return decoder(
        config,
        in_order(config, of_kind, nemotron_kinds(config)),
        tokens="embeddings",
        last="norm_f",
    )


def nemotron_kinds(config: Config) -> list[str]:
    """Return Nemotron-H's kinds of layer, which older files write as one letter a layer."""
    pattern = config.get("hybrid_override_pattern")
    if config.get("layer_types") is not None or not isinstance(pattern, str):
        return layer_types(config)
    letters = {"M": LINEAR, "E": "moe", "*": FULL, "-": "mlp"}
    return layer_types(
        {**config, "layer_types": [letters.get(letter, letter) for letter in pattern]}
    )


def nemotron_moe(config: Config) -> Weights:
    """Return Nemotron-H's ungated experts, perhaps in a narrower space, and the shared one."""
    hidden, count = config["hidden_size"], config["num_experts"]
    inner, shared = config["moe_intermediate_size"], config["moe_shared_expert_intermediate_size"]
    width = config.get("moe_latent_size") or hidden
    weights: Weights = {
        "mixer.gate.weight": (count, hidden),
        "mixer.experts.up_proj": (count, inner, width),
        "mixer.experts.down_proj": (count, width, inner),
        **linear("mixer.shared_experts.up_proj", hidden, shared, config["mlp_bias"]),
        **linear("mixer.shared_experts.down_proj", shared, hidden, config["mlp_bias"]),
    }
    if config.get("moe_latent_size"):
        weights |= linear("mixer.fc1_latent_proj", hidden, width, config["mlp_bias"])
        weights |= linear("mixer.fc2_latent_proj", width, hidden, config["mlp_bias"])
    return weights
