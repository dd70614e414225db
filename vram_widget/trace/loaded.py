"""What a trainer's loader does to a model before it trains."""

from __future__ import annotations

import torch
from peft import prepare_model_for_kbit_training
from torch import nn
from transformers import PreTrainedModel

from ..config import TrainingConfig

#: model_type -> the modules of `get_linear_embedding_layers` (loaders/utils.py).
EMBEDDINGS = {"gpt_neox": ("embed_in", "embed_out"), "falcon": ("word_embeddings", "lm_head")}
USUAL_EMBEDDINGS = ("embed_tokens", "lm_head")


def cast_as_axolotl(model: PreTrainedModel, config: TrainingConfig) -> None:
    """Cast modules as Axolotl does on one GPU (``_configure_embedding_dtypes``, loaders/model.py).

    Norms, routers and embeddings to float32; on a quantised base PEFT's preparation; norms and
    embeddings back, for adapters and for flash attention.
    """
    embeddings = EMBEDDINGS.get(model.config.model_type, USUAL_EMBEDDINGS)

    def is_embedding(name: str, module: nn.Module) -> bool:
        return any(each in name for each in embeddings) and hasattr(module, "weight")

    for name, module in model.named_modules():
        if "norm" in name or name.endswith(".gate") or is_embedding(name, module):
            module.to(torch.float32)
    if config.training_method == "qlora":
        prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if config.adapts or config.attn_implementation == "flash_attention_2":
        for name, module in model.named_modules():
            if "norm" in name or is_embedding(name, module):
                module.to(getattr(torch, config.param_dtype))
