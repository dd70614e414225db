"""Puts layers together: what kind each is, groups of equal ones, and what surrounds them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from ...errors import ModelError
from ...step.decoder import Block, Decoder, LayerGroup
from .weights import Config, Weights, embedding, linear, norm

FULL, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"


#: Names of older config.json files, and the ones transformers gives them now.
RENAMED = {"attention": FULL, "mamba": LINEAR, "chunked_attention": SLIDING}


#: Routers, experts' biases, norms by head: matrices that are no ``torch.nn.Linear``.
NOT_LINEAR = (
    *("mlp.gate.weight", "mlp.router.weight", "mixer.gate.weight"),
    *("self_attn.q_norm.weight", "self_attn.k_norm.weight"),
    *("block_sparse_moe.router.weight", "gate_up_proj_bias", "down_proj_bias"),
)


class DecoderLayer(NamedTuple):
    """One decoder layer: the block it runs, its weights, how far its attention reaches."""

    block: Block
    weights: Weights
    sliding_window: int | None = None


def grouped(layers: Iterable[DecoderLayer]) -> tuple[LayerGroup, ...]:
    """Return the layers in order, equal neighbours merged."""
    return tuple(
        LayerGroup(
            layer.block,
            len(list(alike)),
            layer.weights,
            layer.sliding_window,
            frozenset(name for name in layer.weights if name.endswith(NOT_LINEAR)),
        )
        for layer, alike in groupby(layers)
    )


def layer_types(config: Config, every: int | None = 1, others: str = SLIDING) -> list[str]:
    """Return the kind of each layer: as config.json lists them, or by the family's pattern.

    The pattern makes each `every`-th layer a full attention and the `others` of another kind;
    None makes none a full attention.

    Raises
    ------
    ModelError
        If config.json's list is not one word for each layer.
    """
    count, listed = config["num_hidden_layers"], config.get("layer_types")
    if listed is None:
        return [FULL if every and (i + 1) % every == 0 else others for i in range(count)]
    words = [RENAMED.get(kind, kind) for kind in listed if isinstance(kind, str)]
    if len(words) != count or len(listed) != count:
        raise ModelError(
            f"config.json's layer_types must be a list of {count} words, "
            "one for each of num_hidden_layers; correct it."
        )
    return words


def window(config: Config, kind: str) -> int | None:
    """Return how far attention reaches back in a layer of this kind; None is all the way."""
    if kind != SLIDING or not config.get("use_sliding_window", True):
        return None
    return config.get("sliding_window") or None


def alike(
    config: Config, block: Block, weights: Weights, kinds: list[str]
) -> tuple[LayerGroup, ...]:
    """Return layers that differ in nothing but how far their attention reaches."""
    return grouped(DecoderLayer(block, weights, window(config, kind)) for kind in kinds)


def in_order(
    config: Config, of_kind: dict[str, DecoderLayer], kinds: list[str]
) -> tuple[LayerGroup, ...]:
    """Return the layer that stands for each of `kinds`."""
    for kind in kinds:
        if kind not in of_kind:
            raise ModelError(
                f"config.json's layer_types has {kind[:40]!r}, which {config['model_type']} does "
                f"not know; it knows {', '.join(of_kind)}."
            )
    return grouped(of_kind[kind] for kind in kinds)


def prenorm(hidden: int, attention: Weights, mlp: Weights) -> Weights:
    """Return a layer that norms, attends, norms, and runs an MLP."""
    return {
        **norm("input_layernorm", hidden),
        **attention,
        **norm("post_attention_layernorm", hidden),
        **mlp,
    }


def decoder(
    config: Config,
    layers: tuple[LayerGroup, ...],
    *,
    stem: str = "model",
    layers_in: str = "layers",
    tokens: str = "embed_tokens",
    last: str = "norm",
    last_bias: bool = False,
    head_bias: bool = False,
    positions: str = "",
    more: Weights | None = None,
) -> Decoder:
    """Return a decoder: a token embedding, layers, a last norm and an lm_head.

    The names are Llama's unless said; `positions` names a table of learned positions, `more` are
    other weights outside the layers that only some have.
    """
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    outside = {
        **embedding(f"{stem}.{tokens}", vocab, hidden),
        **(
            embedding(f"{stem}.{positions}", config["max_position_embeddings"], hidden)
            if positions
            else {}
        ),
        **(more or {}),
        **norm(f"{stem}.{last}", hidden, last_bias),
    }
    if not config["tie_word_embeddings"]:
        outside |= linear("lm_head", hidden, vocab, head_bias)
    elif head_bias:
        outside["lm_head.bias"] = (vocab,)
    return Decoder(
        config,
        layers,
        outside,
        layers_name=f"{stem}.{layers_in}",
        embedding_name=f"{stem}.{tokens}",
        norm_name=f"{stem}.{last}",
        positions_name=f"{stem}.{positions}" if positions else "",
    )
