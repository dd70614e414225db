"""GPT-2, and GPT-BigCode (StarCoder), whose queries all have one key."""

from __future__ import annotations

from dataclasses import replace

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder, LayerGroup
from ..step.family import Family, no_rotary_features
from ..step.layer import Layer
from ..step.norms import layer_norm
from ..step.tape import Tensor
from .parts.attention import attend
from .parts.layers import alike, decoder, layer_types
from .parts.mlp import plain_mlp, plain_mlp_weights
from .parts.weights import Config, Weights, linear, norm


def gpt2(config: Config) -> Decoder:
    """GPT-2: linears stored the other way around (``Conv1D``)."""
    model = gpt(config, config["num_attention_heads"])
    return replace(model, layers=tuple(map(transposed, model.layers)))


def transposed(group: LayerGroup) -> LayerGroup:
    """Return layers that store every linear the other way around."""
    linears = frozenset(f"{name}.weight" for name in group.linears)
    weights = {
        name: shape[::-1] if name in linears else shape for name, shape in group.weights.items()
    }
    return replace(group, weights=weights, transposed=linears)


def gpt_bigcode(config: Config) -> Decoder:
    """GPT-BigCode (StarCoder): one key head for all queries, and a causal mask of its own."""
    model = gpt(config, 1 if config["multi_query"] else config["num_attention_heads"])
    positions = config["max_position_embeddings"]
    return replace(model, masks={"transformer.bias": (positions, positions)})


def gpt(config: Config, keys: int) -> Decoder:
    """Return a model of either, every linear as `torch.nn.Linear` stores it."""
    hidden, head = config["hidden_size"], config["head_dim"]
    inner = config.get("n_inner") or 4 * hidden
    weights: Weights = {
        **norm("ln_1", hidden, bias=True),
        **linear("attn.c_attn", hidden, hidden + 2 * keys * head, bias=True),
        **linear("attn.c_proj", hidden, hidden, bias=True),
        **norm("ln_2", hidden, bias=True),
        **plain_mlp_weights(("mlp.c_fc", "mlp.c_proj"), hidden, inner),
    }
    config = {**config, "num_key_value_heads": keys, "intermediate_size": inner}
    return decoder(
        config,
        alike(config, gpt2_layer, weights, layer_types(config)),
        stem="transformer",
        layers_in="h",
        tokens="wte",
        last="ln_f",
        last_bias=True,
        positions="wpe",
    )


def gpt2_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """GPT-2 and GPT-BigCode (StarCoder): learned positions, dropout behind both branches."""
    drops = context.config["resid_pdrop"] > 0
    residual = x
    x = layer_norm(layer, "ln_1", x)
    attended = attention(context, layer, x)
    if drops:
        attended = ops.dropout(attended)
    x = ops.add(attended, residual)
    residual = x
    x = layer_norm(layer, "ln_2", x)
    fed = plain_mlp(layer, x, "mlp.c_fc", "mlp.c_proj", context.config["hidden_act"])
    if drops:
        fed = ops.dropout(fed)
    return ops.add(residual, fed)


def attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Attention on views of one projection."""
    qkv = layer.linear("attn.c_attn", x)
    layer.begin("attn")
    queries = context.heads * context.head_dim
    keys = (qkv.width - queries) // 2
    q, k, v = ops.split_widths(qkv, queries, keys, keys)
    out = attend(context, q, k, v)
    return layer.linear("attn.c_proj", out)


#: What transformers' config class of gpt2 has where config.json leaves a field out.
GPT2 = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "activation_function": "gelu_new",
    "attn_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "resid_pdrop": 0.1,
    "tie_word_embeddings": True,
}

FAMILIES = {
    "gpt2": Family(
        gpt2, GPT2, norm=layer_norm, rotary_features=no_rotary_features, float32_softmax=False
    ),
    "gpt_bigcode": Family(
        gpt_bigcode,
        {**GPT2, "activation_function": "gelu_pytorch_tanh", "multi_query": True},
        norm=layer_norm,
        rotary_features=no_rotary_features,
    ),
}
