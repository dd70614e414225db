"""Which models, by which method, fit given hardware."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import trainers
from ..config import TrainingConfig
from ..config.choices import Choices
from ..config.config import names_fields
from ..config.fields import listed
from ..errors import ConfigError, VRAMWidgetError
from ..gpu import GPU, resolve
from ..model import catalog
from ..model.load import load
from ..show.table import Cell, table
from ..step import collector
from ..units import gib, quantity
from .sweep import attempt

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from typing_extensions import Unpack

#: The plain settings: one sequence of this length in a pass, every block checkpointed.
PLAIN: dict[str, Any] = {
    "micro_batch_size": 1,
    "max_seq_len": 2048,
    "gradient_checkpointing": True,
}

#: A person is shown a progress bar after so many seconds.
PATIENCE = 1.0


class Outcome(NamedTuple):
    """What an estimate says in short; bytes on one GPU."""

    low: int
    expected: int
    high: int
    verdict: str


@dataclass(frozen=True)
class Row:
    """A model of the catalogue, or several whose dimensions are the same.

    Attributes
    ----------
    model_path : str
        The first of them by name.
    also : tuple of str
        The others.
    num_parameters : int
        Parameters.
    outcomes : dict of str to Outcome
        By method.
    refused : dict of str to str
        The methods that cannot be, with the sentence that says why.
    """

    model_path: str
    also: tuple[str, ...]
    num_parameters: int
    outcomes: dict[str, Outcome] = field(repr=False)
    refused: dict[str, str] = field(repr=False)

    def verdict(self, method: str) -> str | None:
        """Return the verdict on a method, None where it cannot be."""
        return self.outcomes[method].verdict if method in self.outcomes else None


@dataclass(frozen=True)
class Recommendation:
    """What fits given hardware; shows itself as a table in a notebook.

    Attributes
    ----------
    gpu : GPU
        The card.
    num_gpus : int
        How many.
    methods : tuple of str
        The columns.
    rows : tuple of Row
        The models, the largest first.
    settings : dict
        The fields that are the same for all, as far as they were set.
    """

    gpu: GPU
    num_gpus: int
    methods: tuple[str, ...]
    rows: tuple[Row, ...]
    settings: dict[str, Any]

    def fitting(self, method: str) -> list[str]:
        """Return the models that surely fit by a method, the largest first."""
        return [row.model_path for row in self.rows if row.verdict(method) == "fits"]

    @property
    def title(self) -> str:
        """The hardware and the batch, in words."""
        batch = f"{self.settings['micro_batch_size']} × {self.settings['max_seq_len']:,} tokens"
        return f"{self.num_gpus} × {self.gpu.name}, {batch}"

    def plot(self) -> Figure:
        """Return the table as a heat map, a matplotlib figure."""
        from ..show.charts import heat_map

        rows = [f"{row.model_path}   {quantity(row.num_parameters)}" for row in self.rows]
        columns = [METHODS[method] for method in self.methods]
        return heat_map(f"{self.title}, GiB on each", columns, rows, self._cells())

    def __repr__(self) -> str:
        lines = [self.title]
        for method in self.methods:
            fits = self.fitting(method)
            largest = f", the largest {fits[0]}" if fits else ""
            lines.append(f"  {METHODS[method]:<6}{len(fits):>4} of {len(self.rows)} fit{largest}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = ["model", "parameters", *(f"{METHODS[method]}, GiB" for method in self.methods)]
        rows = [
            [row.model_path, quantity(row.num_parameters), *cells]
            for row, cells in zip(self.rows, self._cells(), strict=True)
        ]
        return table(self.title, head, rows)

    def _cells(self) -> list[list[str | Cell]]:
        """Return the verdict and the memory by each method, a row for each model."""
        return [
            [
                Cell(gib(row.outcomes[method].expected), row.outcomes[method].verdict)
                if method in row.outcomes
                else "–"
                for method in self.methods
            ]
            for row in self.rows
        ]


METHODS: dict[str, str] = TrainingConfig.fields()["training_method"].metadata["options"]


@names_fields
def recommend(
    gpu: str | None = None,
    num_gpus: int = 1,
    /,
    models: Iterable[str] | None = None,
    **choices: Unpack[Choices],
) -> Recommendation:
    """Return which models fit some GPUs, by every method of a trainer.

    What takes long shows how far it is; ``TQDM_DISABLE=1`` in the environment keeps it quiet.

    Parameters
    ----------
    gpu : str, optional
        A name in the GPU catalogue; None takes the card found in this machine.
    num_gpus : int
        How many.
    models : iterable of str, optional
        The models to go over; without them the whole catalogue, models of the same dimensions
        in one row.
    **choices
        Fields of all runs, such as ``trainer="trl"`` or ``max_seq_len=4096``. By default one
        sequence of 2,048 tokens in a pass, with checkpointing, and all else as the trainer does.

    Returns
    -------
    Recommendation
        The largest model first.

    Raises
    ------
    UnknownFieldError, ConfigError, ModelError, GPUError
        For choices that no run can have, or a model that is not known.

    Examples
    --------
    >>> found = recommend(gpu="L40S", num_gpus=2)
    >>> "meta-llama/Llama-3.1-8B" in found.fitting("qlora")
    True
    """
    for chosen in ("model_path", "training_method"):
        if chosen in choices:
            raise ConfigError(f"recommend goes over every {chosen}; leave it out.")
    fields: dict[str, Any] = {**PLAIN, "gpu": gpu, "num_gpus": num_gpus, **choices}
    plain = TrainingConfig(**fields)
    settings = {name: getattr(plain, name) for name in fields}
    possible = [method for method in METHODS if trainers.supports(plain.trainer, method)]
    trainer = trainers.TRAINERS[plain.trainer]
    own = plain.num_gpus == 1 or "sharding" not in choices
    methods = [each for each in possible if own or trainer.can_run(each, plain.sharding)]
    TrainingConfig(**{**fields, "training_method": (methods or possible)[0]}).check()
    alike = _alike() if models is None else [_one(name) for name in listed(models, "models")]
    if not alike:
        raise ConfigError("Give a model to go over, or leave models out for the whole catalogue.")
    from tqdm.auto import tqdm  # as long to import as the rest of the package

    with collector.paused():
        going = tqdm(alike, "Models", delay=PATIENCE, leave=False)
        rows = [_row(names, methods, settings) for names in going]
    rows.sort(key=lambda row: (-row.num_parameters, row.model_path))
    card, _ = resolve(plain.gpu, plain.gpu_memory, plain.num_gpus)
    return Recommendation(card, plain.num_gpus, tuple(methods), tuple(rows), settings)


def _one(name: object) -> list[str]:
    return [TrainingConfig.of({"model_path": name}).model_path]


def _alike() -> list[list[str]]:
    """Return the models of the catalogue, those that differ in no dimension together.

    How long the texts are that a model reads changes nothing. The shortest name comes first.
    """
    groups: dict[str, list[str]] = {}
    for name in catalog.names():
        config = {**load(name).config, "max_position_embeddings": None}
        groups.setdefault(repr(sorted(config.items())), []).append(name)
    return [sorted(names, key=lambda name: (len(name), name)) for names in groups.values()]


def _row(names: list[str], methods: list[str], settings: dict[str, Any]) -> Row:
    outcomes: dict[str, Outcome] = {}
    refused: dict[str, str] = {}
    for method in methods:
        choices = {**settings, "model_path": names[0], "training_method": method}
        each = attempt(TrainingConfig.of(choices))
        if isinstance(each, VRAMWidgetError):
            refused[method] = str(each)
        else:  # not the estimate itself: a catalogue of replayed steps would fill the memory
            outcomes[method] = Outcome(each.low, each.expected, each.high, each.verdict)
    size = load(names[0]).num_parameters
    return Row(names[0], tuple(names[1:]), size, outcomes, refused)
