"""What a card holds beside tensors: CUDA's context, NCCL's buffers, what the allocator keeps.

None of it shows in ``torch.cuda.max_memory_allocated()``.
"""

from __future__ import annotations

from typing import NamedTuple

from ..config import TrainingConfig
from ..gpu import GPU
from ..gpu.catalogue import PCIE
from ..units import GiB


class Bytes(NamedTuple):
    """Bytes at the least, as expected, and at the most."""

    low: int
    expected: int
    high: int


#: What CUDA takes before the first tensor: from 0.1 GiB (a T4) to 0.5 GiB (an H100).
CONTEXT = Bytes(int(0.1 * GiB), int(0.3 * GiB), int(0.5 * GiB))
#: What NCCL takes for one communicator over NVLink: 544 MiB between two A100, 688 MiB between four
#: (NVIDIA/nccl issue 964), and as much as 1.6 GB (issue 864).
OVER_NVLINK = Bytes(544 * 2**20, 688 * 2**20, 1536 * 2**20)
#: Over PCI Express it opens 2 channels where it opens 24 over NVLink, each with a buffer of 10 MiB
#: for every connection, of which rings and trees have about 3 (NVIDIA/nccl issues 864 and 1685);
#: none where cards talk through the host's memory; as NVLink's where pairs of cards are bridged.
OVER_PCIE = Bytes(0, 60 * 2**20, 544 * 2**20)

#: The caching allocator keeps a few per cent more than it hands out in steady training: torchtune's
#: logs show 1.0 and 1.3 % after loading (6.27 of 6.21 and 6.19 GiB), more once blocks are reused.
USUAL_SLACK = 0.03
#: Its bad day: lengths that change from step to step leave holes in the cache.
FRAGMENTED_SLACK = 0.10


def fixed(config: TrainingConfig, gpu: GPU) -> dict[tuple[str, str], Bytes]:
    """Return what is taken however large the tensors are, by who takes it and for what.

    Examples
    --------
    >>> from vram_widget.gpu import resolve
    >>> card, _ = resolve("A100-80GB", None, 8)
    >>> {who: size.expected // 2**20 for who, size in fixed(TrainingConfig(), card).items()}
    {('CUDA', 'context'): 307}
    >>> fixed(TrainingConfig(num_gpus=8), card)["NCCL", "buffers"].expected // 2**20
    688
    """
    taken = {("CUDA", "context"): CONTEXT}
    if config.num_processes > 1:
        each = OVER_PCIE if gpu.link == PCIE else OVER_NVLINK
        # Hybrid FSDP gathers weights within a node, and reduces gradients across nodes.
        count = 2 if config.sharding == "hsdp" and config.num_nodes > 1 else 1
        taken["NCCL", "buffers"] = Bytes(*(count * size for size in each))
    return taken
