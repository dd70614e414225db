"""What to spend room on: the most that may fit, estimated again before it is said."""

from __future__ import annotations

from ..config import TrainingConfig
from ..estimate import MemoryEstimate
from .change import Change, Saver
from .largest import limit
from .search import Search
from .suggestion import Suggestion

#: Beyond this rank adapters stop being small: torchtune's and PEFT's comparisons end at 64 to 128.
MOST_RANK = 256


def no_checkpointing(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Run nothing twice."""
    if not config.gradient_checkpointing:
        return []
    return [
        Change(
            {"gradient_checkpointing": False, "offload_activations": False},
            "Turn off gradient checkpointing",
            "about 20 % faster",  # the reverse of 27 % more time, see savers
        )
    ]


def nothing_on_host(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Keep on the card what waits in the host's memory."""
    if config.cpu_offload == "none":
        return []
    return [Change({"cpu_offload": "none"}, "Keep optimizer and weights on the card", "faster")]


def larger_passes(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Take more at once: of several passes before a step fewer, else a larger effective batch."""
    packed = config.max_tokens_per_gpu is not None
    name = "max_tokens_per_gpu" if packed else "micro_batch_size"
    size, passes = getattr(config, name), config.gradient_accumulation_steps
    most = limit(config, name).value
    unit = "tokens per GPU" if packed else "micro-batch"
    fewer = [k for k in range(2, passes + 1) if passes % k == 0 and size * k <= most]
    if fewer:
        times = max(fewer)
        fields = {name: size * times, "gradient_accumulation_steps": passes // times}
        what = f"Raise the {unit} to {size * times:,} and accumulate {passes // times}"
        return [Change(fields, what, "same effective batch in fewer passes, faster")]
    times = most // size
    if times < 2:
        return []
    cost = f"{times} times the effective batch, faster"
    return [Change({name: size * times}, f"Raise the {unit} to {size * times:,}", cost)]


def longer(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Take longer sequences, by powers of two."""
    most = limit(config, "max_seq_len").value
    length = 1 << (most.bit_length() - 1)
    if config.max_tokens_per_gpu is not None:  # a sequence is no longer than its pass
        length = min(length, config.max_tokens_per_gpu)
    if length <= config.max_seq_len:
        return []
    what = f"Lengthen the sequences to {length:,} tokens"
    return [Change({"max_seq_len": length}, what, "longer samples stay whole")]


def higher_rank(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Train larger adapters."""
    if config.training_method not in ("lora", "qlora"):
        return []
    most = min(limit(config, "lora_r").value, MOST_RANK)
    rank = 1 << (most.bit_length() - 1)
    if rank <= config.lora_r:
        return []
    return [Change({"lora_r": rank}, f"Raise the LoRA rank to {rank}", "may learn more")]


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
        for share in reversed(shares)
    ]


def whole_base(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Round the frozen base no more."""
    if config.training_method != "qlora":
        return []
    return [Change({"training_method": "lora"}, "Keep the base in 16 bits (LoRA)", "not rounded")]


def every_weight(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Train all weights."""
    if config.training_method not in ("lora", "qlora"):
        return []
    cost = "slower; learns more, forgets more"
    return [Change({"training_method": "sft"}, "Train every weight (full fine-tuning)", cost)]


def fewer_gpus(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Give GPUs back."""
    if config.num_gpus == config.num_nodes:
        return []
    fewest = limit(config, "num_gpus").value
    if not 0 < fewest < config.num_gpus:
        return []
    times, rest = divmod(config.num_gpus, fewest)
    fields = {"num_gpus": fewest}
    batch = "a smaller effective batch"
    if not rest:
        fields["gradient_accumulation_steps"] = config.gradient_accumulation_steps * times
        batch = "the same effective batch"
    what = f"Run on {fewest} GPU" + ("s" if fewest > 1 else "")
    return [Change(fields, what, f"frees {config.num_gpus - fewest}, takes longer, {batch}")]


#: Every way to spend room, the most wanted first.
MOST_WANTED_FIRST: tuple[Saver, ...] = (
    no_checkpointing,
    nothing_on_host,
    larger_passes,
    longer,
    higher_rank,
    more_directions,
    whole_base,
    every_weight,
    fewer_gpus,
)


def spending(search: Search) -> list[Suggestion]:
    """Return what the room allows, the most wanted first."""
    found = []
    for spender in MOST_WANTED_FIRST:
        for change in search.ladder(spender, search.config):
            each = search.suggestion([change], search.config.replace(**change.fields))
            if each and each.fits:
                found.append(each)
                break
    return found
