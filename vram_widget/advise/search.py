"""Tries changes of one configuration, and estimates each once."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import TrainingConfig
from ..errors import ConfigError
from ..estimate.estimate import MemoryEstimate, estimate
from .ladders.change import FREE, Change, Ladder
from .ladders.feasible import can
from .suggestion import Suggestion


class Search:
    """A configuration from which changes are tried.

    Parameters
    ----------
    now : MemoryEstimate
        Of the configuration as it is.
    """

    def __init__(self, now: MemoryEstimate) -> None:
        self.now = now
        self.config = now.config.replace()
        self.values = self.config.config
        self._estimates: dict[str, MemoryEstimate | None] = {}
        self._changes: dict[tuple[Ladder, str], list[Change]] = {}

    def estimate(self, config: TrainingConfig) -> MemoryEstimate | None:
        """Return the estimate of a configuration, or None where the model cannot take it."""
        key = repr(config)
        if key not in self._estimates:
            try:
                self._estimates[key] = estimate(config)
            except ConfigError:
                self._estimates[key] = None
        return self._estimates[key]

    def fits(self, config: TrainingConfig) -> bool:
        """Return whether a configuration fits even in the worst case."""
        found = self.estimate(config)
        return found is not None and found.fits

    def changes(self, ladder: Ladder, config: TrainingConfig) -> list[Change]:
        """Return a ladder's changes of a configuration that its trainer has settings for."""
        key = ladder, repr(config)
        if key not in self._changes:
            rungs = ladder(config, self.now)
            self._changes[key] = [rung for rung in rungs if can(config, rung.fields)]
        return self._changes[key]

    def gentlest(self, configs: Sequence[TrainingConfig]) -> int:
        """Return the index of the first that fits, where each saves more than the one before.

        The last one's where none does.
        """
        low, high = 0, len(configs) - 1
        if not self.fits(configs[high]):
            return high
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fits(configs[middle]) else (middle + 1, high)
        return high

    def furthest(self, configs: Sequence[TrainingConfig]) -> int | None:
        """Return the index of the last that fits, where each takes more than the one before."""
        if not configs or not self.fits(configs[0]):
            return None
        if self.fits(configs[-1]):
            return len(configs) - 1
        low, high = 0, len(configs) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.fits(configs[middle]) else (low, middle)
        return low

    def suggestion(self, parts: Sequence[Change], config: TrainingConfig) -> Suggestion | None:
        """Return what changes do together; `config` has them made. None where it cannot be."""
        after = self.estimate(config)
        if after is None:
            return None
        wanted = config.config
        changes = {name: new for name, new in wanted.items() if new != self.values[name]}
        followed = self.config.replace(**changes).config  # a new method brings its own defaults
        changes = {
            name: new for name, new in wanted.items() if new != followed[name] or name in changes
        }
        first, *others = (part.what for part in parts)
        what = ", ".join([first, *(other[0].lower() + other[1:] for other in others)])
        costs = list(dict.fromkeys(part.cost for part in parts if part.cost != FREE)) or [FREE]
        saves = self.now.expected - after.expected
        return Suggestion(what, changes, saves, "; ".join(costs), after)
