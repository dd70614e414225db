"""Builds a model on fake tensors and logs its first training steps."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode

from ..config import TrainingConfig
from .attention import without_packing
from .build import build
from .cuda import CudaKernels
from .events import Event
from .step import TrainingSteps
from .storages import CUDA_BLOCK, StorageLog


def run(
    config: TrainingConfig, model_config: Mapping[str, Any], device: str
) -> tuple[list[Event], int, int]:
    """Return every storage event, the parameters, and how many of them are trained."""
    kernels, block = (CudaKernels, CUDA_BLOCK) if device == "cuda" else (nullcontext, 1)
    with FakeTensorMode(), without_packing():
        model = build(config, model_config, kernels)
        log = StorageLog(block)
        with kernels():
            steps = TrainingSteps(config, model, log)
            steps.run()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return log.events, parameters, sum(p.numel() for p in steps.trainable)
