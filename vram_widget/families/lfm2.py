"""LFM2: gated short convolutions, and attention with normed heads in some layers."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import per_head, rms_norm
from ..step.tape import Tensor
from .parts.attention import attend, attention_weights, rotary
from .parts.layers import FULL, DecoderLayer, decoder, in_order, layer_types
from .parts.mamba import convolve
from .parts.weights import Config, convolution, head_norms, linear, norm

CONVOLUTION = "conv"


def lfm2(config: Config) -> Decoder:
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
        **attention_weights(config, out="out_proj"),
        **head_norms(config, "q_layernorm", "k_layernorm"),
    }
    of_kind = {
        CONVOLUTION: DecoderLayer(convolution_layer, around | short),
        FULL: DecoderLayer(attention_layer, around | attention),
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


def convolution_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """A layer that mixes tokens by a short convolution between two gates."""
    residual = x
    x = short_convolution(context, layer, rms_norm(layer, "operator_norm", x))
    x = ops.add(x, residual)
    return ops.add(x, feed_forward(layer, rms_norm(layer, "ffn_norm", x)))


def attention_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """A layer that attends, with queries and keys normalised head by head."""
    residual = x
    x = lfm2_attention(context, layer, rms_norm(layer, "operator_norm", x))
    x = ops.add(x, residual)
    return ops.add(x, feed_forward(layer, rms_norm(layer, "ffn_norm", x)))


def short_convolution(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """out(C * conv(B * x)), where B, C and x are parts of one projection."""
    b, c, x = ops.split(layer.linear("conv.in_proj", x), 3)
    layer.begin("conv")
    x = ops.mul(b, x, "gated input")
    x = convolve(context, layer, "conv.conv", x, activates=False)
    y = ops.mul(c, x, "gated output")
    return layer.linear("conv.out_proj", y)


def lfm2_attention(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """Grouped attention with a norm on each head of queries and keys."""
    q = layer.linear("self_attn.q_proj", x)
    q = per_head(rms_norm, layer, "self_attn.q_layernorm", q, context.head_dim)
    k = layer.linear("self_attn.k_proj", x)
    k = per_head(rms_norm, layer, "self_attn.k_layernorm", k, context.head_dim)
    v = layer.linear("self_attn.v_proj", x)
    layer.begin("self_attn")
    q, k = rotary(layer, context, q), rotary(layer, context, k)
    out = attend(context, q, k, v)
    return layer.linear("self_attn.out_proj", out)


def feed_forward(layer: Layer, x: Tensor) -> Tensor:
    """w2(silu(w1(x)) * w3(x))."""
    layer.begin("feed_forward")
    gate = ops.activation(layer.linear("feed_forward.w1", x), "silu(w1)")
    product = ops.mul(gate, layer.linear("feed_forward.w3", x), "silu(w1) * w3")
    del gate
    return layer.linear("feed_forward.w2", product)


FAMILIES = {
    "lfm2": Family(
        lfm2,
        {
            "vocab_size": 65536,
            "hidden_size": 2560,
            "intermediate_size": 12288,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 128000,
            "tie_word_embeddings": True,
            "conv_bias": False,
            "conv_L_cache": 3,
            "block_multiple_of": 256,
            "block_ffn_dim_multiplier": 1.0,
            "block_auto_adjust_ff_dim": True,
        },
    ),
}
