"""One field over many values, everything else as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config import AnyConfig, TrainingConfig
from ..config.fields import listed, nearest, plain
from ..errors import ConfigError, UnknownFieldError, VRAMWidgetError, shown
from ..estimate.estimate import MemoryEstimate, estimate
from ..show import text
from ..show.table import Cell, table
from ..step import collector
from ..step.timeline import COMPONENTS
from ..units import gib

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Sweep:
    """Estimates of a configuration with one field at several values.

    Iterates over the estimates; shows itself as a table in a notebook.

    Attributes
    ----------
    field : str
        The field that changes.
    values : tuple
        The values that can be, in their order; numpy's as Python's own.
    estimates : tuple of MemoryEstimate
        One for each of `values`.
    refused : dict of str to str
        The values that cannot be, as text, with the sentence that says why.
    """

    field: str
    values: tuple[Any, ...]
    estimates: tuple[MemoryEstimate, ...]
    refused: dict[str, str]

    def __iter__(self) -> Iterator[MemoryEstimate]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    @property
    def label(self) -> str:
        """The field's name for people, with its unit."""
        metadata = TrainingConfig.fields()[self.field].metadata
        label, unit = str(metadata["label"]), metadata.get("unit")
        return f"{label}, {unit}" if unit else label

    @property
    def title(self) -> str:
        """What stays the same, in words."""
        first = self.estimates[0]
        parts = {
            text.title(first.config): {"model_path"},
            text.method(first.config): {"training_method", "lora_r", "unfreeze_rank_ratio"},
            f"{first.config.num_gpus} × {first.gpu.name}": {"gpu", "gpu_memory", "num_gpus"},
        }
        return " · ".join(part for part, fields in parts.items() if self.field not in fields)

    @property
    def names(self) -> list[str]:
        """What each point is called: its value, or the method with its one number."""
        if self.field == "training_method":
            return [text.method(each.config) for each in self.estimates]
        return [text.value_text(value) for value in self.values]

    def data(self) -> dict[str, Any]:
        """Return the sweep in JSON types, bytes on one GPU: what the widget draws."""
        return {
            "field": self.field,
            "label": self.label,
            "scale": TrainingConfig.fields()[self.field].metadata.get("scale"),
            "values": list(self.values),
            "names": self.names,
            "moments": [text.moment(each.peak_phase, each.peak_step) for each in self.estimates],
            "low": [each.low for each in self.estimates],
            "expected": [each.expected for each in self.estimates],
            "high": [each.high for each in self.estimates],
            "capacity": [each.capacity for each in self.estimates],
            "gpus": [each.gpu.name for each in self.estimates],
            "verdicts": [each.verdict for each in self.estimates],
            "bytes": {
                name: [each.components[name] for each in self.estimates] for name in COMPONENTS
            },
            "refused": [[value, why] for value, why in self.refused.items()],
        }

    def plot(self) -> Figure:
        """Return what fills the card at the peak, over the values, as a matplotlib figure."""
        from ..show.charts import sweep_figure

        return sweep_figure(self)

    def __repr__(self) -> str:
        rows = [
            f"  {text.value_text(value):>9}  {text.verdict(each)}"
            for value, each in zip(self.values, self.estimates, strict=True)
        ]
        errors = [f"  {text.value_text(value):>9}  {why}" for value, why in self.refused.items()]
        return "\n".join([f"{self.label}:", *rows, *errors])

    def _repr_html_(self) -> str:
        rows: list[list[str | Cell]] = [
            [
                text.value_text(value),
                gib(each.expected),
                text.band(each),
                text.moment(each.peak_phase, each.peak_step),
                Cell(text.VERDICTS[each.verdict], each.verdict),
            ]
            for value, each in zip(self.values, self.estimates, strict=True)
        ]
        rows += [[text.value_text(value), why] for value, why in self.refused.items()]
        head = [self.label, "GiB on each GPU", "range", "peak", "verdict"]
        return table(self.title, head, rows)


def sweep(config: AnyConfig, field: str, values: Iterable[Any]) -> Sweep:
    """Estimate a configuration with one field at each of several values.

    Parameters
    ----------
    config : TrainingConfig, mapping or str
        The choices, or only the model.
    field : str
        Any field: ``"max_seq_len"``, ``"gpu"``, ``"training_method"``, ...
    values : iterable
        What it takes. One that cannot be, such as a rank larger than a layer, is listed with
        the sentence that says why, and does not stop the others.

    Raises
    ------
    UnknownFieldError
        If there is no such field.
    ConfigError
        If no value is given.
    VRAMWidgetError
        The first refusal, if no value can be.

    Examples
    --------
    >>> lengths = sweep("meta-llama/Llama-3.1-8B", "max_seq_len", [2048, 4096, 8192])
    >>> [each.config.max_seq_len for each in lengths]
    [2048, 4096, 8192]
    """
    if not isinstance(field, str) or field not in TrainingConfig.fields():
        hint = nearest(field, TrainingConfig.fields())
        raise UnknownFieldError(f"TrainingConfig has no field {shown(field)}.{hint}")
    start = TrainingConfig.of(config)
    with collector.paused():
        tried = [(value, at(start, field, value)) for value in map(plain, listed(values, "values"))]
    return assembled(field, tried)


def assembled(field: str, tried: Sequence[tuple[Any, MemoryEstimate | VRAMWidgetError]]) -> Sweep:
    """Return the sweep of values that are estimated, or refused, already."""
    found = [(value, each) for value, each in tried if isinstance(each, MemoryEstimate)]
    refused = {
        text.value_text(value): each for value, each in tried if isinstance(each, VRAMWidgetError)
    }
    if not found:
        raise next(iter(refused.values()), ConfigError(f"Give a value for {field} to take."))
    return Sweep(
        field,
        tuple(value for value, _ in found),
        tuple(each for _, each in found),
        {value: str(error) for value, error in refused.items()},
    )


def attempt(config: TrainingConfig) -> MemoryEstimate | VRAMWidgetError:
    """Return the estimate of a configuration, or the error that says why there is none."""
    try:
        return estimate(config)
    except VRAMWidgetError as error:
        return error


def at(config: TrainingConfig, field: str, value: object) -> MemoryEstimate | VRAMWidgetError:
    """Return the estimate with a field at a value, or the error that says why there is none."""
    changes: dict[str, Any] = {field: value}
    try:
        return attempt(config.replace(**changes))
    except ConfigError as error:
        return error
