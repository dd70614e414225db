"""Axolotl, from its repository at 067b021.

It gives no rank, and no length a person would want, by default: a run starts from one of its
examples. examples/llama-3/fft-8b.yaml, lora-1b.yml and qlora.yml; `bf16: auto` loads bf16 weights
and trains under autocast (utils/config, core/builders), the adapters in PEFT's float32; NF4 with
double quantisation (loaders/model.py).
Checkpointing is re-entrant where neither its kwargs nor unfrozen_parameters are set (utils/config).
"""

from __future__ import annotations

from .trainer import STRATEGIES, Settings, Trainer

SFT: Settings = {
    "mixed_precision": "bf16",
    "gradient_checkpointing": True,
    "use_reentrant": True,
    "attn_implementation": "flash_attention_2",
}
LORA: Settings = {
    **SFT,
    "lora_dropout": 0.05,
    "lora_dtype": "float32",
    "target_modules": "all-linear",
    "micro_batch_size": 2,
}


def float32_modules(
    method: str, attn_implementation: str, loss_kernel: str, model_type: str
) -> frozenset[str]:
    """Return what the loader leaves in float32 (``_configure_embedding_dtypes``, loaders/model.py).

    It casts norms, embeddings and routers to float32, has PEFT do so with all that is not
    quantised (``prepare_model_for_kbit_training``), and casts norms and embeddings back for
    adapters, for flash attention and for cut cross-entropy. GPT-NeoX's lm_head it takes for an
    embedding by a former name alone.

    Examples
    --------
    >>> sorted(float32_modules("qlora", "sdpa", "eager", "llama"))
    ['other', 'router']
    """
    tables = {"embedding"} if model_type == "gpt_neox" else {"embedding", "lm_head"}
    if method == "qlora":
        return frozenset({"router", "other", "lm_head"} - tables)
    if method == "sft" and attn_implementation in ("sdpa", "eager") and loss_kernel != "cut":
        return frozenset({"norm", "router"} | tables)
    return frozenset({"router"})


def use_reentrant(
    chosen: bool, adapts: bool, sharding: str, is_frozen: bool, model_type: str
) -> bool:
    """Return whether checkpoints are re-entrant: not for Gemma 4, nor where parameters are frozen.

    utils/config has it so for the one, ``check_use_reentrant_mismatch`` in utils/schemas for the
    other.

    Examples
    --------
    >>> use_reentrant(True, True, "", False, "llama"), use_reentrant(True, False, "", True, "llama")
    (True, False)
    """
    return chosen and not is_frozen and not model_type.startswith("gemma4")


TRAINER = Trainer(
    name="axolotl",
    label="Axolotl",
    order=4,
    defaults={
        "sft": {
            **SFT,
            "optim": "paged_adamw_8bit",
            "max_seq_len": 8192,
            "gradient_accumulation_steps": 8,
        },
        "lora": {
            **LORA,
            "lora_r": 16,
            "lora_alpha": 32.0,
            "optim": "adamw_8bit",
            "max_seq_len": 2048,
            "gradient_accumulation_steps": 2,
        },
        "qlora": {
            **LORA,
            "lora_r": 32,
            "lora_alpha": 16.0,
            "optim": "paged_adamw_32bit",
            "max_seq_len": 4096,
            "gradient_accumulation_steps": 4,
        },
    },
    # its own fsdp2_prepare_model (monkeypatch/accelerate/fsdp2.py) upcasts nothing
    upcasts_trained=frozenset({1}),
    # transformers' Trainer by Accelerate, and the key device_map (loaders/model.py)
    strategies=dict.fromkeys(("sft", "lora", "qlora"), STRATEGIES),
    reduces_gradients_in_last_pass=True,
    float32_modules=float32_modules,
    # loaders/model.py packs NF4 into floats
    shardable_quantization=frozenset({"nf4"}),
    # monkeypatch/moe_quant.py
    quantizes_experts=True,
    use_reentrant=use_reentrant,
)
