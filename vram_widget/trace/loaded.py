"""What a trainer's loader does to a model before it trains."""

from __future__ import annotations

import torch
from peft import prepare_model_for_kbit_training
from torch import nn
from transformers import PreTrainedModel

from ..config import TrainingConfig

#: The modules of `get_linear_embedding_layers` (loaders/utils.py), families with other names aside.
EMBEDDINGS = ("embed_tokens", "lm_head")


def cast_as_axolotl(model: PreTrainedModel, config: TrainingConfig) -> None:
    """Cast modules as Axolotl does on one GPU (``_configure_embedding_dtypes``, loaders/model.py).

    Norms, routers and embeddings to float32; on a quantised base PEFT's preparation; norms and
    embeddings back, for adapters and for flash attention.
    """
    for name, module in model.named_modules():
        if "norm" in name or name.endswith(".gate") or _is_embedding(name, module):
            module.to(torch.float32)
    if config.training_method == "qlora":
        prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if config.adapts or config.attn_implementation == "flash_attention_2":
        for name, module in model.named_modules():
            if "norm" in name or _is_embedding(name, module):
                module.to(getattr(torch, config.param_dtype))


def _is_embedding(name: str, module: nn.Module) -> bool:
    return any(each in name for each in EMBEDDINGS) and hasattr(module, "weight")
