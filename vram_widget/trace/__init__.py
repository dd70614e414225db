"""The same training step run by PyTorch's own model code, on tensors that hold no data.

Needs torch, transformers and peft; ``pip install 'vram_widget[trace]'`` brings them. ZeRO needs
DeepSpeed besides (``'vram_widget[deepspeed]'``); without it, one GPU that holds all is traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from ..config import AnyConfig, TrainingConfig
from ..errors import MissingPackageError
from ..step.timeline import Timeline
from .events import Event, Storage, timeline
from .followed import by_deepspeed, notices

__all__ = ["Event", "Storage", "Trace", "trace"]

PACKAGES: tuple[str, ...] = ("torch", "transformers", "peft")


@dataclass(frozen=True)
class Trace:
    """What a traced run allocated, storage by storage.

    Attributes
    ----------
    config : TrainingConfig
        What was traced.
    events : list of Event
        Every storage that came or went, in order, from loading to the end of the second step.
    num_parameters, num_trainable : int
        As the model built by transformers and PEFT counts them, a tied weight once.
    versions : mapping of str to str
        Of torch, transformers and peft, and of DeepSpeed where it shards the run.
    notices : tuple of str
        Choices that a trace cannot follow, and what it did instead.
    """

    config: TrainingConfig
    events: list[Event]
    num_parameters: int
    num_trainable: int
    versions: Mapping[str, str]
    notices: tuple[str, ...] = ()

    @cached_property
    def timeline(self) -> Timeline:
        """Bytes by component over time, as an estimate's timeline has them."""
        return timeline(self.events)

    @property
    def allocated(self) -> int:
        """Peak bytes allocated: what ``torch.cuda.max_memory_allocated()`` says of such a run."""
        return self.timeline.total[self.timeline.peak]

    @property
    def components(self) -> dict[str, int]:
        """Bytes by component at the peak."""
        return {name: levels[self.timeline.peak] for name, levels in self.timeline.bytes.items()}

    @property
    def peak_phase(self) -> str:
        """The phase in which the peak falls."""
        return self.timeline.phase[self.timeline.peak]

    @property
    def peak_step(self) -> int:
        """The training step in which the peak falls, from 1."""
        return self.timeline.step[self.timeline.peak]

    @property
    def loaded(self) -> int:
        """Bytes once the model is loaded, before the first step."""
        return sum(event.nbytes for event in self.events if event.phase == "load")

    def peak_of(self, *phases: str, step: int = 2) -> int:
        """Return the most bytes in some phases of a step; 0 if there is no such moment."""
        moments = zip(self.timeline.total, self.timeline.step, self.timeline.phase, strict=True)
        return max(
            (total for total, s, phase in moments if s == step and phase in phases), default=0
        )

    def __repr__(self) -> str:
        return (
            f"Trace({self.config.model_path!r}: {self.allocated:,} bytes at the peak, "
            f"in {self.peak_phase} of step {self.peak_step})"
        )


def trace(
    config: AnyConfig,
    model_config: Mapping[str, Any] | None = None,
    *,
    device: Literal["cuda", "cpu"] = "cuda",
) -> Trace:
    """Run two training steps of the real model on tensors without data, and log every storage.

    No GPU, no weights and no network are needed.

    Parameters
    ----------
    config : TrainingConfig, mapping or str
        The run, or only its model.
    model_config : mapping, optional
        The model's config.json; without it, the one that ``config.model_path`` leads to.
    device : {"cuda", "cpu"}
        Whose operators to follow, and whose allocator: CUDA rounds every storage up to 512 bytes.

    Returns
    -------
    Trace

    Raises
    ------
    MissingPackageError
        If torch, transformers or peft is not installed.
    ModelError
        If transformers cannot build the model.
    ConfigError
        If the method or the optimizer cannot be traced.

    Notes
    -----
    Storages are followed by weak reference, in the manner of PyTorch's own ``MemTracker``
    (torch/distributed/_tools/mem_tracker.py). Memory that a kernel takes and gives back within
    one call is seen where the trace knows it (``SCRATCH`` in ``cuda.py``), and cuBLAS's workspaces
    are not.

    Examples
    --------
    >>> small = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 256,
    ...     "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
    >>> config = TrainingConfig("small", trainer="axolotl", max_seq_len=128)
    >>> result = trace(config, small)
    >>> result.peak_phase
    'backward'
    """
    config = TrainingConfig.of(config)
    config.check()
    versions = _versions(by_deepspeed(config))
    from .run import run

    if model_config is None:
        from ..model.load import load

        model_config = load(config.model_path).config
    return Trace(config, *run(config, model_config, device), versions, notices(config))


def _versions(with_deepspeed: bool) -> dict[str, str]:
    """Return the versions of the packages a trace needs, and of DeepSpeed, if it is there."""
    packages = PACKAGES
    if with_deepspeed and find_spec("deepspeed") is not None:
        packages += ("deepspeed",)
    try:
        return {package: import_module(package).__version__ for package in packages}
    except ImportError as error:
        raise MissingPackageError(
            f"A trace needs torch, transformers and peft ({error}); "
            "run: pip install 'vram_widget[trace]'"
        ) from error
