"""The batches of training steps, as lengths of samples make them.

Where nobody has said how long samples are, they are log-normal, as the lengths of instructions and
answers nearly are, with the average that the configuration has and SIGMA for the spread of their
logarithms: half of them lie between 0.49 and 1.26 times the average, one in twenty above 2.47.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..config.fields import real
from ..errors import ConfigError, shown

#: Of the logarithm of a sample's length.
SIGMA = 0.7
#: What the draws begin with: the same run is drawn alike every time.
SEED = 0


class Batch(NamedTuple):
    """A micro-batch: its tokens, and how long the longest of its sequences is."""

    tokens: int
    length: int


def checked(lengths: object) -> list[int]:
    """Return the lengths of samples, in tokens.

    Raises
    ------
    ConfigError
        If one is no whole number from 1 on.

    Examples
    --------
    >>> checked((310, 2048))
    [310, 2048]
    """
    if isinstance(lengths, Iterable) and not isinstance(lengths, (str, bytes, Mapping)):
        found = [real(length) for length in lengths]
        if all(isinstance(length, int) and length > 0 for length in found):
            return [int(length) for length in found if length is not None]
    raise ConfigError(
        f"The lengths of samples are whole numbers of tokens from 1 on, not {shown(lengths)}."
    )


def drawn(average: int, longest: int, given: Sequence[int] = ()) -> Callable[[], int]:
    """Return what draws the length of a sample, in tokens, cut off at the longest.

    Examples
    --------
    >>> draw = drawn(average=700, longest=2048)
    >>> [draw() for _ in range(3)]
    [482, 561, 894]
    """
    generator = random.Random(SEED)
    if given:
        return lambda: max(1, min(longest, generator.choice(given)))
    mean = math.log(average) - SIGMA**2 / 2
    return lambda: max(1, min(longest, round(generator.lognormvariate(mean, SIGMA))))


def padded(rows: int, draw: Callable[[], int]) -> Iterator[Batch]:
    """Yield batches of some sequences, padded to the longest of each."""
    while True:
        length = max(draw() for _ in range(rows))
        yield Batch(rows * length, length)


def packed(tokens: int, draw: Callable[[], int]) -> Iterator[Batch]:
    """Yield batches that samples are added to until the next one has no room."""
    first = draw()
    while True:
        samples, left = [first], tokens - first
        while (first := draw()) <= left:
            samples.append(first)
            left -= first
        yield Batch(tokens - left, max(samples))
