"""Dense decoders: attention and an MLP in every layer."""

from __future__ import annotations

from ..step.architecture import Architecture
from .parts.layers import FULL, SLIDING, Layer, alike, decoder, layer_types, prenorm, runs, window
from .parts.weights import Config, Weights, gated_mlp, grouped_attention, linear, norm, plain_mlp


def llama(config: Config) -> Architecture:
    """Llama 2 and 3, SmolLM 2 and 3, TinyLlama, Falcon 3; Granite 3 scales its branches."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = grouped_attention(config, config["attention_bias"])
    weights = prenorm(hidden, attention, gated_mlp("mlp", hidden, inner, config["mlp_bias"]))
    block = "granite" if config["model_type"] == "granite" else "llama"
    return decoder(config, alike(config, block, weights, layer_types(config)))


def seed_oss(config: Config) -> Architecture:
    """Seed-OSS: Llama with biases on q, k and v, and dropout behind both branches."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    biased, out = config["attention_bias"], config["attention_out_bias"]
    attention = grouped_attention(config, biased, out_bias=out)
    weights = prenorm(hidden, attention, gated_mlp("mlp", hidden, inner, config["mlp_bias"]))
    return decoder(config, alike(config, "seed_oss", weights, layer_types(config)))


def ernie4_5(config: Config) -> Architecture:
    """ERNIE 4.5: Llama's weights, rotated in float32."""
    hidden, inner, biased = (
        config["hidden_size"],
        config["intermediate_size"],
        config["use_bias"],
    )
    mlp = gated_mlp("mlp", hidden, inner, biased)
    weights = prenorm(hidden, grouped_attention(config, biased), mlp)
    return decoder(config, alike(config, "ernie4_5", weights, layer_types(config)))


def arcee(config: Config) -> Architecture:
    """AFM of Arcee: Llama whose MLP has no gate."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = grouped_attention(config, config["attention_bias"])
    mlp = plain_mlp(("mlp.up_proj", "mlp.down_proj"), hidden, inner, config["mlp_bias"])
    weights = prenorm(hidden, attention, mlp)
    return decoder(config, alike(config, "arcee", weights, layer_types(config)))


def starcoder2(config: Config) -> Architecture:
    """StarCoder 2: LayerNorms, an MLP without a gate, biases everywhere."""
    hidden, inner, biased = (
        config["hidden_size"],
        config["intermediate_size"],
        config["use_bias"],
    )
    weights = {
        **norm("input_layernorm", hidden, bias=True),
        **grouped_attention(config, biased),
        **norm("post_attention_layernorm", hidden, bias=True),
        **plain_mlp(("mlp.c_fc", "mlp.c_proj"), hidden, inner, biased),
    }
    kinds = [SLIDING] * config["num_hidden_layers"]
    return decoder(config, alike(config, "starcoder2", weights, kinds), last_bias=True)


def exaone4(config: Config) -> Architecture:
    """EXAONE 4: norms after attention and MLP, and over each head of q and k.

    Where some layers slide, the others know no positions.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    weights = {
        **grouped_attention(config),
        **head_norms(config, "q_norm", "k_norm"),
        **norm("post_attention_layernorm", hidden),
        **gated_mlp("mlp", hidden, inner),
        **norm("post_feedforward_layernorm", hidden),
    }
    hybrid = config.get("sliding_window") is not None
    kinds = layer_types(config, config.get("sliding_window_pattern", 4) if hybrid else 1)
    layers = runs(
        Layer(
            "exaone4_nope" if hybrid and kind == FULL else "exaone4",
            weights,
            window(config, kind),
        )
        for kind in kinds
    )
    return decoder(config, layers)


def mistral(config: Config) -> Architecture:
    """Mistral: Llama whose attention may reach a window back."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    weights = prenorm(hidden, grouped_attention(config), gated_mlp("mlp", hidden, inner))
    kinds = [SLIDING] * config["num_hidden_layers"]
    return decoder(config, alike(config, "llama", weights, kinds))


def qwen2(config: Config) -> Architecture:
    """Qwen 2 and 2.5: Llama with biases on q, k and v."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = grouped_attention(config, bias=True, out_bias=False)
    weights = prenorm(hidden, attention, gated_mlp("mlp", hidden, inner))
    return decoder(config, alike(config, "llama", weights, qwen_layer_types(config)))


def qwen3(config: Config) -> Architecture:
    """Qwen 3: each head of q and k normed."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = {
        **grouped_attention(config, config["attention_bias"]),
        **head_norms(config, "q_norm", "k_norm"),
    }
    weights = prenorm(hidden, attention, gated_mlp("mlp", hidden, inner))
    return decoder(config, alike(config, "qwen3", weights, qwen_layer_types(config)))


def hunyuan(config: Config) -> Architecture:
    """Hunyuan dense: each head of q and k normed, after the rotation."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = {
        **grouped_attention(config, config["attention_bias"]),
        **head_norms(config, "query_layernorm", "key_layernorm"),
    }
    weights = prenorm(hidden, attention, gated_mlp("mlp", hidden, inner))
    return decoder(config, alike(config, "hunyuan", weights, layer_types(config)))


def head_norms(config: Config, queries: str, keys: str, bias: bool = False) -> Weights:
    """Return the norms over each head of q and k."""
    head = config["head_dim"]
    return {
        **norm(f"self_attn.{queries}", head, bias),
        **norm(f"self_attn.{keys}", head, bias),
    }


def qwen_layer_types(config: Config) -> list[str]:
    """Return Qwen's kinds of layer: the first attend in full, the others may have a window."""
    if config.get("layer_types") is not None:
        return layer_types(config)
    count = config["num_hidden_layers"]
    full = min(config.get("max_window_layers", count), count)
    return [FULL] * full + [SLIDING] * (count - full)


def olmo2(config: Config) -> Architecture:
    """OLMo 2 and 3: norms after attention and MLP, and over the whole of q and of k.

    In OLMo 3 only every fourth layer attends in full.
    """
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    weights = {
        **grouped_attention(config, config["attention_bias"]),
        **norm("self_attn.q_norm", config["num_attention_heads"] * head),
        **norm("self_attn.k_norm", config["num_key_value_heads"] * head),
        **norm("post_attention_layernorm", hidden),
        **gated_mlp("mlp", hidden, inner),
        **norm("post_feedforward_layernorm", hidden),
    }
    every = 4 if config["model_type"] == "olmo3" else 1
    return decoder(config, alike(config, "olmo2", weights, layer_types(config, every)))


def phi(config: Config) -> Architecture:
    """Phi 1.5 and 2: one LayerNorm, attention and MLP side by side, biases everywhere."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    weights = {
        **norm("input_layernorm", hidden, bias=True),
        **grouped_attention(config, bias=True, out="dense"),
        **plain_mlp(("mlp.fc1", "mlp.fc2"), hidden, inner),
    }
    if config["qk_layernorm"]:
        weights |= head_norms(config, "q_layernorm", "k_layernorm", bias=True)
    layers = alike(config, "phi", weights, layer_types(config))
    return decoder(config, layers, last="final_layernorm", last_bias=True, head_bias=True)


def phi3(config: Config) -> Architecture:
    """Phi 3 and 4: q, k and v in one projection, gate and up in another."""
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    attention = {
        **linear("self_attn.qkv_proj", hidden, queries + 2 * keys),
        **linear("self_attn.o_proj", queries, hidden),
    }
    mlp = {
        **linear("mlp.gate_up_proj", hidden, 2 * inner),
        **linear("mlp.down_proj", inner, hidden),
    }
    kinds = [SLIDING] * config["num_hidden_layers"]
    return decoder(config, alike(config, "phi3", prenorm(hidden, attention, mlp), kinds))


def glm(config: Config) -> Architecture:
    """GLM 4: gate and up in one projection; GLM 4 0414 also norms behind both branches."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention = grouped_attention(config, config["attention_bias"], out_bias=False)
    mlp = {
        **linear("mlp.gate_up_proj", hidden, 2 * inner),
        **linear("mlp.down_proj", inner, hidden),
    }
    weights = prenorm(hidden, attention, mlp)
    block = config["model_type"]
    if block == "glm4":
        weights |= norm("post_self_attn_layernorm", hidden) | norm("post_mlp_layernorm", hidden)
    return decoder(config, alike(config, block, weights, layer_types(config)))


def stablelm(config: Config) -> Architecture:
    """StableLM 2 and StableLM-3B: Llama with LayerNorms, perhaps attention and MLP side by side."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    weights = {
        **norm("input_layernorm", hidden, bias=True),
        **grouped_attention(config, config["use_qkv_bias"], out_bias=False),
        **gated_mlp("mlp", hidden, inner),
    }
    if config["qk_layernorm"]:
        for name, heads in (("q", "num_attention_heads"), ("k", "num_key_value_heads")):
            for i in range(config[heads]):
                weights |= norm(f"self_attn.{name}_layernorm.norms.{i}", config["head_dim"])
    if config["use_parallel_residual"]:
        block = "stablelm_parallel"
    else:
        block = "stablelm"
        weights |= norm("post_attention_layernorm", hidden, bias=True)
    return decoder(config, alike(config, block, weights, layer_types(config)), last_bias=True)


def gpt_neox(config: Config) -> Architecture:
    """GPT-NeoX and Pythia: two LayerNorms of one input, attention and MLP side by side."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    biased = config["attention_bias"]
    weights = {
        **norm("input_layernorm", hidden, bias=True),
        **norm("post_attention_layernorm", hidden, bias=True),
        **linear("attention.query_key_value", hidden, 3 * hidden, biased),
        **linear("attention.dense", hidden, hidden, biased),
        **plain_mlp(("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), hidden, inner),
    }
    block = "gpt_neox" if config["use_parallel_residual"] else "gpt_neox_serial"
    layers = alike(config, block, weights, layer_types(config))
    return decoder(
        config,
        layers,
        stem="gpt_neox",
        tokens="embed_in",
        last="final_layer_norm",
        last_bias=True,
    )


def falcon(config: Config) -> Architecture:
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
        **plain_mlp(("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), hidden, inner, biased),
    }
    norms = config.get("num_ln_in_parallel_attn") or (2 if grouped else 1)
    if not config["parallel_attn"]:
        block, named = "falcon_serial", ["input_layernorm", "post_attention_layernorm"]
    elif norms == 2:
        block, named = "falcon_two_norms", ["ln_attn", "ln_mlp"]
    else:
        block, named = "falcon", ["input_layernorm"]
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


#: Of the families that are not known, those whose MLP has no gate.
UNGATED = {
    *("apertus", "bloom", "codegen", "gpt_neo", "gptj", "mpt", "nemotron", "opt", "persimmon"),
    "xglm",
}


def generic(config: Config) -> Architecture:
    """Return what an unknown family most likely is: Llama's layer, with what config.json names."""
    hidden, ungated = config["hidden_size"], config["model_type"] in UNGATED
    if "n_embd" in config or ungated:
        # Files in GPT-2's words leave the MLP's width out where it is the usual one.
        config = {"intermediate_size": 4 * hidden, **config}
    inner = config["intermediate_size"]
    biased = config.get("attention_bias", False)
    attention = grouped_attention(config, biased or config.get("qkv_bias", False), out_bias=biased)
    if ungated:
        mlp = plain_mlp(("mlp.up_proj", "mlp.down_proj"), hidden, inner, bias=False)
    else:
        mlp = gated_mlp("mlp", hidden, inner, config.get("mlp_bias", False))
    weights = prenorm(hidden, attention, mlp)
    block = "ungated" if ungated else "llama"
    return decoder(config, alike(config, block, weights, layer_types(config)))
