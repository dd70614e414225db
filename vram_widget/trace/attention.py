"""Where transformers asks for values that fake tensors do not have, or for kernels of a package."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel, masking_utils

#: The name under which transformers finds `_flash_attention`. No mask function goes by it, so
#: transformers makes no mask, as for flash attention; and it does not hold the word "flash", at
#: which transformers looks for the package.
FLASH = "vram_widget_fused_attention"

_patching = threading.Lock()


@contextmanager
def without_packing() -> Iterator[None]:
    """Let transformers take fake position ids for those of whole, unpacked rows.

    It looks into the position ids for packed sequences, and where it cannot look it makes a mask
    for the worst case, with which attention runs another kernel. Real tensors, in other threads,
    are treated as ever; traces wait for each other.
    """
    with _patching:
        look = masking_utils.find_packed_sequence_indices

        def look_unless_fake(position_ids: torch.Tensor) -> torch.Tensor | None:
            return None if isinstance(position_ids, FakeTensor) else look(position_ids)

        masking_utils.find_packed_sequence_indices = look_unless_fake
        try:
            yield
        finally:
            masking_utils.find_packed_sequence_indices = look


def use_flash_attention(model: PreTrainedModel) -> None:
    """Let a model run flash attention, for which it would need the flash_attn package.

    PyTorch has the same kernel, and it makes and keeps the same tensors, but without sliding
    windows, soft-capping and sinks; those change no tensor's shape. A model that does not take
    attention functions (Falcon) is left with PyTorch's own choice.
    """
    AttentionInterface.register(FLASH, _flash_attention)
    if model._supports_attention_backend:
        model.set_attn_implementation(FLASH)


def _flash_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to all earlier positions; (batch, heads, length, width) in, heads third out."""
    grouped = query.shape[1] != key.shape[1]
    out = F.scaled_dot_product_attention(
        query, key, value, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
    )
    return out.transpose(1, 2).contiguous(), None
