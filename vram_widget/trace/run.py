"""Builds a model on fake tensors and logs its first training steps."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from typing import Any, cast

from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from ..config import TrainingConfig
from ..step.settings import Settings
from ..step.sharding.sharding import Sharding, sharding
from ..step.tape import BLOCK
from .attention import without_packing
from .build import build
from .cuda import SCRATCH, CudaKernels
from .events import Event
from .followed import by_deepspeed, followed
from .fsdp import ShardedStorageLog, cluster, is_sharded, shard
from .step import TrainingSteps
from .storages import StorageLog


def run(
    config: TrainingConfig, model_config: Mapping[str, Any], device: str
) -> tuple[list[Event], int, int]:
    """Return every storage event, the parameters, and how many of them are trained."""
    kernels, block = (CudaKernels, BLOCK) if device == "cuda" else (nullcontext, 1)
    settings = Settings.of(config, str(model_config.get("model_type")))
    shards = sharding(settings, int(model_config.get("hidden_size", 0)))
    deepspeed = by_deepspeed(followed(config))  # where it is not installed, nobody shards
    with ExitStack() as stack:
        log, take_steps = StorageLog(block), TrainingSteps
        if is_sharded(config):
            stack.enter_context(cluster(config.num_gpus))
            log = ShardedStorageLog(block)
        elif deepspeed:
            from . import zero  # DeepSpeed is there only where it is asked for

            stack.enter_context(zero.cluster(config.num_gpus))
            log, take_steps = zero.ZeroStorageLog(block), zero.ZeroSteps
        log.scratch = SCRATCH if device == "cuda" else {}
        stack.enter_context(FakeTensorMode())
        stack.enter_context(without_packing())
        model = build(
            cast_to_compute(config, shards) if deepspeed else config, shards, model_config, kernels
        )
        parameters = sum(parameter.numel() for parameter in model.parameters())
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if is_sharded(config):
            model = cast(PreTrainedModel, shard(model, config, shards))
        with kernels():
            take_steps(config, shards, model, log).run()
    return log.events, parameters, trainable


def cast_to_compute(config: TrainingConfig, sharding: Sharding) -> TrainingConfig:
    """Return the choices with all weights in the compute dtype, to which DeepSpeed casts them."""
    compute = sharding.compute
    if compute is None:
        return config
    dtypes: dict[str, Any] = {"param_dtype": compute.name, "lora_dtype": compute.name}
    return config.replace(**dtypes)
