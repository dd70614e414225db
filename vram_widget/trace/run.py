"""Builds a model on fake tensors and logs its first training steps."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, cast

from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from ..config import TrainingConfig
from .attention import without_packing
from .build import build
from .cuda import CudaKernels
from .events import Event
from .fsdp import ShardedStorageLog, cluster, is_sharded, shard
from .step import TrainingSteps
from .storages import CUDA_BLOCK, StorageLog


def run(
    config: TrainingConfig, model_config: Mapping[str, Any], device: str
) -> tuple[list[Event], int, int]:
    """Return every storage event, the parameters, and how many of them are trained."""
    kernels, block = (CudaKernels, CUDA_BLOCK) if device == "cuda" else (nullcontext, 1)
    sharded = is_sharded(config)
    with (
        cluster(config.num_gpus) if sharded else nullcontext(),
        FakeTensorMode(),
        without_packing(),
    ):
        model = build(config, model_config, kernels)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if sharded:
            model = cast(PreTrainedModel, shard(model, config))
        log = ShardedStorageLog(block) if sharded else StorageLog(block)
        with kernels():
            TrainingSteps(config, model, log).run()
    return log.events, parameters, trainable
