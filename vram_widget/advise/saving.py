"""What makes it fit: single changes, the gentlest first, and the least of several together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from ..config import TrainingConfig
from .ladders import lossless, tradeoffs
from .ladders.change import Ladder
from .ladders.feasible import consistent
from .search import Search
from .suggestion import WORTH, Suggestion

#: Every way to save memory, the gentlest first.
GENTLEST_FIRST: tuple[Ladder, ...] = (
    lossless.drop_outputs,
    lossless.attention,
    lossless.fused_optimizer,
    lossless.loss,
    lossless.liger,
    lossless.base_in_half,
    lossless.optimizer_in_backward,
    lossless.sync_each_batch,
    lossless.pack_into_floats,
    lossless.shard,
    lossless.smaller_passes,
    lossless.checkpointing,
    tradeoffs.scales_in_8_bits,
    tradeoffs.optimizer_in_8_bits,
    lossless.optimizer_on_host,
    tradeoffs.no_dropout,
    tradeoffs.no_dora,
    tradeoffs.weights_in_half,
    tradeoffs.lower_rank,
    tradeoffs.shorter,
    tradeoffs.more_gpus,
    tradeoffs.adapters,
    tradeoffs.quantised_base,
    tradeoffs.bigger_card,
)
#: Made first in a combination: the others follow what these make possible.
FOUNDATIONS = (tradeoffs.more_gpus, tradeoffs.adapters, tradeoffs.quantised_base)
#: Those that need other hardware: they must make it fit, and a combination takes them only where
#: nothing else will do.
HARDWARE = (tradeoffs.more_gpus, tradeoffs.bigger_card)

Singles = dict[Ladder, Suggestion]
#: Which rung of a ladder is taken; the strongest, if it is not here.
Rungs = Mapping[Ladder, int]


def saving(search: Search) -> list[Suggestion]:
    """Return what makes it fit, then what helps; the gentlest first in both."""
    singles: Singles = {}
    for ladder in GENTLEST_FIRST:
        found = single(search, ladder)
        if found and (found.fits or (found.saves >= WORTH and ladder not in HARDWARE)):
            singles[ladder] = found
    fitting = {ladder for ladder, found in singles.items() if found.fits}
    at_hand = [ladder for ladder in GENTLEST_FIRST if ladder not in HARDWARE]
    gentler = list(takewhile(lambda ladder: ladder not in fitting, at_hand))
    together = combination(search, gentler, singles)
    if not (together or fitting):
        together = combination(search, list(GENTLEST_FIRST[:-1]), singles)
    ranked = list(singles.items())
    if together:
        harshest = GENTLEST_FIRST.index(together[0])
        place = sum(GENTLEST_FIRST.index(ladder) <= harshest for ladder in singles)
        ranked.insert(place, together)
    return sorted((found for _, found in ranked), key=lambda found: not found.fits)


def single(search: Search, ladder: Ladder) -> Suggestion | None:
    """Return the gentlest rung of a ladder that makes it fit, or its strongest; None without."""
    changes = search.changes(ladder, search.config)
    if not changes:
        return None
    configs = [search.config.replace(**change.fields) for change in changes]
    at = search.gentlest(configs)
    return search.suggestion([changes[at]], configs[at])


def combination(
    search: Search, pool: Sequence[Ladder], singles: Singles
) -> tuple[Ladder, Suggestion] | None:
    """Return the harshest, and all together, of a few ladders that fit together, if any do.

    From the gentlest on as many as it takes; then without each that can be left out, the one that
    saves least alone first; then each no stronger than it must be.
    """
    if not search.fits(built(search, pool, {})):
        return None
    enough = search.gentlest([built(search, pool[: n + 1], {}) for n in range(len(pool))])
    chosen = list(pool[: enough + 1])
    alone = {ladder: found.saves for ladder, found in singles.items()}
    for ladder in sorted(chosen, key=lambda ladder: alone.get(ladder, 0)):
        others = [other for other in chosen if other is not ladder]
        if search.fits(built(search, others, {})):
            chosen = others
    if len(chosen) < 2:
        return None
    rungs: dict[Ladder, int] = {}
    for ladder in reversed(chosen):
        count = len(search.changes(ladder, below(search, ladder, chosen, rungs)))
        tried = [built(search, chosen, {**rungs, ladder: rung}) for rung in range(count)]
        rungs[ladder] = search.gentlest(tried)
    changes = [
        search.changes(ladder, below(search, ladder, chosen, rungs))[rungs[ladder]]
        for ladder in sorted(chosen, key=lambda ladder: ladder not in FOUNDATIONS)
    ]
    found = search.suggestion(changes, built(search, chosen, rungs))
    return (chosen[-1], found) if found else None


def below(search: Search, ladder: Ladder, chosen: Sequence[Ladder], rungs: Rungs) -> TrainingConfig:
    """Return the configuration that one of several ladders starts from: with their foundations."""
    config = search.config
    for foundation in FOUNDATIONS:
        if foundation is ladder:
            break
        changes = search.changes(foundation, config) if foundation in chosen else []
        if changes:
            config = config.replace(**changes[rungs.get(foundation, -1)].fields)
    return config


def built(search: Search, chosen: Sequence[Ladder], rungs: Rungs) -> TrainingConfig:
    """Return the configuration with a change of each ladder made: at its rung, or the strongest.

    What does not go together with what is there already is left out.
    """
    others = [ladder for ladder in chosen if ladder not in FOUNDATIONS]
    config = below(search, tradeoffs.bigger_card, chosen, rungs)
    values, fields = config.config, dict[str, Any]()
    for ladder in others:
        changes = search.changes(ladder, config)
        more = changes[rungs.get(ladder, -1)].fields if changes else {}
        if consistent({**values, **fields, **more}):
            fields |= more
    return config.replace(**fields)
