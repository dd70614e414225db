"""DeepSeek V2, V3 and V3.2: latent attention, and experts in all but the first layers."""

from __future__ import annotations

from ..step import ops
from ..step.context import Context
from ..step.decoder import Decoder
from ..step.family import Family
from ..step.layer import Layer
from ..step.norms import rms_norm
from ..step.tape import FLOAT32, Tensor
from .parts.experts import deepseek_moe, mostly_sparse
from .parts.indexer import indexer_weights
from .parts.latent import latent_attention, latent_attention_weights
from .parts.mlp import gated_mlp
from .parts.weights import Config


def deepseek_v2(config: Config) -> Decoder:
    """DeepSeek V2."""
    return mostly_sparse(config, latent_attention_weights(config), v2_layer, v2_moe_layer)


def deepseek_v3(config: Config) -> Decoder:
    """DeepSeek V3."""
    return mostly_sparse(config, latent_attention_weights(config), v3_layer, v3_moe_layer)


def deepseek_v32(config: Config) -> Decoder:
    """DeepSeek V3.2: V3 with an indexer."""
    attention = latent_attention_weights(config) | indexer_weights(config)
    return mostly_sparse(config, attention, v3_layer, v3_moe_layer)


def v2_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """The first layers of V2, which have a plain MLP."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = latent_attention(context, layer, x, as_complex)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    return ops.add(residual, gated_mlp(layer, x))


def v2_moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """The other layers of V2: routed experts, and some that every token goes to."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = latent_attention(context, layer, x, as_complex)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = deepseek_moe(context, layer, x, softmax)
    return ops.add(residual, x)


def v3_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """The first layers of V3 and V3.2."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = latent_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    return ops.add(residual, gated_mlp(layer, x))


def v3_moe_layer(context: Context, layer: Layer, x: Tensor) -> Tensor:
    """The other layers of V3 and V3.2."""
    residual = x
    x = rms_norm(layer, "input_layernorm", x)
    x = latent_attention(context, layer, x)
    x = ops.add(residual, x)
    residual = x
    x = rms_norm(layer, "post_attention_layernorm", x)
    x = deepseek_moe(context, layer, x)
    return ops.add(residual, x)


def as_complex(layer: Layer, context: Context, x: Tensor) -> Tensor:
    """Rotate pairs of features as complex numbers, in float32."""
    assert context.cos is not None
    return ops.to(ops.mul(ops.to(x, FLOAT32), context.cos), x.dtype)


def softmax(logits: Tensor) -> Tensor:
    """Score experts as V2 does."""
    return ops.softmax(logits, FLOAT32)


#: What transformers' config class of deepseek_v3 has where config.json leaves a field out.
DEEPSEEK_V3 = {
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "qk_nope_head_dim": 128,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "attention_bias": False,
}

FAMILIES = {
    "deepseek_v2": Family(
        deepseek_v2,
        {
            "vocab_size": 102400,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "hidden_act": "silu",
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            "attention_bias": False,
            "mlp_bias": False,
            "first_k_dense_replace": 0,
            "kv_lora_rank": 512,
            "q_lora_rank": 1536,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "moe_intermediate_size": 1407,
        },
    ),
    "deepseek_v3": Family(deepseek_v3, DEEPSEEK_V3),
    "deepseek_v32": Family(
        deepseek_v32,
        {
            **DEEPSEEK_V3,
            "max_position_embeddings": 163840,
            "index_head_dim": 128,
            "index_n_heads": 64,
            "mlp_bias": False,
            "head_dim": 64,
        },
        always_masked=True,
    ),
}
