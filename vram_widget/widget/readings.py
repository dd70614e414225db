"""The widget's other readings: the peak along one field (``Sweep`` in messages.ts)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..config import TrainingConfig
from ..config.fields import nearest
from ..errors import ConfigError, shown
from ..units import gib

if TYPE_CHECKING:
    import asyncio  # slow to import, and a notebook's kernel has it already

    from matplotlib.figure import Figure

    from ..advise.largest import Limit
    from ..advise.sweep import Sweep
    from ..estimate.estimate import MemoryEstimate

Result = TypeVar("Result")

#: The fields that the chart can go along, beside the training steps.
ALONG = ("max_seq_len", "micro_batch_size", "training_method")


def along(name: str, config: TrainingConfig) -> str:
    """Return the field that a reading goes along: what sets the micro-batch, if that is asked for.

    Examples
    --------
    >>> along("micro_batch_size", TrainingConfig("m", max_tokens_per_gpu=8192))
    'max_tokens_per_gpu'
    """
    packed = name == "micro_batch_size" and config.max_tokens_per_gpu is not None
    return "max_tokens_per_gpu" if packed else name


def values(field: str, longest: int | None = None) -> list[Any]:
    """Return what a field takes along a reading: every option, or the reach of its slider.

    Parameters
    ----------
    field : str
    longest : int, optional
        The most tokens that the model reads in a sequence.

    Returns
    -------
    list
        Numbers are powers of two and the ones half way between them, in order.

    Examples
    --------
    >>> values("micro_batch_size")
    [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    """
    metadata = TrainingConfig.fields()[field].metadata
    if "options" in metadata:
        return list(metadata["options"])
    low, high = metadata["slider"]
    if field == "max_seq_len" and longest:
        high = max(min(high, longest), 2 * low)
    powers = [low << n for n in range((high // low).bit_length())]
    halves = [power * 3 // 2 for power in powers if power > 1 and power * 3 // 2 <= high]
    return sorted([*powers, *halves])


async def swept(name: str, config: TrainingConfig) -> tuple[Sweep, Limit | None]:
    """Return the estimates along a reading, and how far its field can go where that has an end.

    Between two estimates the event loop takes its turn: a slider never waits for a whole sweep.
    """
    import asyncio

    from ..advise.largest import limit
    from ..advise.sweep import assembled, at
    from ..model.load import load

    field = along(name, config)
    now = getattr(config, field)
    tried = values(field, load(config.model_path).config.get("max_position_embeddings"))
    most = None
    if field != "training_method":
        try:
            most = limit(config, field)
            tried = sorted({*tried, now, most.value or now})
        except ConfigError:  # a field that does nothing in this configuration has no end
            tried = sorted({*tried, now})
    outcomes = []
    for value in tried:
        await asyncio.sleep(0)
        outcomes.append((value, at(config, field, value)))
    return assembled(field, outcomes), most


async def reading(name: str, config: TrainingConfig) -> dict[str, Any]:
    """Return a reading in JSON types, bytes on one GPU."""
    from ..advise.largest import named

    sweep, most = await swept(name, config)
    options = TrainingConfig.fields()[sweep.field].metadata.get("options", {})
    title = "by method" if options else f"over {named(sweep.field)}"
    return {
        **sweep.data(),
        "title": f"Peak {title}",
        "limit": most and {**most.data(), "text": _reach(most)},
        "refused": [[options.get(value, value), why] for value, why in sweep.refused.items()],
    }


def _reach(most: Limit) -> str:
    """Return how far a field can go, as briefly as it stands beside a title."""
    if not most.value:
        need = f"{gib(most.need)} of {gib(most.estimate.gpu.usable)} GiB"
        return f"Does not fit even at 1: may need {need} usable"
    end = ", the most it takes" if most.reached else ""
    return f"Fits up to {most.value:,}{end}"


def figure(name: str, estimate: MemoryEstimate) -> Figure:
    """Return a reading as a matplotlib figure.

    Raises
    ------
    ConfigError
        If the chart has no such reading.
    """
    if name not in ALONG:
        known = ", ".join(ALONG)
        raise ConfigError(
            f"The chart goes along {known}, not {shown(name)}.{nearest(name, [*ALONG])}"
        )
    from ..show.charts import sweep_figure

    sweep, most = _run(swept(name, estimate.config))
    return sweep_figure(sweep, estimate, most.value if most else None)


class Reader:
    """Computes readings beside the notebook, each once for all views that ask.

    Parameters
    ----------
    on_read : callable
        Called with a reading's name, the revision it is about, and the reading.
    """

    def __init__(self, on_read: Callable[[str, int, dict[str, Any]], None]) -> None:
        self._on_read = on_read
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._last: dict[str, tuple[str, dict[str, Any]]] = {}

    def read(self, name: str, config: TrainingConfig, revision: int) -> None:
        """Begin to compute a reading, unless that is under way; without an event loop, finish."""
        import asyncio

        if name in self._under_way:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.finish(name, config, revision)
        else:
            self._under_way[name] = loop.create_task(self._work(name, config, revision))

    def finish(self, name: str, config: TrainingConfig, revision: int) -> None:
        """Compute a reading now, in a running event loop too."""
        _run(self._work(name, config, revision))

    def stop(self) -> None:
        """Give up what is under way."""
        for task in self._under_way.values():
            task.cancel()
        self._under_way.clear()

    async def _work(self, name: str, config: TrainingConfig, revision: int) -> None:
        field = along(name, config)
        # A move along the axis changes nothing but where the mark is.
        moved: dict[str, Any] = {} if field == "training_method" else {field: 1}
        elsewhere = config.replace(**moved)
        key, found = self._last.get(name, ("", {}))
        if key != repr(elsewhere) or getattr(config, field) not in found["values"]:
            found = await reading(name, config)
            self._last[name] = repr(elsewhere), found
        self._under_way.pop(name, None)
        self._on_read(name, revision, found)


def _run(work: Coroutine[None, None, Result]) -> Result:
    """Return what a coroutine does that waits for nothing but its next turn."""
    try:
        while True:
            work.send(None)
    except StopIteration as done:
        return cast("Result", done.value)
