"""Several configurations side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import trainers
from ..config import AnyConfig, TrainingConfig
from ..errors import ConfigError
from ..estimate.estimate import MemoryEstimate, estimate
from ..show import text
from ..show.palette import PALETTE
from ..show.table import Cell, table
from ..units import gib

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Comparison:
    """Estimates side by side; iterates over them, and shows itself as a table in a notebook.

    Attributes
    ----------
    estimates : tuple of MemoryEstimate
        In the order given.
    """

    estimates: tuple[MemoryEstimate, ...]

    def __iter__(self) -> Iterator[MemoryEstimate]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    @property
    def differences(self) -> dict[str, list[Any]]:
        """The fields in which the configurations differ, with the value in each."""
        configs = [each.config.config for each in self.estimates]
        return {
            name: [config[name] for config in configs]
            for name in configs[0]
            if any(config[name] != configs[0][name] for config in configs)
        }

    @property
    def names(self) -> list[str]:
        """What each is called: the least that tells them apart."""
        differ = self.differences
        columns = []
        if "model_path" in differ:
            columns.append([text.title(each.config) for each in self.estimates])
        if {"training_method", "lora_r", "unfreeze_rank_ratio"} & differ.keys():
            columns.append([text.method(each.config) for each in self.estimates])
        if {"gpu", "gpu_memory", "num_gpus"} & differ.keys():
            columns.append([f"{e.config.num_gpus} × {e.gpu.name}" for e in self.estimates])
        names = [" · ".join(parts) for parts in zip(*columns, strict=True)]
        if len(set(names)) == len(self.estimates):
            return names
        fields = TrainingConfig.fields()
        named = {"model_path", "training_method", "lora_r", "gpu", "gpu_memory", "num_gpus"}
        for name, values in differ.items():
            if name not in named:
                label = fields[name].metadata["label"]
                columns.append([f"{label} {text.value_text(value)}" for value in values])
        full = [" · ".join(parts) for parts in zip(*columns, strict=True)]
        return [f"{i}. {name}".rstrip() for i, name in enumerate(full or [""] * len(self), 1)]

    def plot(self) -> Figure:
        """Return what fills each card at its peak as bars, a matplotlib figure."""
        from ..show.charts import comparison_figure

        return comparison_figure(self)

    def __repr__(self) -> str:
        width = max(map(len, self.names))
        lines = zip(self.names, self.estimates, strict=True)
        return "\n".join(f"{name:<{width}}  {text.verdict(each)}" for name, each in lines)

    def _repr_html_(self) -> str:
        labels = TrainingConfig.fields()
        rows: list[list[str | Cell]] = [
            [str(labels[name].metadata["label"]), *map(text.value_text, values)]
            for name, values in self.differences.items()
        ]
        rows += [
            [f"{paint.label}, GiB", *(gib(each.components[name]) for each in self.estimates)]
            for name, paint in PALETTE.items()
        ]
        rows += [
            ["At the peak, GiB", *(gib(each.expected) for each in self.estimates)],
            ["Range", *(text.band(each) for each in self.estimates)],
            ["Peak", *(text.moment(each.peak_phase, each.peak_step) for each in self.estimates)],
            ["Verdict", *(Cell(text.VERDICTS[e.verdict], e.verdict) for e in self.estimates)],
        ]
        return table("Comparison", ["", *self.names], rows)


def compare(*configs: MemoryEstimate | AnyConfig) -> Comparison:
    """Estimate several configurations and lay them side by side.

    Parameters
    ----------
    *configs : TrainingConfig, MemoryEstimate, mapping or str
        At least one; an estimate is taken as it is, and a text is a model.

    Raises
    ------
    ConfigError
        If there is none.
    VRAMWidgetError
        If one of them has no estimate.

    Examples
    --------
    >>> lora = TrainingConfig("meta-llama/Llama-3.1-8B", training_method="lora", gpu="L4")
    >>> compare(lora, lora.replace(training_method="qlora")).names
    ['LoRA, rank 16', 'QLoRA, rank 16']
    """
    if not configs:
        raise ConfigError("Give compare a configuration, or better two.")
    return Comparison(
        tuple(
            config if isinstance(config, MemoryEstimate) else estimate(TrainingConfig.of(config))
            for config in configs
        )
    )


def methods(config: AnyConfig) -> Comparison:
    """Compare every training method that the trainer of a configuration can run.

    A method that it does not run by the chosen strategy has the one that it starts from.

    Examples
    --------
    >>> methods(TrainingConfig("meta-llama/Llama-3.1-8B", trainer="trl", gpu="L4")).names
    ['full fine-tuning', 'LoRA, rank 16', 'QLoRA, rank 16']
    """
    start = TrainingConfig.of(config)
    options = TrainingConfig.fields()["training_method"].metadata["options"]
    possible = [method for method in options if trainers.supports(start.trainer, method)]
    trainer = trainers.TRAINERS[start.trainer]
    configs = []
    for method in possible:
        config = start.replace(training_method=method)
        changes: dict[str, Any] = {"sharding": trainer.strategy(method, config.sharding)}
        configs.append(config.replace(**changes))
    return compare(*configs)
