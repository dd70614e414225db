"""config.json -> Architecture: one short function a family, that lists its weights.

The names and shapes are those of transformers' own modules for the same config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ModelError
from .architecture import Architecture, LayerRun, Shape

Config = Mapping[str, Any]


def linear(name: str, inputs: int, outputs: int, bias: bool = False) -> dict[str, Shape]:
    """Return the weights of a ``torch.nn.Linear``."""
    weights: dict[str, Shape] = {f"{name}.weight": (outputs, inputs)}
    if bias:
        weights[f"{name}.bias"] = (outputs,)
    return weights


def decoder(config: Config, layers: tuple[LayerRun, ...], **found: Any) -> Architecture:
    """Return the architecture of a decoder with a token embedding, a last norm and an lm_head."""
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    outside: dict[str, Shape] = {
        "model.embed_tokens.weight": (vocab, hidden),
        "model.norm.weight": (hidden,),
    }
    if not config["tie_word_embeddings"]:
        outside["lm_head.weight"] = (vocab, hidden)
    return Architecture(config["model_type"], config, layers, outside, **found)


def grouped_attention(
    config: Config, qkv_bias: bool = False, o_bias: bool = False
) -> dict[str, Shape]:
    """Return the projections of grouped-query attention."""
    hidden, head = config["hidden_size"], config["head_dim"]
    queries = config["num_attention_heads"] * head
    keys = config["num_key_value_heads"] * head
    return {
        **linear("self_attn.q_proj", hidden, queries, qkv_bias),
        **linear("self_attn.k_proj", hidden, keys, qkv_bias),
        **linear("self_attn.v_proj", hidden, keys, qkv_bias),
        **linear("self_attn.o_proj", queries, hidden, o_bias),
    }


def gated_mlp(config: Config, bias: bool = False) -> dict[str, Shape]:
    """Return the gate, up and down projections of a SwiGLU-like MLP."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return {
        **linear("mlp.gate_proj", hidden, inner, bias),
        **linear("mlp.up_proj", hidden, inner, bias),
        **linear("mlp.down_proj", inner, hidden, bias),
    }


def llama(config: Config) -> Architecture:
    """Llama and its kin: Mistral, Qwen2, Granite 3, SmolLM2, TinyLlama."""
    biased = config.get("attention_bias", False)
    weights = {
        "input_layernorm.weight": (config["hidden_size"],),
        **grouped_attention(config, biased or config["model_type"] == "qwen2", biased),
        "post_attention_layernorm.weight": (config["hidden_size"],),
        **gated_mlp(config, config.get("mlp_bias", False)),
    }
    block = "granite" if config["model_type"] == "granite" else "llama"
    return decoder(config, (LayerRun(block, config["num_hidden_layers"], weights),))


#: model_type -> the function that lists its weights.
FAMILIES: dict[str, Callable[[Config], Architecture]] = {
    "llama": llama,
    "mistral": llama,
    "qwen2": llama,
    "granite": llama,
}

#: transformers' own defaults where a config.json leaves a field out.
TIED_BY_DEFAULT = {"granite": False, "llama": False, "mistral": False, "qwen2": False}


def from_config(config: Config) -> Architecture:
    """Return the architecture that a config.json describes.

    Parameters
    ----------
    config : mapping
        The parsed config.json.

    Raises
    ------
    ModelError
        If a dimension is missing or makes no sense.

    Examples
    --------
    >>> tiny = from_config({"model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    ...     "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100})
    >>> tiny.num_parameters
    95040
    """
    family = FAMILIES[config["model_type"]]
    filled = {
        "tie_word_embeddings": False,
        "num_key_value_heads": config["num_attention_heads"],
        "head_dim": config["hidden_size"] // config["num_attention_heads"],
        **{key: value for key, value in config.items() if value is not None},
    }
    try:
        return family(filled)
    except KeyError as missing:
        raise ModelError(f"config.json has no {missing}; is it a language model's?") from None
