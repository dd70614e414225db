"""What a card holds beside tensors, against what people have read from theirs."""

from __future__ import annotations

from statistics import median

import pytest

from vram_widget import TrainingConfig
from vram_widget.estimate.overhead import fixed
from vram_widget.gpu import lookup

MiB = 2**20

#: Bytes that CUDA's context took of a card on which PyTorch had not yet made a tensor, or a small
#: one. All since CUDA loads kernels when they are first run (11.7): before, it was above 1 GB.
CONTEXTS = {
    "RTX 3090, PyTorch 2.7 with CUDA 12.8 (invoke-ai/InvokeAI issue 9413)": 256 * MiB,
    "300 MB, since CUDA 11.7 (pytorch/pytorch issue 107667)": 300e6,
    "400 MB, since CUDA 11.7 (pytorch/pytorch issue 109888)": 400e6,
    "RTX 6000 Ada, PyTorch 2.10 with CUDA 13.0 (unslothai/unsloth-zoo pull 1053)": 426 * MiB,
}
#: Bytes that NCCL took for one communicator.
COMMUNICATORS = {
    "two A100 over NVLink (NVIDIA/nccl issue 964)": 544 * MiB,
    "four A100 over NVLink (NVIDIA/nccl issue 964)": 688 * MiB,
    "at the most (NVIDIA/nccl issue 864)": 1.6e9,
}


def test_cudas_context_is_what_has_been_read():
    low, expected, high = fixed(TrainingConfig(), lookup("H100"))["CUDA", "context"]
    assert expected == pytest.approx(median(CONTEXTS.values()), rel=0.15)
    assert low < min(CONTEXTS.values())
    assert max(CONTEXTS.values()) < high < 2 * max(CONTEXTS.values())


def test_a_communicator_is_what_has_been_read():
    over_nvlink = fixed(TrainingConfig(num_gpus=4), lookup("A100-80GB"))["NCCL", "buffers"]
    assert over_nvlink == pytest.approx(tuple(COMMUNICATORS.values()), rel=0.01)
