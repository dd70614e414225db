"""How well runs use their hardware: at their best, as usual and at their worst, with evidence."""

from __future__ import annotations

from typing import NamedTuple


class Pace(NamedTuple):
    """How well a run uses its hardware.

    Attributes
    ----------
    matmul : float
        Share of the card's dense rate that its matrix products reach.
    traffic : float
        Bytes that all other operators move, as a share of PyTorch's unfused ones.
    float32 : float
        Rate of float32 products without mixed precision, as a share of the dense rate.
    layer : float
        Seconds in which the host can launch one layer's forward and backward: no pass is faster.
    link : float
        Share of a link's rate that collectives reach.
    hidden : float
        Share of the communication that computing hides.
    network : float
        Bytes a second, each way, of the network card that every GPU has to other nodes.
    host_memory : float
        Bytes a second of the host's memory for each GPU, where the host holds the optimizer.
    packing : float
        Share of a packed pass that holds tokens.
    osft : float
        What OSFT's bookkeeping multiplies the time with.
    """

    matmul: float
    traffic: float
    float32: float
    layer: float
    link: float
    hidden: float
    network: float
    host_memory: float
    packing: float
    osft: float


# matmul: bf16 products reach 87 % of an A100's dense rate at best, 80 % of an H100's, 78 % of a
# B200's, 51 % of an MI300X's (stas00/ml-engineering at 744d01e, compute/accelerator/README.md,
# maximum achievable matmul FLOPS); the shapes in a model are seldom the best ones.
# traffic: less with fused norms, activations and loss, more where copies and masks are. Chosen with
# tests/reference/throughput.csv in view, 168 published runs on A100s and H100s: 167 lie between
# FAST and SLOW, half within 13 % of USUAL. Those of Mixtral and Llama 2 70B were added afterwards.
# float32: 1/2 of the bf16 rate on consumer cards, 1/16 on an A100.
# layer: Qwen's README (QwenLM/Qwen at 2df8e8a): LoRA passes of 256 tokens take 0.125 s with 24
# layers and 0.15 s with 32, on an A100 that computes them in a tenth of it.
# network: NICs of 400, 200 and 100 Gb/s.
# osft: Training Hub's own runs (docs/guides/runtime-estimates.md at f793034, A100): OSFT takes 1.2
# (Granite 4) to 3.6 times (Granite 3.3 8B) as long as SFT on the same tokens.
FAST = Pace(
    matmul=0.87,
    traffic=0.4,
    float32=1 / 2,
    layer=0.0025,
    link=0.8,
    hidden=1.0,
    network=50e9,
    host_memory=200e9,
    packing=1.0,
    osft=1.0,
)
USUAL = Pace(
    matmul=0.75,
    traffic=1.0,
    float32=1 / 8,
    layer=0.005,
    link=0.6,
    hidden=0.7,
    network=25e9,
    host_memory=100e9,
    packing=0.97,
    osft=1.8,
)
SLOW = Pace(
    matmul=0.5,
    traffic=1.3,
    float32=1 / 16,
    layer=0.01,
    link=0.4,
    hidden=0.0,
    network=12.5e9,
    host_memory=50e9,
    packing=0.7,
    osft=3.0,
)
