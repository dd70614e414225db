"""From a configuration to an estimate: how much memory, why, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from ..allocator.conf import AllocConf
from ..allocator.lengths import Batch, checked, drawn, packed, padded
from ..allocator.reserved import Reserved, over_time, reserved
from ..config import AnyConfig, TrainingConfig
from ..config.config import names_fields
from ..errors import ConfigError
from ..gpu import GPU, resolve
from ..model.load import load
from ..show import text
from ..step.architecture import Architecture
from ..step.methods.methods import PACKED
from ..step.model_split import cards
from ..step.record import Moment
from ..step.replay import replay
from ..step.run import Run
from ..step.timeline import COMPONENTS, Timeline
from ..trainers import QUERY_AND_VALUE, TRAINERS
from ..units import gib
from . import experts, explain, published, versions
from .overhead import FRAGMENTED_SLACK, USUAL_SLACK, fixed
from .why import notes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from typing_extensions import Unpack

    from ..config.choices import Choices

#: An unknown family is replayed as a generic decoder: its blocks may keep this much more or less.
UNKNOWN_FAMILY = 0.10
#: Steps of varying length that the allocator is replayed over.
STEPS = 24


class MemoryEstimate:
    """The memory of one GPU over the first training steps.

    Unpacks to ``low, expected, high`` in bytes, as Training Hub returns them.

    Attributes
    ----------
    config, architecture, gpu
        What it is of: the choices, the model and the card.
    allocated : int
        The peak of ``torch.cuda.max_memory_allocated()``, bytes: of a model split over cards, that
        of the fullest.
    per_gpu : tuple of int
        The same of each card that a process has: several for a model split alone, in the order of
        its layers.
    low, expected, high : int
        Bytes of the card in use at the peak: tensors and the least that CUDA and NCCL take; with
        what they usually take and the allocator's usual slack; their most, and a fragmented cache.
    notices : tuple of str
        What a person should know about the figure.

    Examples
    --------
    >>> est = estimate("meta-llama/Llama-3.1-8B", training_method="qlora", gpu="RTX 4090")
    >>> low, expected, high = est
    >>> low < expected < high < est.capacity
    True
    >>> est.peak_phase, est.verdict, sum(est.components.values()) == expected
    ('backward', 'fits', True)
    """

    config: TrainingConfig
    architecture: Architecture
    gpu: GPU
    allocated: int
    per_gpu: tuple[int, ...]
    low: int
    expected: int
    high: int
    components: dict[str, int]
    peak_phase: str
    peak_step: int
    num_trainable: int
    notices: tuple[str, ...]
    timeline: Timeline
    notes: dict[str, str]

    def __init__(self, config: TrainingConfig, run: Run, gpu: GPU) -> None:
        self.config = config
        self.architecture = run.architecture
        self.gpu = gpu
        self.num_trainable = run.num_trainable
        self.notices = (*run.architecture.notices, *experts.notices(run), *versions.notices(run))

    def __iter__(self) -> Iterator[int]:
        return iter((self.low, self.expected, self.high))

    @property
    def capacity(self) -> int:
        """Bytes of memory of the card."""
        return self.gpu.memory

    @property
    def num_parameters(self) -> int:
        """Parameters of the model, adapters not counted."""
        return self.architecture.num_parameters

    @property
    def fits(self) -> bool:
        """Whether what is counted fits even in the worst case."""
        return self.high <= self.gpu.usable

    @property
    def verdict(self) -> str:
        """Whether it fits: ``fits``, ``likely``, ``risky`` or ``does_not_fit``.

        Never ``fits`` where something that trains or is held is known not to be counted.
        """
        too_little = any(each["effect"] == "too_little" for each in self.config.uncounted)
        if self.fits and not too_little:
            return "fits"
        if self.expected <= self.gpu.usable:
            return "likely"
        return "risky" if self.low <= self.gpu.memory else "does_not_fit"

    def __repr__(self) -> str:
        verdict = f"{text.verdict(self)} ({text.band(self)})"
        return f"{self.config.model_path}, {self.config.training_method}: {verdict}"

    def explain(self, index: int | None = None) -> explain.Node:
        """Return the tree component -> operator -> tensor at a moment, or at the peak."""
        raise NotImplementedError

    @cached_property
    def reserved(self) -> Reserved:
        """What PyTorch's caching allocator reserves for the run, replayed when it is read."""
        return self.reserved_for()

    def reserved_for(self, lengths: Sequence[int] = ()) -> Reserved:
        """Return what the allocator reserves where samples have these lengths, in tokens."""
        raise NotImplementedError

    @property
    def reserved_over_time(self) -> list[int]:
        """Bytes that PyTorch reserves at each moment of the timeline; none by a formula."""
        return []

    def plot(self) -> Figure:
        """Return the stacked timeline as a matplotlib figure, and above it what is reserved."""
        from ..show.plot import timeline_figure

        return timeline_figure(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from ..show.plot import png

        return {"text/plain": text.summary(self), "image/png": png(self.plot())}


class ReplayedEstimate(MemoryEstimate):
    """An estimate by the replay of a training step: the peak, and every byte of it."""

    def __init__(self, config: TrainingConfig, run: Run, gpu: GPU) -> None:
        super().__init__(config, run, gpu)
        parts = cards(run)
        self.per_gpu = tuple(replay(part).peak for part in parts)
        self._run = run = parts[self.per_gpu.index(max(self.per_gpu))]
        self._record = record = replay(run)
        self.allocated = record.peak
        unknown = 0.0 if run.architecture.known else UNKNOWN_FAMILY
        self._fixed = fixed(config, gpu)
        least, usual, most = (sum(sizes) for sizes in zip(*self._fixed.values(), strict=True))
        self.low = int(self.allocated * (1 - unknown)) + least
        self.expected = int(self.allocated * (1 + USUAL_SLACK)) + usual
        self.high = int(self.allocated * (1 + FRAGMENTED_SLACK + unknown)) + most
        self.peak_phase = record.peak_phase
        self.peak_step = record.peak_step
        levels = dict(zip(COMPONENTS, record.at(record.peak_moment), strict=True))
        self.components = {**levels, "overhead": self.expected - self.allocated}

    def reserved_for(self, lengths: Sequence[int] = ()) -> Reserved:
        """Return what the allocator reserves where samples have these lengths.

        It is replayed over the recorded steps until they are alike, and in another process over
        STEPS batches of samples drawn from the lengths, of which the longest comes last. Batches
        are padded to their longest sample or filled up to ``max_tokens_per_gpu``; else they are all
        full, and nothing varies.

        Parameters
        ----------
        lengths : sequence of int, optional
            Tokens of each sample; without them lengths are drawn around ``tokens_per_sample``
            (`allocator.lengths`).

        Returns
        -------
        Reserved
            Bytes, without what CUDA and NCCL take beside the allocator.

        Raises
        ------
        ConfigError
            If a length is no whole number from 1 on.

        Examples
        --------
        >>> est = estimate("HuggingFaceTB/SmolLM2-135M", trainer="trl", gpu="T4")
        >>> held = est.reserved_for([100, 200, 400])
        >>> est.allocated < held.given_back <= held.steady <= held.varied
        True
        """
        settings, config = self._run.settings, self.config
        draw = drawn(config.tokens_per_sample, settings.max_seq_len, checked(lengths))
        batches: Iterable[Batch] = ()
        if config.max_tokens_per_gpu:
            batches = packed(settings.tokens, draw)
        elif settings.padded:
            batches = padded(config.micro_batch_size, draw)
        others = [
            replay(self._run.at(batch.tokens, batch.length)) for batch in islice(batches, STEPS)
        ]
        return reserved(self._record, others, AllocConf.of(config.pytorch_alloc_conf))

    @cached_property
    def reserved_over_time(self) -> list[int]:
        """Bytes of the card that are reserved at each moment, with what CUDA and NCCL take."""
        usual = sum(size.expected for size in self._fixed.values())
        conf = AllocConf.of(self.config.pytorch_alloc_conf)
        return [usual + nbytes for nbytes in over_time(self._record, conf)]

    @cached_property
    def timeline(self) -> Timeline:  # type: ignore[override]  # computed when it is read
        """Memory by component from loading to the end of the second step."""
        drawn, _ = self._record.timeline
        highest = accumulate(drawn.total, max)  # the allocator gives nothing back
        usual = sum(size.expected for size in self._fixed.values())
        overhead = [usual + int(level * USUAL_SLACK) for level in highest]
        return replace(drawn, bytes={**drawn.bytes, "overhead": overhead})

    def explain(self, index: int | None = None) -> explain.Node:
        """Return the tree component -> operator -> tensor at a moment.

        Parameters
        ----------
        index : int, optional
            A moment of the timeline; the peak, if not given.

        Raises
        ------
        ConfigError
            If the timeline has no such moment.

        Examples
        --------
        >>> est = estimate("HuggingFaceTB/SmolLM2-135M", gpu="T4")
        >>> tree = est.explain()
        >>> tree.bytes == est.expected == sum(est.components.values())
        True
        """
        if index is None:
            moment, overhead = self._record.peak_moment, self.components["overhead"]
        else:
            self.timeline.check(index)
            moment = Moment(*self._record.timeline[1][index])
            overhead = self.timeline.bytes["overhead"][index]
        rows = [
            (a.component, a.operator or "batch", a.what, a.shape, a.dtype.name, n, n * a.nbytes)
            for a, n in self._record.alive(moment)
        ]
        taken = {name: size.expected for name, size in self._fixed.items()}
        taken["allocator", "slack"] = overhead - sum(taken.values())
        rows += [("overhead", *name, (), "", 1, size) for name, size in taken.items()]
        return explain.tree(rows)

    @cached_property
    def notes(self) -> dict[str, str]:  # type: ignore[override]
        """For each component at the peak, in a few words, what it is made of."""
        return notes(self, self.explain())


class PublishedEstimate(MemoryEstimate):
    """An estimate by a published closed formula: one sum, no course over time."""

    def __init__(self, config: TrainingConfig, run: Run, gpu: GPU) -> None:
        super().__init__(config, run, gpu)
        formula = published.estimate(run.architecture, config)
        self.low, self.expected, self.high = formula.low, formula.expected, formula.high
        self.components = {**dict.fromkeys(COMPONENTS, 0), **formula.components}
        self.components["overhead"] += self.expected - sum(self.components.values())
        self.allocated = self.expected - self.components["overhead"]
        self.per_gpu = (self.allocated,)
        self.peak_phase, self.peak_step = formula.peak_phase, 1
        levels = [self.components[component] for component in COMPONENTS]
        self.timeline = Timeline()
        for seconds in (0.0, 1.0):
            self.timeline.append(seconds, 1, formula.peak_phase, levels)

    @cached_property
    def notes(self) -> dict[str, str]:  # type: ignore[override]
        """For each component, that the formula knows no more than its sum."""
        return dict.fromkeys(COMPONENTS, "by the published formula")

    def reserved_for(self, lengths: Sequence[int] = ()) -> Reserved:
        """Refuse to say: a formula has no allocations that an allocator could serve."""
        raise ConfigError(
            "A published formula knows nothing of the allocator: take memory_model='replay'."
        )

    def explain(self, index: int | None = None) -> explain.Node:
        """Return the formula's components, the same at every moment: it knows no tensors."""
        if index is not None:
            self.timeline.check(index)
        return explain.tree(
            (name, "formula", name, (), "", 1, nbytes) for name, nbytes in self.components.items()
        )


@names_fields
def estimate(config: AnyConfig | None = None, **choices: Unpack[Choices]) -> MemoryEstimate:
    """Estimate the GPU memory of a fine-tune.

    Parameters
    ----------
    config : TrainingConfig, mapping or str, optional
        The choices, or only the model.
    **choices
        Fields of `TrainingConfig`; they go before those of `config`.

    Returns
    -------
    MemoryEstimate
        Unpacks to ``low, expected, high``: bytes on each GPU.

    Raises
    ------
    UnknownFieldError
        For a keyword that names no field.
    ConfigError
        For a value that a field cannot take, or that the model or the trainer cannot have.
    ModelError
        If the model cannot be found, read or understood.
    GPUError
        If the GPU is not in the catalogue.

    Examples
    --------
    >>> est = estimate("meta-llama/Llama-3.1-8B", training_method="lora", gpu="A100-80GB")
    >>> low, expected, high = est
    >>> est.verdict
    'fits'
    """
    config = TrainingConfig.of(config, **choices)
    config.check()
    architecture = load(config.model_path)
    gpu, notice = resolve(config.gpu, config.gpu_memory, config.num_gpus)
    run = Run.of(config, architecture, gpu)
    notices = [each["text"] for each in config.uncounted]
    notices += [notice] if notice else []
    stored = architecture.quantization
    if stored in PACKED and (config.training_method, config.quantization) != ("qlora", stored):
        notices.append(f"The checkpoint is stored as {stored}, and the base stays so.")
    kind, trainer = architecture.model_type, TRAINERS[config.trainer]
    if config.adapts and trainer.needs_target_modules(config.target_modules, kind):
        notices.append(
            f"{trainer.label} leaves target_modules to PEFT, which has none for {kind} and will "
            f"ask for them: counted are {' and '.join(QUERY_AND_VALUE)}."
        )
    found: MemoryEstimate
    if config.memory_model == "replay":
        found = ReplayedEstimate(config, run, gpu)
    else:
        found = PublishedEstimate(config, run, gpu)
    if len(found.per_gpu) > 1:
        sizes = ", ".join(gib(each) for each in found.per_gpu)
        notices.append(
            f"The fullest of {config.num_gpus} GPUs, which hold {sizes} GiB in the order of the "
            "layers; one works at a time."
        )
    found.notices = (*found.notices, *notices)
    return found
