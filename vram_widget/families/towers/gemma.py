"""The vision and audio towers of Gemma 3 and 4."""

from __future__ import annotations

from ..fields import whole, wrong
from ..parts.mlp import plain_mlp_weights
from ..parts.weights import Config, Weights, convolution, embedding, linear, norm
from .sizes import size


def siglip(stem: str, own: Config) -> Weights:
    """Return a SigLIP vision tower."""
    hidden, inner = size(own, "hidden_size", 768), size(own, "intermediate_size", 3072)
    patch, channels = size(own, "patch_size", 16), size(own, "num_channels", 3)
    weights: Weights = {
        f"{stem}.embeddings.patch_embedding.weight": (hidden, channels, patch, patch),
        f"{stem}.embeddings.patch_embedding.bias": (hidden,),
        **embedding(
            f"{stem}.embeddings.position_embedding",
            (size(own, "image_size", 224) // patch) ** 2,
            hidden,
        ),
    }
    for i in range(size(own, "num_hidden_layers", 12)):
        layer = f"{stem}.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            weights |= linear(f"{layer}.self_attn.{name}", hidden, hidden, bias=True)
        weights |= norm(f"{layer}.layer_norm1", hidden, bias=True)
        weights |= norm(f"{layer}.layer_norm2", hidden, bias=True)
        weights |= plain_mlp_weights((f"{layer}.mlp.fc1", f"{layer}.mlp.fc2"), hidden, inner)
    weights |= norm(f"{stem}.post_layernorm", hidden, bias=True)
    if own.get("vision_use_head", True):
        head = f"{stem}.head"
        weights[f"{head}.probe"] = (1, 1, hidden)
        weights[f"{head}.attention.in_proj_weight"] = (3 * hidden, hidden)
        weights[f"{head}.attention.in_proj_bias"] = (3 * hidden,)
        weights |= linear(f"{head}.attention.out_proj", hidden, hidden, bias=True)
        weights |= norm(f"{head}.layernorm", hidden, bias=True)
        weights |= plain_mlp_weights((f"{head}.mlp.fc1", f"{head}.mlp.fc2"), hidden, inner)
    return weights


def gemma3(own: Config, config: Config, text_hidden: int) -> Weights:
    """Return Gemma 3's SigLIP and the projection into its language model."""
    hidden, projector = size(own, "hidden_size", 768), "model.multi_modal_projector"
    return {
        **siglip("model.vision_tower", own),
        f"{projector}.mm_input_projection_weight": (hidden, text_hidden),
        **norm(f"{projector}.mm_soft_emb_norm", hidden),
    }


def gemma4(own: Config, config: Config, text_hidden: int) -> Weights:
    """Return Gemma 4's vision tower and the projection into its language model."""
    hidden, inner = size(own, "hidden_size", 768), size(own, "intermediate_size", 3072)
    heads, groups = size(own, "num_attention_heads", 12), size(own, "num_key_value_heads", 12)
    head, patch = size(own, "head_dim", 64), size(own, "patch_size", 16)
    stem = "model.vision_tower"
    positions = (2, size(own, "position_embedding_size", 10240), hidden)
    weights: Weights = {
        **linear(f"{stem}.patch_embedder.input_proj", 3 * patch**2, hidden),
        f"{stem}.patch_embedder.position_embedding_table": positions,
        **linear("model.embed_vision.embedding_projection", hidden, text_hidden),
    }
    for i in range(size(own, "num_hidden_layers", 16)):
        layer = f"{stem}.encoder.layers.{i}"
        weights |= linear(f"{layer}.self_attn.q_proj.linear", hidden, heads * head)
        weights |= linear(f"{layer}.self_attn.k_proj.linear", hidden, groups * head)
        weights |= linear(f"{layer}.self_attn.v_proj.linear", hidden, groups * head)
        weights |= linear(f"{layer}.self_attn.o_proj.linear", heads * head, hidden)
        weights |= norm(f"{layer}.self_attn.q_norm", head)
        weights |= norm(f"{layer}.self_attn.k_norm", head)
        for name in ("gate_proj", "up_proj"):
            weights |= linear(f"{layer}.mlp.{name}.linear", hidden, inner)
        weights |= linear(f"{layer}.mlp.down_proj.linear", inner, hidden)
        for place in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            weights |= norm(f"{layer}.{place}_layernorm", hidden)
    return weights


def gemma4_audio(own: Config, config: Config, text_hidden: int) -> Weights:
    """Return Gemma 4's audio tower (a conformer) and the projection into its language model."""
    hidden, outputs = size(own, "hidden_size", 1024), size(own, "output_proj_dims", 1536)
    channels = own.get("subsampling_conv_channels", [128, 32])
    if not isinstance(channels, list) or len(channels) != 2 or not all(map(whole, channels)):
        raise wrong("subsampling_conv_channels", channels, "a list of two whole numbers")
    first, second = channels
    stem = "model.audio_tower"
    sampling = f"{stem}.subsample_conv_projection"
    weights: Weights = {
        f"{sampling}.layer0.conv.weight": (first, 1, 3, 3),
        **norm(f"{sampling}.layer0.norm", first),
        f"{sampling}.layer1.conv.weight": (second, first, 3, 3),
        **norm(f"{sampling}.layer1.norm", second),
        **linear(f"{sampling}.input_proj_linear", first // 4 * second, hidden),
        **linear(f"{stem}.output_proj", hidden, outputs, bias=True),
        **linear("model.embed_audio.embedding_projection", outputs, text_hidden),
    }
    for i in range(size(own, "num_hidden_layers", 12)):
        weights |= conformer(f"{stem}.layers.{i}", own, hidden)
    return weights


def conformer(name: str, own: Config, hidden: int) -> Weights:
    """Return one layer of Gemma 4's audio tower."""
    attention, local = f"{name}.self_attn", f"{name}.lconv1d"
    head = hidden // size(own, "num_attention_heads", 8)
    weights: Weights = {f"{attention}.per_dim_scale": (head,)}
    for projection in ("q_proj.linear", "k_proj.linear", "v_proj.linear", "post.linear"):
        weights |= linear(f"{attention}.{projection}", hidden, hidden)
    weights |= linear(f"{attention}.relative_k_proj", hidden, hidden)
    for place in ("feed_forward1", "feed_forward2"):
        inner = (f"{name}.{place}.ffw_layer_1.linear", f"{name}.{place}.ffw_layer_2.linear")
        weights |= plain_mlp_weights(inner, hidden, 4 * hidden, bias=False)
        weights |= norm(f"{name}.{place}.pre_layer_norm", hidden)
        weights |= norm(f"{name}.{place}.post_layer_norm", hidden)
    weights |= linear(f"{local}.linear_start.linear", hidden, 2 * hidden)
    weights |= linear(f"{local}.linear_end.linear", hidden, hidden)
    kernel = size(own, "conv_kernel_size", 5)
    weights |= convolution(f"{local}.depthwise_conv1d", hidden, kernel, bias=False)
    weights |= norm(f"{local}.pre_layer_norm", hidden) | norm(f"{local}.conv_norm", hidden)
    for place in ("norm_pre_attn", "norm_post_attn", "norm_out"):
        weights |= norm(f"{name}.{place}", hidden)
    return weights
