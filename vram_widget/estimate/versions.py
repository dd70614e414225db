"""What an older transformers holds that is not counted: figures are those of the versions read.

Trainers are read at the versions that their files in `trainers` name, on transformers 5.x. Where an
older one is installed beside this package, it is the one that will run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from typing import NamedTuple

from ..step.run import Run
from ..units import amount

Version = tuple[int, int]


class Change(NamedTuple):
    """What changed in transformers: until when it was so, the bytes that it held, and for what."""

    until: Version
    nbytes: Callable[[Run], int]
    holds: str


def _gradient_of_each_layer(run: Run) -> int:
    """FSDP1 kept the block's input gradient until backward was over.

    Checkpoints were outside the unit that FSDP wraps until ``GradientCheckpointingLayer``
    (modeling_layers.py).
    """
    settings, model = run.settings, run.architecture
    if run.sharding.strategy != "fsdp1" or not settings.adapts:
        return 0
    if not (settings.gradient_checkpointing and settings.use_reentrant):
        return 0
    layers = sum(group.count for group in model.layers)
    return (layers - 1) * 2 * model.hidden_size * settings.tokens


def _second_copy_of_logits(run: Run) -> int:
    """The model turned its logits to float32 before the loss did (``ForCausalLMLoss`` since)."""
    settings = run.settings
    if settings.trainer == "torchtune" or settings.loss_kernel != "eager":
        return 0
    return 2 * run.architecture.vocab_size * settings.tokens


CHANGES = (
    Change((4, 52), _gradient_of_each_layer, "a gradient of the hidden state for each layer"),
    Change((4, 46), _second_copy_of_logits, "two float32 copies of the logits"),
)


@cache
def installed(package: str = "transformers") -> str:
    """Return the version of a package that is installed here, or nothing; nothing is imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def notices(run: Run) -> Iterator[str]:
    """Yield a sentence for each thing that the transformers installed here holds besides."""
    found = installed()
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if numbers is None:
        return
    version = int(numbers[1]), int(numbers[2])
    for until, nbytes, holds in CHANGES:
        if version < until and (more := nbytes(run)):
            major, minor = until
            yield (
                f"transformers {found} is installed here; before {major}.{minor} it holds {holds}, "
                f"{amount(more)} more than is counted."
            )
