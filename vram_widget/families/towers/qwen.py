"""The vision towers of Qwen 2.5 VL, Qwen 3 VL and Qwen 3.5."""

from __future__ import annotations

from ..fields import wrong
from ..parts.mlp import gated_mlp_weights, plain_mlp_weights
from ..parts.weights import Config, Weights, embedding, linear, norm
from .sizes import size


def qwen2_5_vl(own: Config, config: Config, text_hidden: int) -> Weights:
    """Return Qwen 2.5 VL's vision tower."""
    hidden, inner = size(own, "hidden_size", 3584), size(own, "intermediate_size", 3420)
    merged = hidden * size(own, "spatial_merge_size", 2) ** 2
    weights = qwen_patches(own, hidden, patch=14, bias=False)
    for i in range(size(own, "depth", 32)):
        block = f"model.visual.blocks.{i}"
        weights |= norm(f"{block}.norm1", hidden) | norm(f"{block}.norm2", hidden)
        weights |= qwen_vision_attention(block, hidden)
        weights |= gated_mlp_weights(f"{block}.mlp", hidden, inner, bias=True)
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
        weights |= plain_mlp_weights(
            (f"{block}.mlp.linear_fc1", f"{block}.mlp.linear_fc2"), hidden, inner
        )
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
