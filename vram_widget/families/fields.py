"""The fields of config.json that families read: what each may be, and its other names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from ..errors import ModelError
from .parts.weights import Config

#: Beyond any model there is; above these a config.json is broken or hostile.
LARGEST_DIMENSION = 1 << 24
MOST_LAYERS = 10_000
LIMITS = {"num_hidden_layers": MOST_LAYERS, "num_attention_heads": MOST_LAYERS}

#: Other families' names for the same field (most are transformers' own attribute maps).
SAME_AS = {
    "activation": "hidden_act",
    "activation_function": "hidden_act",
    "block_ff_dim": "intermediate_size",
    "d_model": "hidden_size",
    "ffn_dim": "intermediate_size",
    "hidden_activation": "hidden_act",
    "layers_block_type": "layer_types",
    "mlp_hidden_act": "hidden_act",
    "n_embd": "hidden_size",
    "n_embed": "hidden_size",
    "n_head": "num_attention_heads",
    "n_heads": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_layer": "num_hidden_layers",
    "n_layers": "num_hidden_layers",
    "n_positions": "max_position_embeddings",
    "n_routed_experts": "num_experts",
    "num_local_experts": "num_experts",
    "num_heads": "num_attention_heads",
    "num_layers": "num_hidden_layers",
    "tie_embedding": "tie_word_embeddings",
    "top_k_experts": "num_experts_per_tok",
}

#: Every config.json of a language model says these; one inside a multimodal config may not.
REQUIRED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

#: Whole numbers of at least 1.
SIZES = (
    *REQUIRED,
    *("intermediate_size", "head_dim", "num_key_value_heads", "max_position_embeddings"),
    # windows and patterns of layers
    *("attention_chunk_size", "decoder_sparse_step", "full_attention_interval"),
    *("interleave_moe_layer_step", "no_rope_layer_interval", "sliding_window_pattern"),
    # Falcon, Gemma 4, Llama 4
    *("ffn_hidden_size", "num_kv_heads", "global_head_dim", "num_global_key_value_heads"),
    *("vocab_size_per_layer_input", "intermediate_size_mlp", "n_inner", "block_ff_dim"),
    # latent attention
    *("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"),
    *("index_head_dim", "index_n_heads"),
    # Mamba-2, linear attention, short convolution
    *("mamba_d_conv", "mamba_d_ssm", "mamba_d_state", "mamba_expand", "mamba_n_groups"),
    *("mamba_n_heads", "mamba_head_dim", "mamba_num_heads", "n_groups", "ssm_state_size"),
    *("conv_kernel", "linear_conv_kernel_dim", "linear_key_head_dim", "linear_num_key_heads"),
    *("linear_num_value_heads", "linear_value_head_dim", "conv_L_cache", "block_multiple_of"),
    "moe_latent_size",
)

#: Whole numbers that may be 0, which says that the model has none of it.
COUNTS = (
    *("num_experts", "num_experts_per_tok", "moe_intermediate_size", "n_shared_experts"),
    *("moe_shared_expert_intermediate_size", "shared_expert_intermediate_size"),
    *("shared_intermediate_size", "first_k_dense_replace", "num_kv_shared_layers"),
    *("hidden_size_per_layer_input", "num_ln_in_parallel_attn"),
    *("sliding_window", "max_window_layers"),
)

SWITCHES = (
    *("tie_word_embeddings", "attention_bias", "mlp_bias", "bias", "qkv_bias", "use_qkv_bias"),
    "attention_out_bias",
    *("conv_bias", "mamba_conv_bias", "mamba_proj_bias", "projectors_bias", "use_bias"),
    *("use_conv_bias", "use_sliding_window", "qk_layernorm", "use_qk_norm", "mamba_rms_norm"),
    *("use_parallel_residual", "parallel_attn", "multi_query", "new_decoder_architecture"),
    *("attention_k_eq_v", "enable_moe_block", "use_double_wide_mlp", "block_auto_adjust_ff_dim"),
)

#: Lists of whole numbers, none of them negative.
INDICES = ("full_attn_idxs", "mlp_only_layers", "moe_layers", "no_rope_layers")

#: Lists of words, one a layer.
WORDS = ("layer_types",)

#: Numbers that need not be whole.
FACTORS = ("block_ffn_dim_multiplier",)


def check(config: Config) -> None:
    """Refuse a field that is not what it must be; one that is null or left out is no matter."""
    for name in SIZES:
        check_whole(config, name, 1)
    for name in COUNTS:
        check_whole(config, name, 0)
    for name in SWITCHES:
        if not isinstance(config.get(name, False), bool):
            raise wrong(name, config[name], "true or false")
    for name in INDICES:
        listed = config.get(name, [])
        if not isinstance(listed, list) or not all(whole(i, 0, MOST_LAYERS) for i in listed):
            raise wrong(name, listed, "a list of layers")
    for name in WORDS:
        if not isinstance(config.get(name, []), list):
            raise wrong(name, config[name], "a list of words")
    for name in FACTORS:
        factor = config.get(name, 1.0)
        if not isinstance(factor, (int, float)) or not 0 < factor <= LARGEST_DIMENSION:
            raise wrong(name, factor, "a number above 0")
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    if heads % groups:
        raise wrong("num_key_value_heads", groups, f"a divisor of num_attention_heads, {heads}")


def check_whole(config: Config, name: str, least: int) -> None:
    """Refuse a field that is not a whole number within reason."""
    most = LIMITS.get(name, LARGEST_DIMENSION)
    value = config.get(name)
    if value is not None and not whole(value, least, most):
        raise wrong(name, value, f"a whole number between {least} and {most:,}")


def whole(value: object, least: int = 1, most: int = LARGEST_DIMENSION) -> TypeGuard[int]:
    """Return whether this is a whole number between `least` and `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def wrong(name: str, value: Any, wanted: str) -> ModelError:
    """Return the error that says what a field must be."""
    return ModelError(f"config.json says {name} = {shown(value)}; it must be {wanted}. Correct it.")


def shown(value: object) -> str:
    """Return a value as a person should see it, however long it is."""
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, Mapping):
        return "an object"
    # A huge int would cost seconds, or an error, to turn into text.
    if isinstance(value, int) and abs(value) > 1 << 128:
        return "a number of more than 38 digits"
    return repr(value[:40] + "..." if isinstance(value, str) and len(value) > 40 else value)
