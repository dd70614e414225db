"""The other towers of a multimodal model: weights that are held, but not run on text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..architecture import Architecture
from .fields import LARGEST_DIMENSION, MOST_LAYERS, whole, wrong
from .weights import Config, Weights, embedding, gated_mlp, linear, norm, plain_mlp


def around(language: Architecture, config: Config, outer: str) -> Architecture:
    """Return a multimodal model: its language model renamed, its other towers added."""
    # transformers builds Llama 4 from two whole models; all others share one stem.
    stem = "language_model.model" if outer == "llama4" else "model.language_model"
    head = "language_model.lm_head" if outer == "llama4" else "lm_head"

    def renamed(name: str) -> str:
        if name.startswith("lm_head."):
            return f"{head}.{name.removeprefix('lm_head.')}"
        return f"{stem}.{name.removeprefix('model.')}"

    towers: Weights = {}
    notices = language.notices
    for part in ("vision_config", "audio_config"):
        own = config.get(part)
        if not isinstance(own, Mapping):
            continue
        build = TOWERS.get((outer, part))
        if build is None:
            notices += (f"The weights that {part} describes are not counted.",)
        else:
            towers |= build(own, config, language.hidden_size)
    return replace(
        language,
        outside={renamed(name): shape for name, shape in language.outside.items()},
        towers=towers,
        notices=notices,
        layers_name=renamed(language.layers_name),
        embedding_name=renamed(language.embedding_name),
        norm_name=renamed(language.norm_name),
        lm_head_name=head,
    )


def size(own: Config, name: str, default: int) -> int:
    """Return a dimension of a tower; what is left out has transformers' default."""
    value = own.get(name, default)
    most = MOST_LAYERS if name in ("depth", "num_hidden_layers") else LARGEST_DIMENSION
    if not whole(value, 1, most):
        raise wrong(name, value, f"a whole number between 1 and {most:,}")
    return value


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
        weights |= plain_mlp((f"{layer}.mlp.fc1", f"{layer}.mlp.fc2"), hidden, inner)
    weights |= norm(f"{stem}.post_layernorm", hidden, bias=True)
    if own.get("vision_use_head", True):
        head = f"{stem}.head"
        weights[f"{head}.probe"] = (1, 1, hidden)
        weights[f"{head}.attention.in_proj_weight"] = (3 * hidden, hidden)
        weights[f"{head}.attention.in_proj_bias"] = (3 * hidden,)
        weights |= linear(f"{head}.attention.out_proj", hidden, hidden, bias=True)
        weights |= norm(f"{head}.layernorm", hidden, bias=True)
        weights |= plain_mlp((f"{head}.mlp.fc1", f"{head}.mlp.fc2"), hidden, inner)
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


def qwen2_5_vl(own: Config, config: Config, text_hidden: int) -> Weights:
    """Return Qwen 2.5 VL's vision tower."""
    hidden, inner = size(own, "hidden_size", 3584), size(own, "intermediate_size", 3420)
    merged = hidden * size(own, "spatial_merge_size", 2) ** 2
    weights = qwen_patches(own, hidden, patch=14, bias=False)
    for i in range(size(own, "depth", 32)):
        block = f"model.visual.blocks.{i}"
        weights |= norm(f"{block}.norm1", hidden) | norm(f"{block}.norm2", hidden)
        weights |= qwen_vision_attention(block, hidden)
        weights |= gated_mlp(f"{block}.mlp", hidden, inner, bias=True)
    weights |= norm("model.visual.merger.ln_q", hidden)
    weights |= linear("model.visual.merger.mlp.0", merged, merged, bias=True)
    return weights | linear(
        "model.visual.merger.mlp.2", merged, size(own, "out_hidden_size", 3584), bias=True
    )


def qwen3_vl(own: Config, config: Config, text_hidden: int) -> Weights:
    """Return the vision tower of Qwen 3 VL and, without its deep stack, of Qwen 3.5."""
    hidden, inner = size(own, "hidden_size", 1152), size(own, "intermediate_size", 4304)
    visual = "model.visual"
    weights = qwen_patches(own, hidden, patch=16, bias=True)
    positions = size(own, "num_position_embeddings", 2304)
    weights |= embedding(f"{visual}.pos_embed", positions, hidden)
    for i in range(size(own, "depth", 27)):
        block = f"{visual}.blocks.{i}"
        weights |= norm(f"{block}.norm1", hidden, bias=True)
        weights |= norm(f"{block}.norm2", hidden, bias=True)
        weights |= qwen_vision_attention(block, hidden)
        weights |= plain_mlp((f"{block}.mlp.linear_fc1", f"{block}.mlp.linear_fc2"), hidden, inner)
    weights |= qwen3_merger(f"{visual}.merger", own, normed=hidden)
    merged = hidden * size(own, "spatial_merge_size", 2) ** 2
    if str(config.get("model_type")).startswith("qwen3_vl"):
        stacked = own.get("deepstack_visual_indexes", [8, 16, 24])
        if not isinstance(stacked, list):
            raise wrong("deepstack_visual_indexes", stacked, "a list of layers")
        for i in range(len(stacked)):
            weights |= qwen3_merger(f"{visual}.deepstack_merger_list.{i}", own, normed=merged)
    return weights


def qwen3_merger(name: str, own: Config, normed: int) -> Weights:
    """Return what joins neighbouring patches and brings them to the language model's width."""
    merged = size(own, "hidden_size", 1152) * size(own, "spatial_merge_size", 2) ** 2
    return {
        **norm(f"{name}.norm", normed, bias=True),
        **linear(f"{name}.linear_fc1", merged, merged, bias=True),
        **linear(f"{name}.linear_fc2", merged, size(own, "out_hidden_size", 3584), bias=True),
    }


def qwen_patches(own: Config, hidden: int, patch: int, bias: bool) -> Weights:
    """Return the convolution that makes patches of images and frames."""
    side, frames = size(own, "patch_size", patch), size(own, "temporal_patch_size", 2)
    channels = size(own, "in_channels", 3)
    name = "model.visual.patch_embed.proj"
    weights: Weights = {f"{name}.weight": (hidden, channels, frames, side, side)}
    return weights | {f"{name}.bias": (hidden,)} if bias else weights


def qwen_vision_attention(block: str, hidden: int) -> Weights:
    """Return the fused attention of Qwen's vision towers."""
    return {
        **linear(f"{block}.attn.qkv", hidden, 3 * hidden, bias=True),
        **linear(f"{block}.attn.proj", hidden, hidden, bias=True),
    }


def mistral3(own: Config, config: Config, text_hidden: int) -> Weights:
    """Return Mistral 3's Pixtral tower and the projection into its language model."""
    hidden, inner = size(own, "hidden_size", 1024), size(own, "intermediate_size", 4096)
    patch, channels = size(own, "patch_size", 16), size(own, "num_channels", 3)
    stem, projector = "model.vision_tower", "model.multi_modal_projector"
    biased = bool(config.get("multimodal_projector_bias", False))
    merged = hidden * size(config, "spatial_merge_size", 2) ** 2
    weights: Weights = {
        f"{stem}.patch_conv.weight": (hidden, channels, patch, patch),
        **norm(f"{stem}.ln_pre", hidden),
        **norm(f"{projector}.norm", hidden),
        **linear(f"{projector}.patch_merger.merging_layer", merged, hidden),
        **linear(f"{projector}.linear_1", hidden, text_hidden, biased),
        **linear(f"{projector}.linear_2", text_hidden, text_hidden, biased),
    }
    for i in range(size(own, "num_hidden_layers", 24)):
        layer = f"{stem}.transformer.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            weights |= linear(f"{layer}.attention.{name}", hidden, hidden)
        weights |= norm(f"{layer}.attention_norm", hidden) | norm(f"{layer}.ffn_norm", hidden)
        weights |= gated_mlp(f"{layer}.feed_forward", hidden, inner)
    return weights


Tower = Callable[[Mapping[str, Any], Config, int], Weights]

#: The towers that are counted, by the model_type and the part of config.json that describes them.
TOWERS: dict[tuple[str, str], Tower] = {
    ("gemma3", "vision_config"): gemma3,
    ("gemma4", "vision_config"): gemma4,
    ("mistral3", "vision_config"): mistral3,
    ("qwen2_5_vl", "vision_config"): qwen2_5_vl,
    ("qwen3_5", "vision_config"): qwen3_vl,
    ("qwen3_5_moe", "vision_config"): qwen3_vl,
    ("qwen3_vl", "vision_config"): qwen3_vl,
    ("qwen3_vl_moe", "vision_config"): qwen3_vl,
}
