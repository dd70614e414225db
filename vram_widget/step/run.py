"""A run, resolved: the model, the settings as they will be, who holds what, and the card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ..config import TrainingConfig
from ..gpu import GPU
from .architecture import Architecture
from .decoder import LayerGroup
from .methods.full import Method
from .methods.methods import check_adapters, method_for
from .methods.parameter import Shape
from .methods.targets import (
    split_by_adapters,
    split_by_training,
    targets_outside_layers,
    with_saved_vocabulary,
)
from .settings import Settings
from .sharding.sharding import Sharding, sharding


@dataclass(frozen=True)
class Run:
    """One fine-tune on one card, built once from a configuration; equal runs have equal records.

    Attributes
    ----------
    architecture : Architecture
        The model, its layers split where they get different adapters.
    settings : Settings
        The configuration as it will really run.
    sharding : Sharding
        What each GPU holds.
    flops, bandwidth : float
        The card's: FLOPs and bytes a second, for the time axis.
    blas_workspace : int
        Bytes of a workspace of its BLAS library (`GPU.blas_workspace`).
    cards : int
        Over how many the layers of its one process are spread (`model_split`).
    has_embedding, has_lm_head : bool
        Whether this card begins and ends the model, where it holds a part of one.
    """

    architecture: Architecture
    settings: Settings
    sharding: Sharding
    flops: float
    bandwidth: float
    blas_workspace: int
    cards: int = 1
    has_embedding: bool = True
    has_lm_head: bool = True

    @classmethod
    def of(cls, config: TrainingConfig, architecture: Architecture, gpu: GPU) -> Run:
        """Return the run of a configuration.

        Parameters
        ----------
        config : TrainingConfig
            The choices.
        architecture : Architecture
            The model.
        gpu : GPU
            The card.

        Raises
        ------
        ConfigError
            If adapters have no layer to go to, or a rank that is larger than it.

        Examples
        --------
        >>> from vram_widget.gpu import resolve
        >>> from vram_widget.model.load import load
        >>> config = TrainingConfig("meta-llama/Llama-3.1-8B", training_method="lora", lora_r=16)
        >>> gpu, _ = resolve("H100", None, 1)
        >>> run = Run.of(config, load(config.model_path), gpu)
        >>> run.num_trainable
        41943040
        """
        settings = Settings.of(config, architecture.model_type)
        settings = settings._replace(num_gpus=config.num_processes)
        settings = with_saved_vocabulary(settings, architecture)
        architecture = split_by_adapters(architecture, settings)
        architecture = split_by_training(architecture, settings)
        if settings.adapts:
            check_adapters(architecture, settings)
        speeds = gpu.bf16_flops, gpu.bandwidth
        own, cards = sharding(settings, architecture.hidden_size), config.num_gpus
        cards //= config.num_processes
        return cls(architecture, settings, own, *speeds, gpu.blas_workspace, cards)

    def at(self, tokens: int, max_seq_len: int) -> Run:
        """Return the same run with other micro-batches."""
        settings = self.settings._replace(tokens=tokens, max_seq_len=max_seq_len)
        return replace(self, settings=settings)

    def method(self, group: LayerGroup | None = None) -> Method:
        """Return the method of some layers, or of what lies outside the layers."""
        return method_for(self.settings, self.architecture, group)

    @cached_property
    def outside(self) -> Mapping[str, Shape]:
        """The weights outside the layers, a tied lm_head that trains among them."""
        model, settings = self.architecture, self.settings
        lm_head = f"{model.lm_head_name}.weight"
        if not settings.adapts or lm_head in model.outside or not self.has_lm_head:
            return model.outside
        adapted = model.lm_head_name in targets_outside_layers(settings, model)
        if adapted or model.lm_head_name.endswith(settings.modules_to_save):
            return {**model.outside, lm_head: (model.vocab_size, model.hidden_size)}
        return model.outside

    @cached_property
    def num_trainable(self) -> int:
        """How many parameters the method trains."""
        return sum(
            count * parameter.size
            for count, method, weights in self._parts()
            for name, shape in weights.items()
            for parameter in method.parameters(name, shape)
            if parameter.trainable
        )

    def _parts(self) -> Iterator[tuple[int, Method, Mapping[str, Shape]]]:
        yield 1, self.method(), self.outside
        for group in self.architecture.layers:
            yield group.count, self.method(group), group.oriented
