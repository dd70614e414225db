"""What DDP, ZeRO and FSDP leave of each tensor on one GPU."""

from __future__ import annotations

from typing import NamedTuple

from ...config.zero_optimization import DEFAULTS, filled_in
from ...trainers import TRAINERS
from ..methods.parameter import Parameter
from ..settings import Settings
from ..tape import BFLOAT16, FLOAT16, FLOAT32, DType

#: mixed_precision -> the dtype of matrix products.
COMPUTE = {"no": None, "bf16": BFLOAT16, "fp16": FLOAT16}

#: A strategy -> the version of FSDP that it is.
FSDP_VERSIONS = {"fsdp1": 1, "fsdp2": 2}


class ZeroSizes(NamedTuple):
    """DeepSpeed's buckets and limits by its names for them, in elements."""

    reduce_bucket_size: int
    allgather_bucket_size: int
    stage3_max_live_parameters: int
    stage3_max_reuse_distance: int
    stage3_prefetch_bucket_size: int
    stage3_param_persistence_threshold: int
    sub_group_size: int


class Sharding(NamedTuple):
    """How the states are sharded, and in which dtype weights are unsharded and gradients reduced.

    Attributes
    ----------
    parameters, gradients, optimizer : int
        Over how many GPUs each is sharded; 1 is not.
    replicas : int
        Groups of GPUs that each hold everything between them (hybrid sharding).
    strategy : str
        Who shards: PyTorch's ``fully_shard`` (`fsdp2`), ``FullyShardedDataParallel`` before it
        (`fsdp1`), DeepSpeed (`zero1`, `zero2`, `zero3`), or nobody (`ddp`).
    root_stays_unsharded : bool
        Whether what lies outside the layers stays unsharded from forward to backward, as PyTorch
        has it by default; mini-trainer has the last layer stay so instead.
    compute : DType or None
        The dtype of an unsharded weight, where it is not its own.
    upcasts_trained : bool
        Whether trained weights are turned to float32.
    tables_apart : bool
        Whether the token embedding is a group of its own, and the last norm and lm_head another.
    reduce : DType or None
        The dtype in which gradients are reduced over the GPUs, where it is not their own.
    reduces_in_last_pass : bool
        Whether gradients stay unsharded from pass to pass and are reduced in the last one.
    masters : bool
        Whether weights and gradients are in the compute dtype throughout, and the optimizer keeps
        a float32 copy of the weights beside its moments, whatever their dtype (DeepSpeed).
    buckets : bool
        Whether gradients are copied to buckets that last (DDP).
    parameters_on_host, optimizer_on_host : bool
        What waits in the host's memory.
    sizes : ZeroSizes
        DeepSpeed's.
    """

    parameters: int = 1
    gradients: int = 1
    optimizer: int = 1
    replicas: int = 1
    strategy: str = "ddp"
    root_stays_unsharded: bool = True
    compute: DType | None = None
    upcasts_trained: bool = False
    tables_apart: bool = False
    reduce: DType | None = None
    reduces_in_last_pass: bool = False
    masters: bool = False
    buckets: bool = False
    parameters_on_host: bool = False
    optimizer_on_host: bool = False
    sizes: ZeroSizes = ZeroSizes(**DEFAULTS)

    def shard(self, parameter: Parameter, gpus: int) -> Parameter:
        """Return what one of `gpus` holds: ``fully_shard`` cuts the first dimension."""
        if gpus == 1 or not parameter.sharded:
            return parameter
        return parameter.chunk(gpus) if self.strategy == "fsdp2" else parameter.flat_shard(gpus)


def sharding(settings: Settings, hidden_size: int) -> Sharding:
    """Return how a run shards its states.

    Sources: the ZeRO paper (Rajbhandari et al. 2020, sections 3.1 and 5) for stages 1 to 3 and for
    what mixed precision keeps there: 2 bytes a weight, 2 a gradient and 12 of optimizer states.
    FSDP's FULL_SHARD is stage 3 on the stored dtype, HYBRID_SHARD is that within a node. One GPU
    shards nothing: `sharding` has no bearing there, unless something is offloaded to the host and
    it is one of ZeRO's stages. Then DeepSpeed runs on the one GPU, with its float32 weights and
    buckets.

    mini-trainer 0.9.0 (OSFT) runs ``fully_shard``, with gradients reduced in float32 and the last
    layer left unsharded (``wrap_fsdp2`` in setup_model_for_training.py). instructlab-training
    0.16.2 (Training Hub's sft) has accelerate run ``FullyShardedDataParallel``, with flat
    parameters and gradients reduced in the compute dtype (``get_fsdp_config`` in accelerator.py).
    """
    gpus = settings.num_gpus
    members = gpus // settings.num_nodes if settings.sharding == "hsdp" else gpus
    stage = {"ddp": 0, "zero1": 1, "zero2": 2}.get(settings.sharding, 3)
    offloads = settings.cpu_offload != "none" and settings.sharding.startswith("zero")
    strategy = settings.sharding if gpus > 1 or offloads else "ddp"
    on_host = settings.cpu_offload in ("parameters", "all")
    if strategy in ("fsdp", "hsdp") or (on_host and strategy != "zero3"):
        strategy = "fsdp2"
    trainer, method = TRAINERS[settings.trainer], settings.training_method
    if strategy == "fsdp2" and gpus > 1 and method in trainer.runs_fsdp1:
        strategy = "fsdp1"
    mixed = COMPUTE[settings.mixed_precision]
    deepspeed = strategy.startswith("zero")
    return Sharding(
        parameters=members if stage == 3 else 1,
        gradients=members if stage >= 2 else 1,
        optimizer=members if stage >= 1 else 1,
        replicas=gpus // members,
        strategy=strategy,
        root_stays_unsharded=method not in trainer.keeps_last_layer_unsharded,
        compute=None if strategy == "ddp" else mixed,
        upcasts_trained=mixed is not None
        and FSDP_VERSIONS.get(strategy) in trainer.upcasts_trained
        and gpus > 1
        and not _is_4bit(settings),
        tables_apart=strategy == "fsdp2" and gpus > 1 and trainer.shards_tables_apart,
        reduce=FLOAT32
        if strategy == "fsdp2" and mixed and method in trainer.reduces_in_float32
        else None,
        reduces_in_last_pass=strategy == "zero1"
        or (
            strategy == "fsdp2"
            and trainer.reduces_gradients_in_last_pass
            and not settings.sync_each_batch
        ),
        masters=deepspeed,
        buckets=strategy == "ddp" and gpus > 1,
        parameters_on_host=on_host,
        optimizer_on_host=settings.cpu_offload in ("optimizer", "all"),
        sizes=ZeroSizes(**filled_in(dict(settings.zero_optimization), hidden_size)),
    )


def _is_4bit(settings: Settings) -> bool:
    return settings.training_method == "qlora" and settings.quantization == "nf4"
