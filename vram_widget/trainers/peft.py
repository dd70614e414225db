"""What PEFT adapts where no `target_modules` are given."""

from __future__ import annotations

Targets = str | list[str]

QUERY_AND_VALUE = ["q_proj", "v_proj"]
#: model_type -> its modules (peft 0.21, utils/constants.py,
#: TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING). For any other family PEFT asks for them.
TARGET_MODULES: dict[str, Targets] = {
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text", "gemma4_text"), QUERY_AND_VALUE),
    **dict.fromkeys(("llama", "llama4_text", "mistral", "mixtral"), QUERY_AND_VALUE),
    **dict.fromkeys(("qwen2", "qwen3", "stablelm"), QUERY_AND_VALUE),
    "falcon": ["query_key_value"],
    "gpt2": ["c_attn"],
    "gpt_bigcode": ["c_attn"],
    "gpt_neox": ["query_key_value"],
    "nemotron_h": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "phi": ["q_proj", "v_proj", "fc1", "fc2"],
}
