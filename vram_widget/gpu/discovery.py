"""The GPUs in this machine, as the driver describes them now."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from threading import Lock, Thread
from typing import TYPE_CHECKING

from . import catalogue
from .catalogue import GPU, PCIE

if TYPE_CHECKING:
    from .nvml import Card

#: Seconds after which a driver that does not answer is taken for none.
TIMEOUT = 2.0

#: Seconds for which an answer holds: other processes take and free memory.
FRESH = 5.0

_lock = Lock()
_answer: tuple[float, tuple[GPU, ...]] | None = None
_asking: Thread | None = None


def discover_gpus() -> list[GPU]:
    """Return the GPUs in this machine that this process may use, in the driver's order.

    Asks NVML. Where MIG is on, a card is listed as its slices. ``CUDA_VISIBLE_DEVICES`` is
    honoured. Empty on a machine without an NVIDIA driver, and where the driver does not answer
    within two seconds. An answer holds for five seconds.

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
            found = tuple(_gpu(card) for card in _visible(_cards()))
            _answer = (time.monotonic(), tuple(gpu for gpu in found if gpu.memory))
        return list(_answer[1])


def _cards() -> list[Card]:
    """Ask NVML in a thread, since a broken driver can hang it for good."""
    from . import nvml

    global _asking
    if _asking is not None and _asking.is_alive():
        return []  # hung on an earlier question
    found: list[Card] = []
    _asking = Thread(target=lambda: found.extend(nvml.cards()), name="nvml", daemon=True)
    _asking.start()
    _asking.join(TIMEOUT)
    return list(found)


def _visible(cards: list[Card]) -> list[Card]:
    """Select what CUDA_VISIBLE_DEVICES names, in its order: numbers, or the start of a UUID.

    As in CUDA, the first entry that names nothing ends the list.
    """
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    if variable is None:
        return cards
    visible: list[Card] = []
    for entry in variable.split(","):
        word = entry.strip()
        if word.isdecimal():
            named = cards[int(word) : int(word) + 1]
        else:
            named = [card for card in cards if word and card.uuid.startswith(word)][:1]
        if not named:
            break
        visible += named
    return visible


def _gpu(card: Card) -> GPU:
    """Join what the driver says with the catalogue's speeds."""
    kind = _kind(card)
    return replace(
        kind,
        name=f"{kind.name} MIG {card.profile}" if card.profile else kind.name,
        memory=card.total or int(kind.memory * card.memory_share),
        bandwidth=kind.bandwidth * card.memory_share,
        bf16_flops=kind.bf16_flops * card.compute_share,
        reported=card.total,
        in_use=card.used or 0,
    )


def _kind(card: Card) -> GPU:
    """Return the catalogue's GPU for a driver's name; several that bear it differ in memory."""
    memory = (card.total or 0) / card.memory_share
    same = catalogue.called(card.name)
    if same:
        return min(same, key=lambda gpu: abs(gpu.memory - memory)) if memory else same[0]
    like = min(
        (gpu for gpu in map(catalogue.lookup, catalogue.names()) if gpu.vendor == "NVIDIA"),
        key=lambda gpu: abs(gpu.memory - memory),
    )
    return replace(
        like,
        name=card.name,
        memory=int(memory),
        link=PCIE,
        source=f"not in the catalogue: speeds of the {like.name}, nearest in memory",
    )
