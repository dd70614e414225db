"""What to spend room on: ladders as in `lossless`, from the least to the most that it may go to."""

from __future__ import annotations

from ...config import TrainingConfig
from ...estimate.estimate import MemoryEstimate
from ..search import Search
from ..suggestion import Suggestion
from .change import Change, Ladder, flip, switch

#: Beyond this rank adapters stop being small: torchtune's and PEFT's comparisons end at 64 to 128.
MOST_RANK = 256
MICRO_BATCH = ("micro_batch_size", "micro-batch")
#: It is raised to no more than this many times what it is.
MOST_TIMES = 256


no_checkpointing = flip(
    lambda config: config.gradient_checkpointing,
    {"gradient_checkpointing": False, "offload_activations": False},
    "Turn off gradient checkpointing",
    "about 20 % faster",  # the reverse of 27 % more time, see lossless
)


nothing_on_host = flip(
    lambda config: config.cpu_offload != "none",
    {"cpu_offload": "none"},
    "Keep optimizer and weights on the card",
    "faster",
)


def larger_passes(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Take more at once: of several passes before a step fewer, else a larger effective batch."""
    packed = config.max_tokens_per_gpu is not None
    name, unit = ("max_tokens_per_gpu", "tokens per GPU") if packed else MICRO_BATCH
    size, passes = getattr(config, name), config.gradient_accumulation_steps
    if passes > 1:
        return [
            Change(
                {name: size * times, "gradient_accumulation_steps": passes // times},
                f"Raise the {unit} to {size * times:,} and accumulate {passes // times}",
                "same effective batch in fewer passes, faster",
            )
            for times in range(2, passes + 1)
            if passes % times == 0
        ]
    return [
        Change(
            {name: size * times},
            f"Raise the {unit} to {size * times:,}",
            f"{times} times the effective batch, faster",
        )
        for times in _doublings(2, MOST_TIMES)
    ]


def longer(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Take longer sequences, up to what the model reads and a pass holds."""
    reads = now.architecture.config.get("max_position_embeddings") or config.max_seq_len
    most = min(reads, config.max_tokens_per_gpu or reads)
    return [
        Change(
            {"max_seq_len": length},
            f"Lengthen the sequences to {length:,} tokens",
            "fewer samples are truncated",
        )
        for length in _doublings(2 * config.max_seq_len, most)
    ]


def higher_rank(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Train larger adapters."""
    if not config.adapts:
        return []
    return [
        Change({"lora_r": rank}, f"Raise the LoRA rank to {rank}", "may learn more")
        for rank in _doublings(2 * config.lora_r, MOST_RANK)
    ]


def more_directions(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Let OSFT train a larger share of each weight's directions."""
    if config.training_method != "osft":
        return []
    shares = [share for share in (0.5, 0.75) if share > config.unfreeze_rank_ratio]
    return [
        Change(
            {"unfreeze_rank_ratio": share},
            f"Raise the unfreeze rank ratio to {share:g}",
            "learns more, forgets more",
        )
        for share in shares
    ]


unquantised_base = switch(("qlora",), "lora", "Keep the base in 16 bits (LoRA)", "not rounded")


every_weight = switch(
    ("lora", "qlora"),
    "sft",
    "Train every weight (full fine-tuning)",
    "slower; learns more, forgets more",
)


def fewer_gpus(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Give GPUs back, and take as many passes more."""
    each, passes = config.num_gpus // config.num_nodes, config.gradient_accumulation_steps
    alone = config.num_processes == 1
    return [
        Change(
            {
                "num_gpus": config.num_gpus // times,
                "gradient_accumulation_steps": passes if alone else passes * times,
            },
            f"Run on {config.num_gpus // times} GPU{'s' * (config.num_gpus > times)}",
            f"frees {config.num_gpus - config.num_gpus // times}, same effective batch"
            f"{'' if alone else ', slower'}",
        )
        for times in range(2, each + 1)
        if each % times == 0
    ]


def _doublings(first: int, most: int) -> list[int]:
    return [first << k for k in range(24) if first << k <= most]


#: Every way to spend room, the most wanted first.
MOST_WANTED_FIRST: tuple[Ladder, ...] = (
    no_checkpointing,
    nothing_on_host,
    larger_passes,
    longer,
    higher_rank,
    more_directions,
    unquantised_base,
    every_weight,
    fewer_gpus,
)


def spending(search: Search) -> list[Suggestion]:
    """Return what the room allows, the most wanted first."""
    found = []
    for ladder in MOST_WANTED_FIRST:
        changes = search.changes(ladder, search.config)
        configs = [search.config.replace(**change.fields) for change in changes]
        at = search.furthest(configs)
        if at is not None:
            found.append(search.suggestion([changes[at]], configs[at]))
    return [each for each in found if each]
