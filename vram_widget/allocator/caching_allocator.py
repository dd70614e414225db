"""The CUDA caching allocator (c10/cuda/CUDACachingAllocator.cpp), without a GPU behind it.

It takes segments from the driver by ``cudaMalloc``, hands out blocks of them, and gives nothing
back on its own: what is free is cached, and stays reserved. Constants and functions are PyTorch's,
by its names for them: how sizes are rounded, which free block is the best fit, when one is split,
when two are merged, how a segment expands, and what happens before it runs out.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NamedTuple

from ..step.tape import BLOCK
from ..units import MiB
from .conf import AllocConf

#: kSmallSize: the largest block of the small pool, whose segments are of kSmallBuffer.
SMALL_SIZE = 1 * MiB
SMALL_BUFFER = 2 * MiB
#: kLargeBuffer: the segment for a block from 1 to 10 MiB.
LARGE_BUFFER = 20 * MiB
#: kMinLargeAlloc: from here on a segment is as large as its block, rounded up to kRoundLarge.
MIN_LARGE_ALLOC = 10 * MiB
ROUND_LARGE = 2 * MiB
#: Addresses from one segment to the next: one that expands never comes to their end.
ADDRESSES = LARGE_BUFFER << 26


class Block:
    """A stretch of a segment, handed out or free; `prev` and `next` are its neighbours there.

    One that is not `mapped` has addresses alone: a segment that expands maps memory to them.
    """

    __slots__ = ("allocated", "mapped", "next", "pool", "prev", "ptr", "size")

    def __init__(self, pool: BlockPool, ptr: int, size: int, mapped: bool = True) -> None:
        self.pool = pool
        self.ptr = ptr
        self.size = size
        self.mapped = mapped
        self.allocated = False
        self.prev: Block | None = None
        self.next: Block | None = None

    def splice(self, behind: Block) -> None:
        """Become the neighbour behind a block."""
        self.prev, self.next = behind, behind.next
        if behind.next is not None:
            behind.next.prev = self
        behind.next = self

    @property
    def expandable_size(self) -> int:
        """How large it is with the addresses behind it."""
        behind = self.next
        return self.size + (behind.size if behind is not None and not behind.mapped else 0)


class Place(NamedTuple):
    """Where a free block stands among others: by its size, then by its address."""

    size: int
    ptr: int
    block: Block


class BlockPool:
    """The free blocks of one stream, either the small or the large ones.

    Attributes
    ----------
    page : int
        Bytes by which a segment expands.
    blocks : list of Place
        The free blocks, the smallest first.
    unmapped : list of (int, Block)
        Addresses without memory, the lowest first.
    """

    __slots__ = ("blocks", "is_small", "page", "unmapped")

    def __init__(self, is_small: bool) -> None:
        self.is_small = is_small
        self.page = SMALL_BUFFER if is_small else LARGE_BUFFER
        self.blocks: list[Place] = []
        self.unmapped: list[tuple[int, Block]] = []

    def insert(self, block: Block) -> None:
        """Take in a block that is free."""
        if block.mapped:
            insort(self.blocks, Place(block.size, block.ptr, block))
        else:
            insort(self.unmapped, (block.ptr, block))

    def erase(self, block: Block) -> None:
        """Take it out again."""
        if block.mapped:
            del self.blocks[bisect_left(self.blocks, (block.size, block.ptr))]
        else:
            del self.unmapped[bisect_left(self.unmapped, (block.ptr,))]

    def merge(self, block: Block, other: Block | None) -> None:
        """Add a neighbour to a block, if that is free as well (``try_merge_blocks``)."""
        if other is None or other.allocated or other.mapped is not block.mapped:
            return
        self.erase(other)
        block.size += other.size
        if other is block.prev:
            block.ptr, block.prev = other.ptr, other.prev
            if block.prev is not None:
                block.prev.next = block
        else:
            block.next = other.next
            if block.next is not None:
                block.next.prev = block


class CachingAllocator:
    """The allocator of one process on one card.

    Parameters
    ----------
    conf : AllocConf
        Its settings.
    limit : int, optional
        Bytes that the driver has. Where they are not enough, what is cached is given back; where
        that is not enough either, the limit is raised: in the end it is what the run needed.

    Attributes
    ----------
    reserved : int
        Bytes taken from the driver (``torch.cuda.memory_reserved()``).
    max_reserved : int
        The most there were.
    num_alloc_retries : int
        How often the cache was given back so as not to fail.

    Examples
    --------
    >>> allocator = CachingAllocator(AllocConf())
    >>> block = allocator.malloc(3 * MiB)
    >>> address = block.ptr
    >>> allocator.free(block)
    >>> allocator.reserved // MiB, allocator.malloc(2 * MiB).ptr == address
    (20, True)
    """

    def __init__(self, conf: AllocConf, limit: int | None = None) -> None:
        self.conf = conf
        self.limit = limit
        self.reserved = 0
        self.max_reserved = 0
        self.num_alloc_retries = 0
        self._pools: dict[tuple[str, bool], BlockPool] = {}
        self._segments = 0

    # -- blocks ------------------------------------------------------------------------------------
    def malloc(self, nbytes: int, stream: str = "") -> Block:
        """Hand out a block for a tensor of so many bytes, in a stream."""
        size = self.conf.rounded(nbytes)
        key = stream, size <= SMALL_SIZE
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = BlockPool(key[1])
        block = self._get_free_block(pool, size) or self._alloc_block(pool, size)
        if self._should_split(block, size):
            remaining = Block(pool, block.ptr + size, block.size - size)
            block.size = size
            remaining.splice(block)
            pool.insert(remaining)
        block.allocated = True
        return block

    def free(self, block: Block) -> None:
        """Take a block back, and merge it with its neighbours (``free_block``)."""
        pool = block.pool
        block.allocated = False
        pool.merge(block, block.prev)
        pool.merge(block, block.next)
        pool.insert(block)

    def empty_cache(self) -> None:
        """Give back to the driver what no tensor lies in (``release_cached_blocks``)."""
        for pool in self._pools.values():
            for _, _, block in list(pool.blocks):
                if self.conf.expandable_segments:
                    self._unmap_block(block)
                elif block.prev is block.next is None:
                    pool.erase(block)
                    self.reserved -= block.size

    def _get_free_block(self, pool: BlockPool, size: int) -> Block | None:
        """Return the best fit: the smallest free block that is large enough, if there is one.

        A block that can expand counts as large as it can become. One above ``max_split_size`` is
        for a tensor of nearly its size alone.
        """
        blocks = pool.blocks
        at = bisect_left(blocks, (size,))
        if at == len(blocks):
            return None
        if self.conf.expandable_segments:
            while (
                at + 1 < len(blocks)
                and blocks[at + 1].block.expandable_size < blocks[at].block.expandable_size
            ):
                at += 1
        limit = self.conf.max_split_size
        if limit is not None:
            found = blocks[at].size
            if (found >= limit) if size < limit else (found >= size + LARGE_BUFFER):
                return None
        return blocks.pop(at).block

    def _should_split(self, block: Block, size: int) -> bool:
        remaining = block.size - size
        if block.pool.is_small or self.conf.expandable_segments:
            return remaining >= BLOCK
        limit = self.conf.max_split_size
        return remaining > SMALL_SIZE and (limit is None or size < limit)

    # -- segments ----------------------------------------------------------------------------------
    def _alloc_block(self, pool: BlockPool, size: int) -> Block:
        """Take memory from the driver: a segment, or more of one that expands."""
        if self.limit is not None and self.reserved + self._missing(pool, size) > self.limit:
            self.num_alloc_retries += 1
            self.empty_cache()
        if self.conf.expandable_segments:
            block = self._expand(pool, size)
        else:
            block = Block(pool, self._addresses(), get_allocation_size(size))
            self.reserved += block.size
        self.max_reserved = max(self.max_reserved, self.reserved)
        if self.limit is not None:
            self.limit = max(self.limit, self.reserved)
        return block

    def _missing(self, pool: BlockPool, size: int) -> int:
        """Return how many bytes a block takes from the driver."""
        if not self.conf.expandable_segments:
            return get_allocation_size(size)
        free = self._find_expandable_block(pool, size)
        missing = size - free.size if free.mapped else size
        return -(-missing // pool.page) * pool.page

    def _addresses(self) -> int:
        self._segments += 1
        return self._segments * ADDRESSES

    def _expand(self, pool: BlockPool, size: int) -> Block:
        """Map memory to addresses, from a free block on (``try_allocate_expandable_block``)."""
        block = self._find_expandable_block(pool, size)
        if not block.mapped:
            self._map_block(block, min(block.size, size))
        while block.size < size:
            behind = block.next
            assert behind is not None
            self._map_block(behind, min(size - block.size, behind.size))
            block = behind
        pool.erase(block)
        return block

    def _find_expandable_block(self, pool: BlockPool, size: int) -> Block:
        """Return the lowest addresses with room, or the free block before them."""
        for _, block in pool.unmapped:
            free = block.prev
            start = free if free is not None and not free.allocated else block
            room = 0
            each: Block | None = start
            while each is not None and not each.allocated and room < size:
                room, each = room + each.size, each.next
            if room >= size:
                return start
        segment = Block(pool, self._addresses(), ADDRESSES, mapped=False)
        pool.insert(segment)
        return segment

    def _map_block(self, block: Block, size: int) -> None:
        """Map whole pages to addresses, and merge them with what is free beside them."""
        pool = block.pool
        pages = -(-size // pool.page) * pool.page
        self.reserved += pages
        pool.erase(block)
        block.mapped = True
        if pages < block.size:
            remaining = Block(pool, block.ptr + pages, block.size - pages, mapped=False)
            remaining.splice(block)
            pool.insert(remaining)
            block.size = pages
        pool.merge(block, block.prev)
        pool.merge(block, block.next)
        pool.insert(block)

    def _unmap_block(self, block: Block) -> None:
        """Give back the whole pages of a free block; what is left before and behind stays."""
        pool = block.pool
        begin = -(-block.ptr // pool.page) * pool.page
        end = (block.ptr + block.size) // pool.page * pool.page
        if begin >= end:
            return
        pool.erase(block)
        if end < block.ptr + block.size:
            rest = Block(pool, end, block.ptr + block.size - end)
            rest.splice(block)
            pool.insert(rest)
        unmapped = block
        if block.ptr < begin:
            block.size = begin - block.ptr
            pool.insert(block)
            unmapped = Block(pool, begin, end - begin)
            unmapped.splice(block)
        unmapped.size, unmapped.mapped = end - begin, False
        pool.merge(unmapped, unmapped.prev)
        pool.merge(unmapped, unmapped.next)
        pool.insert(unmapped)
        self.reserved -= end - begin


def get_allocation_size(size: int) -> int:
    """Return how large a segment is made for a block.

    Examples
    --------
    >>> [get_allocation_size(n * MiB) // MiB for n in (1, 2, 11)]
    [2, 20, 12]
    """
    if size <= SMALL_SIZE:
        return SMALL_BUFFER
    if size < MIN_LARGE_ALLOC:
        return LARGE_BUFFER
    return -(-size // ROUND_LARGE) * ROUND_LARGE
