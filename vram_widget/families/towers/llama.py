"""The vision tower of Llama 4."""

from __future__ import annotations

from ..parts.mlp import plain_mlp_weights
from ..parts.weights import Config, Weights, linear, norm
from .sizes import size


def llama4(own: Config, config: Config, text_hidden: int) -> Weights:
    """Return Llama 4's vision tower and the projection into its language model."""
    hidden, inner = size(own, "hidden_size", 768), size(own, "intermediate_size", 5632)
    patch, channels = size(own, "patch_size", 14), size(own, "num_channels", 3)
    inputs, outputs = (
        size(own, "projector_input_dim", 4096),
        size(own, "projector_output_dim", 4096),
    )
    patches = (size(own, "image_size", 448) // patch) ** 2
    stem = "vision_model"
    weights: Weights = {
        f"{stem}.class_embedding": (hidden,),
        f"{stem}.positional_embedding_vlm": (patches + 1, hidden),
        **linear(f"{stem}.patch_embedding.linear", channels * patch**2, hidden),
        **norm(f"{stem}.layernorm_pre", hidden, bias=True),
        **norm(f"{stem}.layernorm_post", hidden, bias=True),
        **linear(f"{stem}.vision_adapter.mlp.fc1", inner, inputs),
        **linear(f"{stem}.vision_adapter.mlp.fc2", outputs, outputs),
        **linear(
            "multi_modal_projector.linear_1", size(own, "vision_output_dim", 7680), text_hidden
        ),
    }
    for i in range(size(own, "num_hidden_layers", 34)):
        layer = f"{stem}.model.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            weights |= linear(f"{layer}.self_attn.{name}", hidden, hidden, bias=True)
        weights |= plain_mlp_weights((f"{layer}.mlp.fc1", f"{layer}.mlp.fc2"), hidden, inner)
        weights |= norm(f"{layer}.input_layernorm", hidden, bias=True)
        weights |= norm(f"{layer}.post_attention_layernorm", hidden, bias=True)
    return weights
