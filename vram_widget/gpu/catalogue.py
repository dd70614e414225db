"""The GPU catalogue: memory, bandwidth and bf16 rate of the cards people train on.

The facts, each with its source, are in ``gpus.json`` beside this file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from ..errors import GPUError, shown
from ..units import GiB, MiB

#: What PyTorch can hand out of a card's memory, where its total has not been seen: the median
#: over the NVIDIA, AMD and Intel cards of gpus.json with both figures (0.91 with ECC in GDDR6,
#: 0.999 at best). The driver and ECC keep the rest.
REPORTED_SHARE = 0.98

#: Vendor -> architecture -> bytes of a workspace of cuBLAS or hipBLAS; "" is any other one
#: (``parseChosenWorkspaceSize``, aten/src/ATen/cuda/CublasHandlePool.cpp). Blackwell's is as large
#: as Hopper's since PyTorch 2.12; before, it was as others' are.
BLAS_WORKSPACES = {
    "NVIDIA": {"": 2 * 4 * MiB + 8 * 16 * 1024, "Hopper": 32 * MiB, "Blackwell": 32 * MiB},
    "AMD": {"": 32 * MiB, "gfx942": 128 * MiB, "gfx950": 128 * MiB},
}

#: Bytes a second, each way, over PCI Express 4.0 with 16 lanes.
PCIE = 32e9

#: Words of a vendor or a product line that say nothing more once the model is known.
_FILLER = re.compile(
    r"rtx|\b(nvidia|geforce|quadro|tesla|amd|instinct|radeon|intel|arc|apple|generation|gpu)\b"
)


@dataclass(frozen=True)
class GPU:
    """One kind of GPU.

    Attributes
    ----------
    name : str
        Its name in the catalogue, or the driver's where the catalogue does not know it.
    memory : int
        Bytes of memory. From the catalogue: what the vendor sells, an upper bound that no run on
        the card exceeds, so a run over it is impossible. Of a card found in this machine: what
        the driver says a process can have.
    bandwidth : float
        Memory bandwidth in bytes a second, as the vendor states it.
    bf16_flops : float
        Dense matrix operations a second in `half`, without structured sparsity.
    vendor : str
        NVIDIA, AMD, Intel or Apple.
    source : str
        Where the figures come from.
    reported : int or None
        The total that PyTorch reports for such a card, where one has been seen: less than
        `memory` by what the driver and ECC keep.
    half : str
        ``bfloat16``, or ``float16`` for cards without bfloat16 matrix units.
    link : float
        Bytes a second, each way, to the other cards of its node: over NVLink or Infinity Fabric
        as the vendor states it, else over PCI Express.
    architecture : str
        What the vendor calls its design, where something here goes by it.
    in_use : int
        Bytes that other processes hold now, for a card found in this machine.

    Examples
    --------
    >>> card = lookup("l40s")
    >>> card.memory // 1024**3, card.bf16_flops / 1e12
    (48, 362.05)
    """

    name: str
    memory: int
    bandwidth: float
    bf16_flops: float
    vendor: str
    source: str
    reported: int | None = None
    half: str = "bfloat16"
    link: float = PCIE
    architecture: str = ""
    in_use: int = 0

    @property
    def usable(self) -> int:
        """Bytes one process can count on: the reported total less what is in use."""
        total = self.reported or int(self.memory * REPORTED_SHARE)
        return max(0, min(total, self.memory) - self.in_use)

    @property
    def blas_workspace(self) -> int:
        """Bytes of the workspace that PyTorch makes for each handle of the card's BLAS library."""
        of_vendor = BLAS_WORKSPACES.get(self.vendor, {"": 0})
        return of_vendor.get(self.architecture, of_vendor[""])


def names() -> list[str]:
    """Return the names of all cards in the catalogue, vendor by vendor, the newest first."""
    return [card.name for card in _cards()]


def lookup(name: str) -> GPU:
    """Return the card called `name`; case, spaces, dashes and the vendor's name do not matter.

    A name that several cards bear (``"H100"``, ``"A100"``) means the first of them in the
    catalogue, which is the most common; `alternatives` lists the others.

    Parameters
    ----------
    name : str
        As in the catalogue, on the box, or as the driver spells it.

    Raises
    ------
    GPUError
        If no card bears that name; the sentence names the nearest.

    Examples
    --------
    >>> lookup("NVIDIA A100-SXM4-80GB").name
    'A100-80GB'
    """
    found = called(name)
    if found:
        return found[0]
    near = get_close_matches(_key(name), list(_index()), n=3, cutoff=0.5)
    nearest = list(dict.fromkeys(_index()[key][0].name for key in near))
    hint = f" The nearest: {', '.join(nearest)}. Or give" if nearest else " Give"
    raise GPUError(
        f"{shown(name)} is not in the GPU catalogue.{hint} "
        "the memory by hand: gpu=None, gpu_memory='48GiB'."
    )


def alternatives(name: str) -> list[str]:
    """Return the other cards that `name` could mean.

    Examples
    --------
    >>> alternatives("h100")
    ['H100 PCIe', 'H100 NVL']
    """
    return [card.name for card in called(name)[1:]]


def called(name: str) -> tuple[GPU, ...]:
    """Return every card that bears `name`, the default first; none where it is unknown."""
    return _index().get(_key(name), ())


def _key(name: str) -> str:
    """Reduce a name to what tells cards apart: ``"NVIDIA GeForce RTX 4090"`` to ``"4090"``."""
    spaced = re.sub(r"(\d+)\s*g(?:i?b)?\b", r"\1gb", name.lower().replace("_", " "))
    bare = re.sub(r"[^a-z0-9]", "", _FILLER.sub("", spaced))
    return bare or re.sub(r"[^a-z0-9]", "", spaced)


@cache
def _cards() -> tuple[GPU, ...]:
    return tuple(card for card, _ in _catalogue())


@cache
def _index() -> dict[str, tuple[GPU, ...]]:
    """Every name, reduced, with the cards that bear it."""
    index: dict[str, tuple[GPU, ...]] = {}
    for card, also in _catalogue():
        for key in dict.fromkeys(_key(name) for name in (card.name, *also)):
            index[key] = (*index.get(key, ()), card)
    return index


@cache
def _catalogue() -> tuple[tuple[GPU, tuple[str, ...]], ...]:
    """Read gpus.json: each card, and its further names."""
    text = files(__package__).joinpath("gpus.json").read_text(encoding="utf-8")
    return tuple((_card(line), tuple(line.get("also", ()))) for line in json.loads(text)["cards"])


def _card(line: Mapping[str, Any]) -> GPU:
    """Build a card from its line in gpus.json.

    A vendor's "80 GB" of memory is 80 GiB of chips; its GB/s and TFLOP/s are decimal.
    """
    reported = line.get("reported_gib")
    return GPU(
        name=line["name"],
        memory=int(line["memory_gb"] * GiB),
        bandwidth=line["bandwidth_gb_s"] * 1e9,
        bf16_flops=line["bf16_tflops"] * 1e12,
        vendor=line["vendor"],
        source=line["source"],
        reported=int(reported * GiB) if reported else None,
        half=line.get("half", "bfloat16"),
        link=line["link_gb_s"] * 1e9 if "link_gb_s" in line else PCIE,
        architecture=line.get("architecture", ""),
    )
