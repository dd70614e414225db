"""What saves memory and is a concession: rounding, more hardware, shorter or smaller training.

Ladders as in `lossless`. Figures: torchtune's table of flags (see there) has paged 8-bit AdamW 5 %
slower and QLoRA 2 % slower than LoRA; Raschka's LoRA experiments of 2023 have QLoRA take 39 % more
time.
"""

from __future__ import annotations

from ... import gpu as cards
from ...config import TrainingConfig
from ...estimate.estimate import MemoryEstimate
from ...units import GiB
from .change import Change, flip, switch
from .feasible import can

#: GPUs in one node, and times the present ones, that advice goes up to.
GPUS_IN_NODE, MOST_TIMES = 8, 8
#: Advice goes no lower: below, an adapter or a sequence is of little use.
LEAST_LENGTH, LEAST_RANK, LEAST_RATIO = 256, 8, 0.05


# -- nearly the same results -----------------------------------------------------------------------

#: Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization": the results of 32 bits.
_EIGHT_BITS = "as good as 32 bits in its paper, about 5 % slower"
EIGHT_BITS = {
    "adamw_torch": "adamw_8bit",
    "adamw_torch_fused": "adamw_8bit",
    "paged_adamw_32bit": "paged_adamw_8bit",
    "lion_32bit": "lion_8bit",
}
PAGED = {"adamw_torch", "adamw_torch_fused", "adamw_8bit", "adamw_bnb_8bit"}


def optimizer_in_8_bits(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Keep the optimizer's states in 8 bits, then where the driver can page them to the host."""
    rungs = []
    if config.optim in EIGHT_BITS:
        fields = {"optim": EIGHT_BITS[config.optim]}
        rungs.append(Change(fields, "Keep the optimizer's states in 8 bits", _EIGHT_BITS))
    if config.optim in PAGED:
        cost = f"{_EIGHT_BITS}; slower yet when states move to host memory"
        rungs.append(Change({"optim": "paged_adamw_8bit"}, "Use paged 8-bit AdamW", cost))
    return rungs


#: NF4's scales quantised too (Dettmers et al. 2023, "QLoRA", section 3).
scales_in_8_bits = flip(
    lambda config: (
        (config.training_method, config.quantization) == ("qlora", "nf4")
        and not config.bnb_4bit_use_double_quant
    ),
    {"bnb_4bit_use_double_quant": True},
    "Turn on double quantisation",
    "as good in its paper",
)


#: Their updates are rounded to 8 bits of precision.
weights_in_half = flip(
    lambda config: config.training_method == "sft" and config.param_dtype == "float32",
    {"param_dtype": "bfloat16"},
    "Train the weights in bfloat16",
    "faster, but small updates are rounded away",
)


# -- more hardware ---------------------------------------------------------------------------------


def more_gpus(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Double the GPUs, up to a full node and then by nodes, where the states are sharded."""
    rungs = []
    nodes, each = config.num_nodes, config.num_gpus // config.num_nodes
    while nodes * each * 2 <= config.num_gpus * MOST_TIMES:
        nodes, each = (nodes, each * 2) if each * 2 <= GPUS_IN_NODE else (nodes * 2, each)
        sharding = _full_sharding(config, nodes)
        if sharding is None or (sharding == "device_map" and nodes > 1):
            break
        rungs.append(_on_gpus(config, each * nodes, nodes, sharding))
    return rungs


def _full_sharding(config: TrainingConfig, nodes: int) -> str | None:
    """Return what spreads everything over all GPUs, if the trainer runs anything that does."""
    spans = config.sharding in ("zero3", "fsdp", "device_map") or (
        config.sharding == "hsdp" and nodes == 1
    )
    if spans:
        return str(config.sharding)
    for name in ("zero3", "fsdp", "device_map"):
        if can(config, {"num_gpus": 2, "sharding": name}):
            return name
    return None


def _on_gpus(config: TrainingConfig, count: int, nodes: int, sharding: str) -> Change:
    times = count // config.num_gpus
    fields: dict[str, object] = {"num_gpus": count}
    if nodes != config.num_nodes:
        fields["num_nodes"] = nodes
    if sharding != config.sharding:
        fields["sharding"] = sharding
    if sharding == "device_map":
        cost = f"{count} cards in place of {config.num_gpus}, one at work at a time"
        fields["gradient_accumulation_steps"] = (
            config.gradient_accumulation_steps * config.num_processes
        )
        return Change(fields, f"Spread the layers over {count} GPUs", cost)
    passes, rest = divmod(config.gradient_accumulation_steps, times)
    batch = "the same effective batch"
    if rest:
        batch = f"{times} times the effective batch"
    else:
        fields["gradient_accumulation_steps"] = passes
    cost = f"{count} cards in place of {config.num_gpus}, {batch}"
    return Change(fields, f"Use {count} GPUs", cost)


def bigger_card(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Take the smallest card of the same vendor that it fits on, and that is no slower."""
    found = [
        card
        for card in map(cards.lookup, cards.names())
        if card.vendor == now.gpu.vendor
        and card.usable >= now.high
        and card.bandwidth >= now.gpu.bandwidth
        and card.bf16_flops >= now.gpu.bf16_flops
    ]
    if not found:
        return []
    card = min(found, key=lambda card: card.memory)  # of those alike the first: the newest
    size = "" if "GB" in card.name else f" ({card.memory / GiB:.0f} GiB)"
    kind = "a larger card" if config.num_gpus == 1 else "larger cards"
    return [Change({"gpu": card.name, "gpu_memory": None}, f"Use {card.name}{size}", kind)]


# -- another training ------------------------------------------------------------------------------


#: It keeps masks and dropped copies.
no_dropout = flip(
    lambda config: config.adapts and config.lora_dropout > 0,
    {"lora_dropout": 0.0},
    "Leave out LoRA's dropout",
    "faster, less regularised",
)


#: Adapters without magnitudes.
no_dora = flip(
    lambda config: config.adapts and config.use_dora,
    {"use_dora": False},
    "Use LoRA in place of DoRA",
    "faster, may learn less",
)


def shorter(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Halve the sequences, but not below the average sample."""
    least = max(LEAST_LENGTH, config.tokens_per_sample)
    lengths = [config.max_seq_len >> k for k in range(1, 24)]
    return [
        Change(
            {"max_seq_len": length},
            f"Shorten the sequences to {length:,} tokens",
            "longer samples are truncated",
        )
        for length in lengths
        if length >= least
    ]


def lower_rank(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Halve LoRA's rank, or the share of directions that OSFT trains."""
    if config.training_method == "osft":
        shares = [round(config.unfreeze_rank_ratio / 2**k, 4) for k in range(1, 5)]
        return [
            Change(
                {"unfreeze_rank_ratio": share},
                f"Lower the unfreeze rank ratio to {share:g}",
                "trains fewer directions",
            )
            for share in shares
            if share >= LEAST_RATIO
        ]
    if config.training_method == "sft":
        return []
    ranks = [config.lora_r >> k for k in range(1, 16)]
    cost = "smaller adapters, may learn less"
    return [
        Change({"lora_r": rank}, f"Lower the LoRA rank to {rank}", cost)
        for rank in ranks
        if rank >= LEAST_RANK
    ]


#: Biderman et al. 2024, "LoRA Learns Less and Forgets Less".
adapters = switch(
    ("sft", "osft"),
    "lora",
    "Train adapters (LoRA)",
    "faster; trains about 1 % of the weights, learns less and forgets less",
)


#: Dettmers et al. 2023, "QLoRA": as good as 16 bits in their runs.
quantised_base = switch(
    ("sft", "lora", "osft"),
    "qlora",
    "Train adapters on a 4-bit base (QLoRA)",
    "as good as LoRA in its paper, 2 to 40 % slower",
)
