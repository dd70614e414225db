"""Which of Liger's kernels a run really gets, by family and trainer (liger-kernel 0.8)."""

from __future__ import annotations

from ..trainers import TRAINERS

#: Families that Liger has kernels for, by model_type (MODEL_TYPE_TO_APPLY_LIGER_FN in
#: liger_kernel/transformers/monkey_patch.py). For any other the trainers go on without it.
FAMILIES = {
    "deepseek_v2",
    "deepseek_v3",
    "exaone4",
    "falcon_h1",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "gemma4",
    "gemma4_text",
    "glm4",
    "gpt_oss",
    "granite",
    "hunyuan_v1_dense",
    "hunyuan_v1_moe",
    "llama",
    "llama4",
    "llama4_text",
    "ministral",
    "mistral",
    "mixtral",
    "nemotron",
    "olmo2",
    "olmo3",
    "phi3",
    "qwen2",
    "qwen2_5_vl",
    "qwen2_5_vl_text",
    "qwen2_vl",
    "qwen2_vl_text",
    "qwen3",
    "qwen3_5",
    "qwen3_5_moe",
    "qwen3_5_moe_text",
    "qwen3_5_text",
    "qwen3_moe",
    "qwen3_next",
    "qwen3_vl",
    "qwen3_vl_moe",
    "qwen3_vl_moe_text",
    "qwen3_vl_text",
    "smollm3",
}

#: Granite scales its logits, so that Liger cannot skip making them: apply_liger_kernel_to_granite
#: takes its cross-entropy, which works in place, and refuses the fused linear one.
MAKES_LOGITS = {"granite"}


def kernels(
    use_liger: bool, loss_kernel: str, model_type: str, trainer: str, training_method: str
) -> tuple[bool, str]:
    """Return whether a run gets Liger's kernels, and its loss kernel.

    Examples
    --------
    >>> kernels(True, "eager", "llama", "trl", "sft"), kernels(True, "eager", "gpt2", "trl", "sft")
    ((True, 'liger'), (False, 'eager'))
    >>> kernels(True, "eager", "granite", "trl", "sft")
    (True, 'fused')
    >>> kernels(False, "chunked", "llama", "torchtune", "sft")
    (False, 'saved_parts')
    """
    if loss_kernel == "chunked" and TRAINERS[trainer].saves_parts_of_loss:
        loss_kernel = "saved_parts"
    if not use_liger or model_type not in FAMILIES:
        return False, loss_kernel
    if loss_kernel == "cut":  # Axolotl's plugin, which takes Liger's place in the loss
        return True, loss_kernel
    asked_for = training_method in TRAINERS[trainer].liger_makes_logits
    return True, "fused" if asked_for or model_type in MAKES_LOGITS else "liger"
