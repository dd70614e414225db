"""What makes it fit: single changes, the gentlest first, and the least of several together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from ..config import TrainingConfig
from .ladders import lossless as savers
from .ladders import tradeoffs as concessions
from .ladders.change import Change, Saver
from .ladders.feasible import consistent
from .search import Search
from .suggestion import WORTH, Suggestion

#: Every way to save memory, the gentlest first.
GENTLEST_FIRST: tuple[Saver, ...] = (
    savers.drop_outputs,
    savers.attention,
    savers.fused_optimizer,
    savers.loss,
    savers.liger,
    savers.base_in_half,
    savers.optimizer_in_backward,
    savers.share,
    savers.smaller_passes,
    savers.checkpointing,
    concessions.scales_in_8_bits,
    concessions.optimizer_in_8_bits,
    savers.optimizer_on_host,
    concessions.no_dropout,
    concessions.no_dora,
    concessions.weights_in_half,
    concessions.lower_rank,
    concessions.shorter,
    concessions.more_gpus,
    concessions.adapters,
    concessions.quantised_base,
    concessions.bigger_card,
)
#: Those made first in a combination: what they make possible for others is asked afterwards.
FOUNDATIONS = (concessions.more_gpus, concessions.adapters, concessions.quantised_base)
#: Those that need other hardware: they must make it fit, and a combination takes them only where
#: nothing else will do.
HARDWARE = (concessions.more_gpus, concessions.bigger_card)

Singles = dict[Saver, Suggestion]
#: Which rung of a saver's ladder is taken; the strongest, if it is not here.
Rungs = Mapping[Saver, int]


def saving(search: Search) -> list[Suggestion]:
    """Return what makes it fit, then what helps; the gentlest first in both."""
    singles: Singles = {}
    for saver in GENTLEST_FIRST:
        found = single(search, saver)
        if found and (found.fits or (found.saves >= WORTH and saver not in HARDWARE)):
            singles[saver] = found
    fitting = {saver for saver, found in singles.items() if found.fits}
    at_hand = [saver for saver in GENTLEST_FIRST if saver not in HARDWARE]
    together = combination(search, list(takewhile(lambda s: s not in fitting, at_hand)), singles)
    if not (together or fitting):
        together = combination(search, list(GENTLEST_FIRST[:-1]), singles)
    ranked = list(singles.items())
    if together:
        harshest = GENTLEST_FIRST.index(together[0])
        place = sum(GENTLEST_FIRST.index(saver) <= harshest for saver in singles)
        ranked.insert(place, together)
    return sorted((found for _, found in ranked), key=lambda found: not found.fits)


def single(search: Search, saver: Saver) -> Suggestion | None:
    """Return the gentlest rung of a saver that makes it fit, or its strongest; None without any."""
    ladder = search.ladder(saver, search.config)
    if not ladder:
        return None
    rungs = [search.config.replace(**rung.fields) for rung in ladder]
    at = search.gentlest(rungs)
    return search.suggestion([ladder[at]], rungs[at])


def combination(
    search: Search, pool: Sequence[Saver], singles: Singles
) -> tuple[Saver, Suggestion] | None:
    """Return the harshest, and the whole, of a few savers that fit together, if any do.

    From the gentlest on as many as it takes; then without each that can be left out, the one that
    saves least alone first; then each no stronger than it must be.
    """
    if not search.fits(built(search, pool, {})):
        return None
    enough = search.gentlest([built(search, pool[: n + 1], {}) for n in range(len(pool))])
    chosen = list(pool[: enough + 1])
    alone = {saver: found.saves for saver, found in singles.items()}
    for saver in sorted(chosen, key=lambda saver: alone.get(saver, 0)):
        others = [other for other in chosen if other is not saver]
        if search.fits(built(search, others, {})):
            chosen = others
    if len(chosen) < 2:
        return None
    rungs: dict[Saver, int] = {}
    for saver in reversed(chosen):
        count = len(search.ladder(saver, below(search, saver, chosen, rungs)))
        tried = [built(search, chosen, {**rungs, saver: rung}) for rung in range(count)]
        rungs[saver] = search.gentlest(tried)
    parts = sorted(chosen, key=lambda saver: saver not in FOUNDATIONS)
    changes = [
        search.ladder(saver, below(search, saver, chosen, rungs))[rungs[saver]] for saver in parts
    ]
    found = search.suggestion(changes, built(search, chosen, rungs))
    return (chosen[-1], found) if found else None


def below(search: Search, saver: Saver, chosen: Sequence[Saver], rungs: Rungs) -> TrainingConfig:
    """Return the configuration that one of several savers is made on: with their foundations."""
    config = search.config
    for foundation in FOUNDATIONS:
        if foundation is saver:
            break
        ladder = search.ladder(foundation, config) if foundation in chosen else []
        if ladder:
            config = config.replace(**ladder[rungs.get(foundation, -1)].fields)
    return config


def built(search: Search, chosen: Sequence[Saver], rungs: Rungs) -> TrainingConfig:
    """Return the configuration with savers made, each at its rung or at the strongest.

    What does not go together with what is there already is left out.
    """
    others = [saver for saver in chosen if saver not in FOUNDATIONS]
    config = below(search, concessions.bigger_card, chosen, rungs)
    values, fields = config.config, dict[str, Any]()
    for saver in others:
        ladder: list[Change] = search.ladder(saver, config)
        more = ladder[rungs.get(saver, -1)].fields if ladder else {}
        if consistent({**values, **fields, **more}):
            fields |= more
    return config.replace(**fields)
