"""The vision tower of Mistral 3."""

from __future__ import annotations

from ..parts.mlp import gated_mlp_weights
from ..parts.weights import Config, Weights, linear, norm
from .sizes import size


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
        weights |= gated_mlp_weights(f"{layer}.feed_forward", hidden, inner)
    return weights
