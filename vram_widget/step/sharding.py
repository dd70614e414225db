"""What DDP, ZeRO and FSDP leave of each tensor on one GPU."""

from __future__ import annotations

from typing import NamedTuple

from ..config import TrainingConfig
from .tape import BFLOAT16, FLOAT16, DType

#: mixed_precision -> the dtype of matrix products.
COMPUTE = {"no": None, "bf16": BFLOAT16, "fp16": FLOAT16}


class Sharding(NamedTuple):
    """How the states are divided, and what is made whole while it is used.

    Attributes
    ----------
    parameters, gradients, optimizer : int
        Over how many GPUs each is divided; 1 is whole.
    gathers : bool
        Whether a layer's weights are made whole (in the compute dtype) only while it runs.
    compute : DType or None
        The dtype a gathered weight is made in, where it is not its own.
    masters : bool
        Whether weights and gradients are in the compute dtype throughout, and the optimizer keeps
        the weights in float32 beside its moments (DeepSpeed).
    buckets : bool
        Whether gradients are copied to buckets that last (DDP).
    parameters_on_host, optimizer_on_host : bool
        What waits in the host's memory.
    """

    parameters: int = 1
    gradients: int = 1
    optimizer: int = 1
    gathers: bool = False
    compute: DType | None = None
    masters: bool = False
    buckets: bool = False
    parameters_on_host: bool = False
    optimizer_on_host: bool = False


def sharding(config: TrainingConfig) -> Sharding:
    """Return how a configuration divides its states.

    Sources: the ZeRO paper (Rajbhandari et al. 2020, sections 3.1 and 5) for stages 1 to 3 and for
    what mixed precision keeps there: 2 bytes a weight, 2 a gradient and 12 of optimizer states.
    FSDP's FULL_SHARD is stage 3 on the stored dtype, HYBRID_SHARD is that within a node. One GPU
    divides nothing.
    """
    gpus = config.num_gpus
    divided = gpus // config.num_nodes if config.sharding == "hsdp" else gpus
    stage = {"ddp": 0, "zero1": 1, "zero2": 2}.get(config.sharding, 3)
    everything_on_host = config.cpu_offload == "all"
    masters = config.sharding.startswith("zero") and gpus > 1 and config.mixed_precision != "no"
    gathers = (stage == 3 and divided > 1) or everything_on_host
    return Sharding(
        parameters=divided if stage == 3 else 1,
        gradients=divided if stage >= 2 else 1,
        optimizer=divided if stage >= 1 else 1,
        gathers=gathers,
        compute=COMPUTE[config.mixed_precision] if gathers or masters else None,
        masters=masters,
        buckets=stage == 0 and gpus > 1,
        parameters_on_host=everything_on_host,
        optimizer_on_host=config.cpu_offload != "none",
    )
