"""What a trace follows of a configuration, and what it runs in place of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from ..config import TrainingConfig
from ..export.deepspeed import STAGES


def followed(config: TrainingConfig) -> TrainingConfig:
    """Return the configuration that a trace really runs: without the choices it cannot follow.

    Examples
    --------
    >>> followed(TrainingConfig(loss_kernel="chunked")).loss_kernel
    'eager'
    """
    changes: dict[str, Any] = {}
    for _, change in _untraced(config):
        changes |= change
    return config.replace(**changes) if changes else config


def notices(config: TrainingConfig) -> tuple[str, ...]:
    """Return a sentence for each choice that is not followed."""
    return tuple(sentence for sentence, _ in _untraced(config))


def _untraced(config: TrainingConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each choice that is not followed: in words, and what is run in its place."""
    if config.loss_kernel != "eager":
        kernel = f"loss_kernel={config.loss_kernel!r}"
        yield f"{kernel} is traced as transformers' own loss.", {"loss_kernel": "eager"}
    if config.use_liger:
        yield "use_liger is traced without Liger's kernels.", {"use_liger": False}
    if config.offload_activations and config.gradient_checkpointing:
        stays = "offload_activations is traced with the checkpoints on the GPU."
        yield stays, {"offload_activations": False}
    if config.cpu_offload != "none":
        offload = f"cpu_offload={config.cpu_offload!r}"
        yield f"{offload} is traced with everything on the GPU.", {"cpu_offload": "none"}
    unsharded = f"sharding={config.sharding!r} is traced as one GPU that holds everything"
    alone = {"num_gpus": 1, "num_nodes": 1}
    if by_deepspeed(config):
        if find_spec("deepspeed") is None:
            yield f"{unsharded}, as DeepSpeed is not installed.", alone
    elif config.num_gpus > 1 and config.sharding not in ("fsdp", "hsdp"):
        yield f"{unsharded}.", alone


def by_deepspeed(config: TrainingConfig) -> bool:
    """Return whether DeepSpeed shards a run over several GPUs."""
    return config.num_gpus > 1 and config.sharding in STAGES
