"""What of a configuration decides what a GPU does in a step, as the run will really have it."""

from __future__ import annotations

from typing import NamedTuple

from ..config import TrainingConfig
from ..trainers import SHARDS_PARAMETERS, TRAINERS
from ..trainers.trainer import MODULES
from .liger import kernels


class Settings(NamedTuple):
    """The fields of a `TrainingConfig` that a step reads, by its names for them.

    They can be compared and hashed. Where a run does not follow a field, what it does in its place
    stands here: `use_liger` and `loss_kernel` are those that the family gets. `float32_modules` is
    what the trainer casts (`Trainer.float32_modules`); `ensure_weight_tying` says that a tied
    lm_head is the embedding's trained copy (PEFT's setting of this name), `offloads_originals`
    that what copies stand for is on the host.
    """

    model_path: str
    trainer: str
    training_method: str
    adapts: bool
    lora_r: int
    lora_dropout: float
    lora_dtype: str
    use_dora: bool
    target_modules: str | tuple[str, ...]
    target_parameters: tuple[str, ...]
    modules_to_save: tuple[str, ...]
    trainable_token_indices: int | None
    trainable_parameters: tuple[str, ...]
    quantization: str
    bnb_4bit_use_double_quant: bool
    bnb_4bit_quant_storage: str
    quantize_moe_experts: bool
    prepare_model_for_kbit_training: bool
    unfreeze_rank_ratio: float
    tokens: int
    max_seq_len: int
    gradient_accumulation_steps: int
    sync_each_batch: bool
    padded: bool
    param_dtype: str
    mixed_precision: str
    optim: str
    optimizer_in_backward: bool
    gradient_checkpointing: bool
    use_reentrant: bool
    offload_activations: bool
    attn_implementation: str
    loss_kernel: str
    use_liger: bool
    keeps_outputs: bool
    num_gpus: int
    num_nodes: int
    sharding: str
    cpu_offload: str
    zero_optimization: tuple[tuple[str, int | str], ...]
    float32_modules: frozenset[str] = frozenset()
    ensure_weight_tying: bool = False
    offloads_originals: bool = False

    @classmethod
    def of(cls, config: TrainingConfig, model_type: str) -> Settings:
        """Return the settings of a configuration for a model of this family.

        Examples
        --------
        >>> config = TrainingConfig("m", training_method="osft", use_liger=True)
        >>> Settings.of(config, "llama").loss_kernel, Settings.of(config, "gpt2").use_liger
        ('liger', False)
        """
        fields = (name for name in cls._fields if name not in cls._field_defaults)
        given = cls(*(getattr(config, name) for name in fields))
        modules = given.target_modules
        use_liger, loss_kernel = kernels(
            given.use_liger, given.loss_kernel, model_type, given.trainer, given.training_method
        )
        return given._replace(
            target_modules=modules if isinstance(modules, str) else tuple(modules),
            target_parameters=tuple(given.target_parameters or ()),
            modules_to_save=tuple(given.modules_to_save or ()),
            trainable_parameters=tuple(given.trainable_parameters or ()),
            zero_optimization=tuple(sorted(dict(given.zero_optimization or ()).items())),
            use_liger=use_liger,
            loss_kernel=loss_kernel,
            float32_modules=_float32_modules(given, model_type),
            use_reentrant=TRAINERS[given.trainer].use_reentrant(
                given.use_reentrant,
                given.adapts,
                given.sharding if given.num_gpus > 1 else "",
                bool(given.trainable_parameters),
                model_type,
            ),
        )


def _float32_modules(given: Settings, model_type: str) -> frozenset[str]:
    if given.num_gpus > 1 and given.sharding in SHARDS_PARAMETERS:
        return frozenset()
    if given.training_method == "qlora" and given.prepare_model_for_kbit_training:
        return MODULES
    trainer = TRAINERS[given.trainer]
    return trainer.float32_modules(
        given.training_method, given.attn_implementation, given.loss_kernel, model_type
    )
