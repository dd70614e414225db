"""Which GPU a configuration means: the one it names, the one found here, or an A100-80GB."""

from __future__ import annotations

from dataclasses import replace

from ..errors import shown
from ..units import GiB
from .catalogue import GPU, alternatives, lookup
from .discovery import discover_gpus

#: Assumed where no GPU is named and this machine has none.
DEFAULT = "A100-80GB"

#: Less memory in use than this is a desktop or a driver, not another run: not worth a word.
_IDLE = GiB // 4


def resolve(
    gpu: str | None = None, gpu_memory: int | None = None, num_gpus: int = 1
) -> tuple[GPU, str | None]:
    """Return the GPU that a configuration means, and what a person should know about the choice.

    Parameters
    ----------
    gpu : str, optional
        A name in the catalogue. None takes the card found in this machine: of several kinds
        the weakest of the `num_gpus` best, since each holds the same share of the run; what
        other processes hold of it is taken off its memory. With none found, an A100-80GB.
    gpu_memory : int, optional
        Bytes by hand, in place of the card's.
    num_gpus : int
        GPUs of the run.

    Returns
    -------
    card : GPU
    notice : str or None
        A sentence where something was assumed.

    Raises
    ------
    GPUError
        If the catalogue has no card of that name.

    Examples
    --------
    >>> card, notice = resolve("h100")
    >>> card.name, notice
    ('H100', "'h100' is taken for the H100 of 80 GiB; also: H100 PCIe, H100 NVL.")
    """
    card, notice = _named(gpu) if gpu else _here(num_gpus)
    if gpu_memory is None:
        return card, notice
    by_hand = replace(card, memory=gpu_memory, reported=gpu_memory, in_use=0)
    return by_hand, notice if gpu else f"Speeds are those of the {card.name}."


def _named(gpu: str) -> tuple[GPU, str | None]:
    card, others = lookup(gpu), alternatives(gpu)
    if not others or gpu == card.name:
        return card, None
    size = f"{card.memory / GiB:.0f} GiB"
    return card, f"{shown(gpu)} is taken for the {card.name} of {size}; also: {', '.join(others)}."


def _here(num_gpus: int) -> tuple[GPU, str | None]:
    found = sorted(discover_gpus(), key=lambda card: card.usable, reverse=True)
    if not found:
        notice = f"No GPU was named and none is in this machine: an {DEFAULT} is assumed."
        return lookup(DEFAULT), notice
    card = found[: max(1, num_gpus)][-1]
    free = replace(card, memory=card.usable, reported=card.usable, in_use=0)
    words = [f"{card.name}, found in this machine"]
    if card.in_use > _IDLE:
        words.append(
            f"{card.in_use / GiB:.1f} of its {card.memory / GiB:.1f} GiB are in use now "
            "and not counted"
        )
    if len({other.name for other in found}) > 1:
        words.append(f"among {', '.join(sorted({other.name for other in found}))}")
    return free, "; ".join(words) + "."
