"""The NVIDIA cards of this machine, as the driver's own library (NVML) describes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass(frozen=True)
class Card:
    """A card, or a MIG slice of one.

    Attributes
    ----------
    name : str
        The driver's name, without a MIG profile.
    uuid : str
        What CUDA_VISIBLE_DEVICES may call it.
    total, used : int or None
        Bytes a process can have in all, and bytes in use now; None where the driver does not
        say, as for memory shared with the CPU.
    profile : str
        The MIG profile, ``"1g.10gb"``; empty for a card without MIG.
    compute_share, memory_share : float
        The slice's part of the card's compute and of its memory; 1 for a card without MIG.
    """

    name: str
    uuid: str
    total: int | None
    used: int | None
    profile: str = ""
    compute_share: float = 1.0
    memory_share: float = 1.0


def cards() -> list[Card]:
    """Return the cards and MIG slices, in the driver's order; none without a working driver."""
    found: list[Card] = []
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                with suppress(pynvml.NVMLError):  # a card that fell off the bus hides no other
                    found += _describe(pynvml.nvmlDeviceGetHandleByIndex(index))
        finally:
            pynvml.nvmlShutdown()
    return found


def _describe(handle: Any) -> Iterator[Card]:
    """Yield the card, or where MIG is on its slices: then the card itself cannot be used."""
    name = pynvml.nvmlDeviceGetName(handle)
    total, used = _memory(handle)
    card = Card(name, pynvml.nvmlDeviceGetUUID(handle), total, used)
    if not _has_mig(handle):
        yield card
        return
    most = pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    for index in range(most):
        with suppress(pynvml.NVMLError):  # fewer slices were made than the card can have
            yield _slice(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index), card, most)


def _slice(handle: Any, card: Card, most: int) -> Card:
    """Describe a MIG slice of a card that can have `most` of them."""
    attributes = pynvml.nvmlDeviceGetAttributes(handle)
    total, used = _memory(handle)
    total = total or attributes.memorySizeMB << 20
    compute_share = attributes.computeInstanceSliceCount / most
    return Card(
        name=card.name,
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        total=total,
        used=used,
        # The driver calls a slice "NVIDIA A100-SXM4-80GB MIG 3g.40gb".
        profile=pynvml.nvmlDeviceGetName(handle).rpartition("MIG ")[2],
        compute_share=compute_share,
        memory_share=min(1.0, total / card.total) if card.total else compute_share,
    )


def _has_mig(handle: Any) -> bool:
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:
        return False  # a card, or a driver, that knows no MIG
    return bool(current)


def _memory(handle: Any) -> tuple[int | None, int | None]:
    """Return total and used bytes, without what the driver reserves for itself if it says so."""
    with suppress(pynvml.NVMLError):
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2)
        return memory.total - memory.reserved, memory.used
    with suppress(pynvml.NVMLError):  # drivers before 510 know the first version only
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return memory.total, memory.used
    return None, None
