"""What saves memory and leaves the results as they are: a ladder each, the gentlest rung first.

A cost with a figure, and that something is no slower, rest on torchtune's table of flags
(pytorch/torchtune@bd2a0fc README.md: Llama 3.2 3B on an A100, tokens a second with one flag after
another): chunked loss 8,998 -> 9,174, checkpointing -> 7,210 (27 % more time), optimizer in
backward -> 7,309, offloaded activations -> 7,301.
"""

from __future__ import annotations

from ...config import TrainingConfig
from ...estimate.estimate import MemoryEstimate
from ...estimate.why import no_sync
from ...step.liger import FAMILIES
from ...trainers import SHARDS_PARAMETERS, TRAINERS
from .change import FREE, Change, flip
from .feasible import can

# -- no slower -------------------------------------------------------------------------------------


drop_outputs = flip(
    lambda config: config.keeps_outputs,
    {"keeps_outputs": False},
    "Drop the outputs before backward",
    FREE,
)


def attention(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Make neither the length x length matrix nor masks; FlashAttention 2 needs bfloat16 units."""
    flash = Change({"attn_implementation": "flash_attention_2"}, "Use FlashAttention", FREE)
    sdpa = Change({"attn_implementation": "sdpa"}, "Use PyTorch's attention (sdpa)", FREE)
    runs_flash = now.gpu.vendor in ("NVIDIA", "AMD") and now.gpu.half == "bfloat16"
    if config.attn_implementation == "flash_attention_2":
        return []
    if runs_flash and can(config, flash.fields):
        return [flash]
    return [sdpa] if config.attn_implementation == "eager" else []


#: It makes no temporary.
fused_optimizer = flip(
    lambda config: config.optim == "adamw_torch",
    {"optim": "adamw_torch_fused"},
    "Use fused AdamW",
    FREE,
)


def loss(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Make fewer copies of the logits, or fewer of the logits at once."""
    if config.loss_kernel != "eager" or config.use_liger:
        return []
    return [
        Change({"loss_kernel": kernel}, f"Use the {kernel} loss", FREE)
        for kernel in ("fused", "chunked")
    ]


def liger(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Liger's README measures 20 % more tokens a second, on Llama 3 8B over 8 A100s."""
    if config.use_liger or now.architecture.model_type not in FAMILIES:
        return []
    return [Change({"use_liger": True}, "Use Liger's kernels", FREE)]


#: Most checkpoints are stored in bfloat16: a frozen copy in float32 holds no more.
base_in_half = flip(
    lambda config: config.training_method == "lora" and config.param_dtype == "float32",
    {"param_dtype": "bfloat16"},
    "Load the frozen base in bfloat16",
    "loses nothing where the checkpoint is in bfloat16",
)


#: Each weight is updated as its gradient comes; nothing can be summed or clipped then.
optimizer_in_backward = flip(
    lambda config: not config.optimizer_in_backward and config.gradient_accumulation_steps == 1,
    {"optimizer_in_backward": True},
    "Run the optimizer in backward",
    "no slower, but no gradient accumulation or clipping",
)


# -- slower ----------------------------------------------------------------------------------------

#: sharding -> what shards more, and what it costs: stages 1 and 2 move as much as DDP, stage 3
#: half as much again (Rajbhandari et al. 2020, "ZeRO", section 7).
_ZERO2 = ("zero2", "Shard gradients and optimizer over the GPUs (ZeRO-2)", "no more traffic")
_ZERO3 = ("zero3", "Shard everything over the GPUs (ZeRO-3)", "1.5 times the traffic")
_FSDP = ("fsdp", "Shard everything over the GPUs (FSDP)", "1.5 times the traffic")
_ALL_NODES = ("fsdp", "Shard everything over the GPUs of all nodes (FSDP)", "more traffic")
MORE_SHARDED = {
    "ddp": (_ZERO2, _ZERO3, _FSDP),
    "zero1": (_ZERO2, _ZERO3, _FSDP),
    "zero2": (_ZERO3,),
    "hsdp": (_ALL_NODES,),
}


def shard(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Shard the states over the GPUs there are."""
    if config.num_gpus == 1 or (config.sharding == "hsdp" and config.num_nodes == 1):
        return []
    trainer, method = TRAINERS[config.trainer], config.training_method
    if config.sharding == "ddp" and not SHARDS_PARAMETERS & trainer.strategies[method]:
        passes = config.gradient_accumulation_steps * config.num_processes
        fields = {"sharding": "device_map", "gradient_accumulation_steps": passes}
        cost = "same effective batch, as slow as one card: one works at a time"
        return [Change(fields, "Spread the layers over the GPUs (model split)", cost)]
    return [
        Change({"sharding": name}, what, f"same results, {cost} between them")
        for name, what, cost in MORE_SHARDED.get(config.sharding, ())
    ]


#: FSDP then shards the gradients of each pass; each pass reduces them over the GPUs.
sync_each_batch = flip(
    no_sync,
    {"sync_each_batch": True},
    "Shard the gradients of each pass (sync_each_batch)",
    "same results, more traffic between the GPUs",
)


#: FSDP and ZeRO-3 leave 4-bit weights that are packed into integers on each GPU.
pack_into_floats = flip(
    lambda config: config.bnb_4bit_quant_storage == "uint8",
    {"bnb_4bit_quant_storage": "bfloat16"},
    "Pack the 4-bit weights into bfloat16, which is sharded",
    "same results, they are gathered as they run",
)


def smaller_passes(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Take fewer sequences or tokens in a pass, and more passes before a step."""
    passes, rungs = config.gradient_accumulation_steps, []
    if config.max_tokens_per_gpu is None:
        size = config.micro_batch_size
        smaller = [size // k for k in range(2, size + 1) if size % k == 0]
        name, unit = "micro_batch_size", "micro-batch"
    else:
        size, least = config.max_tokens_per_gpu, config.max_seq_len
        smaller = [size >> k for k in range(1, 24) if size >> k >= least and not size % (1 << k)]
        name, unit = "max_tokens_per_gpu", "tokens per GPU"
    for each in smaller:
        more = passes * size // each
        fields = {name: each, "gradient_accumulation_steps": more}
        what = f"Lower the {unit} to {each:,} and accumulate {more:,} passes"
        rungs.append(Change(fields, what, "same effective batch, a little slower"))
    return rungs


def checkpointing(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Keep only each block's input, then not even that on the card."""
    on = {"gradient_checkpointing": True}
    off_card = {**on, "offload_activations": True}
    rungs = [
        Change(on, "Turn on gradient checkpointing", "about 30 % slower"),
        Change(
            off_card,
            "Turn on gradient checkpointing and keep the inputs of the blocks in host memory",
            "about 30 % slower",
        ),
    ]
    if not config.gradient_checkpointing:
        return rungs
    if config.offload_activations:
        return []
    # Unsloth's documentation says 1 to 2 % slower, torchtune's table 0.1 %
    what = "Keep the checkpointed inputs in host memory"
    return [Change({"offload_activations": True}, what, "same results, hardly slower")]


def optimizer_on_host(config: TrainingConfig, now: MemoryEstimate) -> list[Change]:
    """Let the host hold and step the optimizer, then hold the weights too."""
    rungs = [
        Change(
            {"cpu_offload": "optimizer"},
            "Keep the optimizer in host memory",
            "same results, slower: the host does the optimizer step",
        ),
        Change(
            {"cpu_offload": "all"},
            "Keep optimizer and weights in host memory",
            "same results, much slower: weights cross to the card in every pass",
        ),
    ]
    return rungs[{"none": 0, "optimizer": 1, "parameters": 1, "all": 2}[config.cpu_offload] :]
