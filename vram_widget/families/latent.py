"""Multi-head latent attention: DeepSeek V2, V3 and V3.2, and MiniCPM 3."""

from __future__ import annotations

from ..step.architecture import Architecture
from .moe import routed
from .parts.layers import Layer, alike, decoder, layer_types, prenorm, runs
from .parts.weights import Config, Weights, gated_mlp, linear, norm


def latent_attention(config: Config) -> Weights:
    """Return the low-rank projections of q and of k and v together."""
    hidden, heads, biased = (
        config["hidden_size"],
        config["num_attention_heads"],
        config["attention_bias"],
    )
    rotary, plain = config["qk_rope_head_dim"], config["qk_nope_head_dim"]
    value, rank = config["v_head_dim"], config["kv_lora_rank"]
    queries = heads * (plain + rotary)
    if q_rank := config.get("q_lora_rank"):
        weights = {
            **linear("self_attn.q_a_proj", hidden, q_rank, biased),
            **norm("self_attn.q_a_layernorm", q_rank),
            **linear("self_attn.q_b_proj", q_rank, queries),
        }
    else:
        weights = linear("self_attn.q_proj", hidden, queries)
    return {
        **weights,
        **linear("self_attn.kv_a_proj_with_mqa", hidden, rank + rotary, biased),
        **norm("self_attn.kv_a_layernorm", rank),
        **linear("self_attn.kv_b_proj", rank, heads * (plain + value)),
        **linear("self_attn.o_proj", heads * value, hidden, biased),
    }


def indexer(config: Config) -> Weights:
    """Return DeepSeek V3.2's indexer, which picks the tokens each query attends to."""
    hidden, heads, head = config["hidden_size"], config["index_n_heads"], config["index_head_dim"]
    return {
        **linear("self_attn.indexer.wq_b", config["q_lora_rank"], heads * head),
        **linear("self_attn.indexer.wk", hidden, head),
        **norm("self_attn.indexer.k_norm", head, bias=True),
        **linear("self_attn.indexer.weights_proj", hidden, heads),
    }


def deepseek(config: Config) -> Architecture:
    """DeepSeek V2 and V3: the first layers dense, the others with shared and routed experts."""
    return deepseek_layers(config, latent_attention(config), "deepseek")


def deepseek_v32(config: Config) -> Architecture:
    """DeepSeek V3.2: V3 with an indexer."""
    return deepseek_layers(config, latent_attention(config) | indexer(config), "deepseek_v32")


def deepseek_layers(config: Config, attention: Weights, block: str) -> Architecture:
    """Return DeepSeek's layers around one kind of attention."""
    hidden, inner = config["hidden_size"], config["moe_intermediate_size"]
    mlp = gated_mlp("mlp", hidden, config["intermediate_size"])
    shared = inner * (config.get("n_shared_experts") or 0)
    sparse = routed(config, inner) | gated_mlp("mlp.shared_experts", hidden, shared)
    plain = Layer(block, prenorm(hidden, attention, mlp))
    mixed = Layer(f"{block}_moe", prenorm(hidden, attention, sparse))
    first = config["first_k_dense_replace"]
    layers = runs(plain if i < first else mixed for i in range(config["num_hidden_layers"]))
    return decoder(config, layers)


def minicpm3(config: Config) -> Architecture:
    """MiniCPM 3: latent attention and a plain MLP, residual branches scaled."""
    hidden = config["hidden_size"]
    value = config.get("v_head_dim") or hidden // config["num_attention_heads"]
    config = {**config, "v_head_dim": value}
    mlp = gated_mlp("mlp", hidden, config["intermediate_size"])
    weights = prenorm(hidden, latent_attention(config), mlp)
    return decoder(config, alike(config, "minicpm3", weights, layer_types(config)))


def generic(config: Config) -> Architecture:
    """Return what an unknown family with latent attention most likely is: DeepSeek or MiniCPM."""
    config = {"attention_bias": False, "first_k_dense_replace": 0, **config}
    return deepseek(config) if config.get("num_experts") else minicpm3(config)
