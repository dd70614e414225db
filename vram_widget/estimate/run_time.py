"""How long a run takes and what it costs: from its FLOPs and the bytes it moves, as a range.

One forward and backward pass is replayed (`step.replay`) on a card that counts instead of timing:
the FLOPs of every matrix product and of attention, the experts that are active, what frozen
weights skip and what checkpointing repeats, and the bytes that all other operators read and
write. A real card takes both at a share of its rates: the paces (`pace`) say which, and why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf
from typing import TYPE_CHECKING, NamedTuple

from ..config import AnyConfig, TrainingConfig
from ..config.config import names_fields
from ..gpu import GPU, resolve
from ..gpu.catalogue import PCIE
from ..model.load import load
from ..step.replay import one_pass
from ..step.run import Run
from ..units import duration, quantity
from .pace import FAST, SLOW, USUAL, Pace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..config.choices import Choices

#: What AdamW moves for a trained parameter: gradient, weight and two moments read, three written.
OPTIMIZER_TRAFFIC = 7


class Range(NamedTuple):
    """A figure at its best, as it is expected, and at its worst."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True)
class RunTime:
    """The time of a run.

    Attributes
    ----------
    steps : int
        Optimizer steps.
    tokens : int
        Tokens of the data, over all epochs, padding not counted.
    flops : float
        FLOPs of the whole run over all GPUs, at the expected padding.
    seconds : Range
        From the first step to the last; loading and saving are not counted.
    gpus : int
        GPUs of the run.
    cost : Range or None
        In the currency of `gpu_hour_price`; None without one.
    notices : tuple of str
        What a person should know about the figures.
    """

    steps: int
    tokens: int
    flops: float
    seconds: Range
    gpus: int
    cost: Range | None
    notices: tuple[str, ...]

    @property
    def hours(self) -> Range:
        """Hours from the first step to the last."""
        return Range(*(seconds / 3600 for seconds in self.seconds))

    @property
    def gpu_hours(self) -> Range:
        """Hours, counted once for each GPU."""
        return Range(*(hours * self.gpus for hours in self.hours))

    @property
    def tokens_per_second(self) -> float:
        """Tokens of the data in a second on each GPU, as expected."""
        return self.tokens / self.seconds.expected / self.gpus

    def __repr__(self) -> str:
        low, expected, high = map(duration, self.seconds)
        gpus = f"{self.gpus} GPU" if self.gpus == 1 else f"{self.gpus} GPUs"
        line = f"{expected} ({low}–{high}) for {self.steps:,} steps on {gpus}"
        if self.cost is None:
            return line
        return f"{line}, {self.cost.expected:,.2f} ({self.cost.low:,.2f}–{self.cost.high:,.2f})"

    def data(self) -> list[dict[str, str]]:
        """Return the figures as the widget shows them: each with its label and a remark."""
        low, expected, high = map(duration, self.seconds)
        shown = [
            ("Time", expected, f"{low}–{high}"),
            ("Steps", f"{self.steps:,}", f"{quantity(self.tokens)} tokens"),
            ("Tokens a second", f"{self.tokens_per_second:,.0f}", "on each GPU"),
        ]
        if self.cost is not None:
            low, expected, high = (f"{each:,.2f}" for each in self.cost)
            shown.append(("Cost", expected, f"{low}–{high}"))
        return [{"label": label, "value": value, "note": note} for label, value, note in shown]


@names_fields
def run_time(config: AnyConfig, **choices: Unpack[Choices]) -> RunTime:
    """Return how long a run takes, and what it costs where `gpu_hour_price` is set.

    Parameters
    ----------
    config : TrainingConfig, mapping or str
        The run, or only its model.
    **choices
        Fields to change, such as `num_samples`, `tokens_per_sample`, `num_epochs` and
        `gpu_hour_price`.

    Raises
    ------
    ConfigError
        For a choice that cannot be.
    ModelError, GPUError
        If the model or the GPU is not known.

    Examples
    --------
    >>> run = run_time("meta-llama/Llama-3.1-8B", training_method="lora", gpu="H100",
    ...     num_samples=10_000, tokens_per_sample=700, num_epochs=3, gpu_hour_price=2.5)
    >>> run.tokens
    21000000
    >>> run.hours.low < run.hours.expected < run.hours.high
    True
    """
    config = TrainingConfig.of(config, **choices)
    config.check()
    architecture = load(config.model_path)
    gpu, chosen = resolve(config.gpu, config.gpu_memory, config.num_gpus)
    run = Run.of(config, architecture, gpu)
    batches = Batches(config)
    counted: dict[int, Work] = {}
    seconds = []
    for pace in (FAST, USUAL, SLOW):
        length = batches.length(pace)
        if length not in counted:
            counted[length] = Work(Run.of(batches.one_pass(length), architecture, gpu))
        step = _step_seconds(config, run, gpu, counted[length], pace)
        seconds.append(batches.steps(pace) * step)
    price = config.gpu_hour_price
    cost = None
    if price is not None:
        cost = Range(*(price * config.num_gpus * each / 3600 for each in seconds))
    passes = batches.steps(USUAL) * batches.parallel
    return RunTime(
        batches.steps(USUAL),
        batches.tokens,
        counted[batches.length(USUAL)].flops * passes,
        Range(*seconds),
        config.num_gpus,
        cost,
        tuple(notice for notice in (chosen, *_notices(config)) if notice),
    )


class Batches:
    """How the data falls into steps: packed to the brim, or padded to the longest of a batch."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.sample = int(min(config.tokens_per_sample, config.max_seq_len))
        self.rows = max(1, int(config.tokens // config.max_seq_len))
        self.tokens: int = round(config.num_samples * self.sample * config.num_epochs)
        self.parallel = config.num_processes * int(config.gradient_accumulation_steps)

    def steps(self, pace: Pace) -> int:
        """Return the optimizer steps of the run."""
        config = self.config
        if config.padded:
            in_epoch = ceil(int(config.num_samples) / (self.rows * self.parallel))
            return max(1, round(in_epoch * float(config.num_epochs)))
        in_step = float(config.tokens * pace.packing * self.parallel)
        return max(1, ceil(self.tokens / in_step))

    def length(self, pace: Pace) -> int:
        """Return the length of the sequences that a pass really works on.

        Packed samples attend within themselves where the kernel gets their lengths; otherwise
        a row attends to all of itself. Of padded samples a row is as long as the longest: among n
        of exponential lengths 1 + 1/2 + ... + 1/n times the average.
        """
        longest = int(self.config.max_seq_len)
        if not self.config.padded:
            varlen = self.config.attn_implementation == "flash_attention_2"
            return self.sample if varlen else longest
        if pace is SLOW:
            return longest
        spread = sum(1 / n for n in range(1, min(self.rows, 1000) + 1)) if pace is USUAL else 1
        return min(longest, ceil(self.sample * spread))

    def one_pass(self, length: int) -> TrainingConfig:
        """Return the configuration of one pass over sequences of `length` tokens."""
        config = self.config
        if config.padded:
            return config.replace(
                max_seq_len=length, micro_batch_size=self.rows, max_tokens_per_gpu=None
            )
        return config.replace(max_seq_len=length, max_tokens_per_gpu=config.tokens)


class Work:
    """What one pass of one GPU computes and moves.

    Attributes
    ----------
    flops : float
        FLOPs of matrix products and attention.
    traffic : float
        Bytes that PyTorch's unfused operators read and write beside them.
    """

    def __init__(self, run: Run) -> None:
        self.flops = _clock(replace(run, flops=1.0, bandwidth=inf))
        self.traffic = _clock(replace(run, flops=inf, bandwidth=1.0))


def _clock(run: Run) -> float:
    segments = one_pass(run).segments
    return float(sum(segment.seconds * segment.count for segment in segments))


def _step_seconds(config: TrainingConfig, run: Run, gpu: GPU, work: Work, pace: Pace) -> float:
    """Return the seconds of one optimizer step."""
    rate = gpu.bf16_flops * pace.matmul
    if config.param_dtype == "float32" and config.mixed_precision == "no":
        rate *= pace.float32
    device = work.flops / rate + pace.traffic * work.traffic / gpu.bandwidth
    if config.training_method == "osft":
        device *= pace.osft
    compute = max(device, pace.layer * run.architecture.num_hidden_layers)
    passes = config.gradient_accumulation_steps
    linked = _communication(config, run, gpu, pace)
    exposed = max(linked * (1 - pace.hidden), linked - compute * passes)
    return float(compute * passes + exposed + _optimizer(config, run, gpu, pace))


def _communication(config: TrainingConfig, run: Run, gpu: GPU, pace: Pace) -> float:
    """Return the seconds that the collectives of one step take.

    An all-gather and a reduce-scatter over n GPUs move (n - 1) / n of their bytes over each GPU's
    link, an all-reduce twice that. Weights that are sharded are gathered twice a pass, in 2 bytes.
    """
    gpus, passes = config.num_processes, config.gradient_accumulation_steps
    if gpus == 1:
        return 0.0
    sharding, trained = run.sharding, run.num_trainable
    local = gpus // config.num_nodes
    inside = gpu.link * pace.link
    across = min(inside, local * pace.network * pace.link) if config.num_nodes > 1 else inside
    gradients = trained * (4 if config.param_dtype == "float32" else 2)
    moved = 2 * gradients  # all-reduced, once a step
    if sharding.parameters > 1:
        moved = passes * (2 * 2 * run.architecture.num_parameters + gradients)
    elif sharding.gradients > 1:
        moved = passes * gradients + 2 * trained
    if 1 < sharding.parameters < gpus:  # hybrid: over the nodes only the gradients' shards
        between = _share(config.num_nodes) * 2 * gradients / sharding.parameters / across
        return _share(sharding.parameters) * moved / inside + between
    return _share(gpus) * moved / across


def _share(members: int) -> float:
    return (members - 1) / members


def _optimizer(config: TrainingConfig, run: Run, gpu: GPU, pace: Pace) -> float:
    """Return the seconds of the optimizer's own step, on the card or on the host."""
    width = 4 if config.param_dtype == "float32" else 2
    held = run.num_trainable / run.sharding.optimizer
    if config.cpu_offload in ("none", "parameters"):
        return OPTIMIZER_TRAFFIC * width * held / gpu.bandwidth
    on_host = OPTIMIZER_TRAFFIC * 4 * held / pace.host_memory
    return on_host + 2 * width * held / (PCIE * pace.link)


def _notices(config: TrainingConfig) -> list[str]:
    notices = []
    if config.param_dtype == "float32" and config.mixed_precision == "no":
        notices.append("float32 without mixed precision runs at a fraction of the card's rate.")
    if config.tokens_per_sample > config.max_seq_len:
        notices.append(f"Samples are cut to the {config.max_seq_len:,} tokens of a sequence.")
    if config.cpu_offload in ("parameters", "all"):
        notices.append("Fetching the weights from the host for each pass is not counted.")
    if config.training_method == "osft":
        notices.append("OSFT's time is known from few runs: the range is wide.")
    return notices
