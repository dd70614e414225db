"""The allocator's settings, as the environment variable PYTORCH_ALLOC_CONF holds them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..config.alloc_conf import options
from ..step.tape import BLOCK, rounded
from ..units import MiB


class AllocConf(NamedTuple):
    """The settings that decide what is reserved (c10/cuda/CUDAAllocatorConfig.h, PyTorch 2.13).

    Attributes
    ----------
    expandable_segments : bool
        Whether a segment grows page by page, where others are as large as they were made.
    max_split_size : int or None
        Bytes from which on a block is not split.
    roundup_power2_divisions : int
        Into how many steps sizes between two powers of two are rounded up; 0 is multiples of 512.
    """

    expandable_segments: bool = False
    max_split_size: int | None = None
    roundup_power2_divisions: int = 0

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, text: str) -> AllocConf:
        """Return the settings that the variable's text means.

        Examples
        --------
        >>> AllocConf.of("expandable_segments:True,max_split_size_mb:128").max_split_size // MiB
        128
        """
        found = options(text)
        split = found.get("max_split_size_mb")
        return cls(
            found.get("expandable_segments") == "True",
            int(split) * MiB if split else None,
            int(found.get("roundup_power2_divisions", 0)),
        )

    def rounded(self, nbytes: int) -> int:
        """Return the size of the block for a tensor (``round_size``).

        Examples
        --------
        >>> AllocConf().rounded(1000), AllocConf(roundup_power2_divisions=4).rounded(10_000)
        (1024, 10240)
        """
        divisions = self.roundup_power2_divisions
        if divisions > 1 and nbytes > BLOCK * divisions:
            step = (1 << (nbytes.bit_length() - 1)) // divisions
            return -(-nbytes // step) * step
        return rounded(max(nbytes, 1))
