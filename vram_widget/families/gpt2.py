"""GPT-2 and what came of it: learned positions, a LayerNorm before attention and MLP."""

from __future__ import annotations

from dataclasses import replace

from ..step.architecture import Architecture, LayerRun
from .parts.layers import alike, decoder, layer_types
from .parts.weights import Config, Weights, linear, norm, plain_mlp


def gpt2(config: Config) -> Architecture:
    """GPT-2: linears stored the other way around (``Conv1D``)."""
    model = gpt(config, "gpt2", config["num_attention_heads"])
    return replace(model, layers=tuple(map(transposed, model.layers)))


def transposed(run: LayerRun) -> LayerRun:
    """Return layers that store every linear the other way around."""
    linears = frozenset(f"{name}.weight" for name in run.linears)
    weights = {
        name: shape[::-1] if name in linears else shape for name, shape in run.weights.items()
    }
    return replace(run, weights=weights, transposed=linears)


def gpt_bigcode(config: Config) -> Architecture:
    """GPT-BigCode (StarCoder): one key head for all queries, and a causal mask of its own."""
    model = gpt(
        config, "gpt_bigcode", 1 if config["multi_query"] else config["num_attention_heads"]
    )
    positions = config["max_position_embeddings"]
    return replace(model, masks={"transformer.bias": (positions, positions)})


def gpt(config: Config, block: str, keys: int) -> Architecture:
    """Return a model of either, every linear as `torch.nn.Linear` stores it."""
    hidden, head = config["hidden_size"], config["head_dim"]
    inner = config.get("n_inner") or 4 * hidden
    weights: Weights = {
        **norm("ln_1", hidden, bias=True),
        **linear("attn.c_attn", hidden, hidden + 2 * keys * head, bias=True),
        **linear("attn.c_proj", hidden, hidden, bias=True),
        **norm("ln_2", hidden, bias=True),
        **plain_mlp(("mlp.c_fc", "mlp.c_proj"), hidden, inner),
    }
    config = {**config, "num_key_value_heads": keys, "intermediate_size": inner}
    return decoder(
        config,
        alike(config, block, weights, layer_types(config)),
        stem="transformer",
        layers_in="h",
        tokens="wte",
        last="ln_f",
        last_bias=True,
        positions="wpe",
    )
