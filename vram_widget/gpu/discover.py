"""The GPUs in this machine, as the driver describes them now."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from threading import Lock, Thread
from typing import TYPE_CHECKING

from . import catalogue
from .catalogue import GPU

if TYPE_CHECKING:
    from .nvml import Device

#: Seconds after which a driver that does not answer is taken for none.
TIMEOUT = 2.0

#: Seconds for which an answer holds: other processes take and free memory.
FRESH = 5.0

_lock = Lock()
_answer: tuple[float, tuple[GPU, ...]] | None = None
_asking: Thread | None = None


def discover_gpus() -> list[GPU]:
    """Return the GPUs in this machine that this process may use, in the driver's order.

    Asks NVML, or nvidia-smi where there is no NVML. A card divided by MIG is listed as its
    slices. ``CUDA_VISIBLE_DEVICES`` is honoured. Empty on a machine without an NVIDIA driver,
    and where the driver does not answer within two seconds. An answer holds for five seconds.

    Returns
    -------
    list of GPU
        Each with `memory`, what the driver says a process can have in bytes, and `in_use`, what
        other processes hold of it now. The speeds are the catalogue's.

    Examples
    --------
    >>> all(card.memory > 0 for card in discover_gpus())
    True
    """
    global _answer
    with _lock:
        now = time.monotonic()
        if _answer is None or now - _answer[0] > FRESH:
            found = tuple(_card(device) for device in _visible(_devices(now + TIMEOUT)))
            _answer = (time.monotonic(), tuple(card for card in found if card.memory))
        return list(_answer[1])


def _devices(until: float) -> list[Device]:
    """Ask NVML in a thread, since a broken driver can hang it for good; else nvidia-smi."""
    from . import nvml, smi

    global _asking
    if _asking is not None and _asking.is_alive():
        return []  # hung on an earlier question
    found: list[list[Device]] = []

    def ask() -> None:
        try:
            found.append(nvml.devices())
        except (OSError, nvml.NVMLError):
            return

    _asking = Thread(target=ask, name="nvml", daemon=True)
    _asking.start()
    _asking.join(max(0.0, until - time.monotonic()))
    if _asking.is_alive():
        return []
    return found[0] if found else smi.devices(max(0.0, until - time.monotonic()))


def _visible(devices: list[Device]) -> list[Device]:
    """Keep what CUDA_VISIBLE_DEVICES names, in its order: numbers, or the start of a UUID.

    As in CUDA, the first entry that names nothing ends the list.
    """
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return devices
    chosen: list[Device] = []
    for entry in wanted.split(","):
        word = entry.strip()
        if word.isdecimal():
            named = devices[int(word) : int(word) + 1]
        else:
            named = [device for device in devices if word and device.uuid.startswith(word)][:1]
        if not named:
            break
        chosen += named
    return chosen


def _card(device: Device) -> GPU:
    """Join what the driver says with the catalogue's speeds."""
    kind = _kind(device)
    name = f"{kind.name} MIG {device.profile}" if device.profile else kind.name
    return replace(
        kind,
        name=name,
        memory=device.total or int(kind.memory * device.memory_share),
        bandwidth=kind.bandwidth * device.memory_share,
        bf16_flops=kind.bf16_flops * device.compute_share,
        reported=device.total,
        in_use=device.used or 0,
    )


def _kind(device: Device) -> GPU:
    """Return the catalogue's card for a driver's name; several that bear it differ in memory."""
    whole = (device.total or 0) / device.memory_share
    same = catalogue.called(device.name)
    if same:
        return min(same, key=lambda card: abs(card.memory - whole)) if whole else same[0]
    like = min(
        (card for card in map(catalogue.lookup, catalogue.names()) if card.vendor == "NVIDIA"),
        key=lambda card: abs(card.memory - whole),
    )
    return replace(
        like,
        name=device.name,
        memory=int(whole),
        source=f"not in the catalogue: speeds of the {like.name}, nearest in memory",
    )
