"""The allocator's rules, one by one, by the names that CUDACachingAllocator.cpp has for them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vram_widget.allocator.caching_allocator import CachingAllocator, get_allocation_size
from vram_widget.allocator.conf import AllocConf
from vram_widget.units import MiB

KiB = 1024
PLAIN = AllocConf()
EXPANDABLE = AllocConf(expandable_segments=True)


@pytest.mark.parametrize(
    ("nbytes", "segment"),
    [
        (1, 2 * MiB),  # kSmallBuffer
        (1 * MiB, 2 * MiB),  # kSmallSize is small still
        (1 * MiB + 1, 20 * MiB),  # kLargeBuffer
        (10 * MiB - 512, 20 * MiB),
        (10 * MiB, 10 * MiB),  # kMinLargeAlloc
        (10 * MiB + 1, 12 * MiB),  # kRoundLarge
        (33 * MiB, 34 * MiB),
    ],
)
def test_a_segment_is_as_large_as_its_first_block_wants(nbytes, segment):
    assert get_allocation_size(PLAIN.rounded(nbytes)) == segment
    allocator = CachingAllocator(PLAIN)
    allocator.malloc(nbytes)
    assert allocator.reserved == segment


@pytest.mark.parametrize(
    ("divisions", "nbytes", "rounded"),
    [
        (0, 1, 512),
        (0, 513, 1024),
        (0, 1200 * MiB, 1200 * MiB),
        (4, 1200 * MiB, 1280 * MiB),  # the example of PyTorch's notes: 1024, 1280, 1536, 1792
        (4, 1281 * MiB, 1536 * MiB),
        (4, 1024 * MiB, 1024 * MiB),
        (4, 1500, 1536),  # at most kMinBlockSize times the divisions it is by 512 still
    ],
)
def test_round_size(divisions, nbytes, rounded):
    assert AllocConf(roundup_power2_divisions=divisions).rounded(nbytes) == rounded


def test_the_best_fit_is_the_smallest_and_of_equals_the_lowest():
    allocator = CachingAllocator(PLAIN)
    blocks = [allocator.malloc(size * MiB) for size in (64, 16, 32, 16)]
    addresses = [block.ptr for block in blocks]
    for block in blocks:
        allocator.free(block)
    assert allocator.malloc(16 * MiB).ptr == addresses[1]
    assert allocator.malloc(15 * MiB + 1).ptr == addresses[3]
    assert allocator.malloc(17 * MiB).ptr == addresses[2]
    assert allocator.reserved == 128 * MiB


def test_should_split_leaves_more_than_a_mebibyte_of_a_large_block():
    for wanted, split in ((11 * MiB, False), (11 * MiB - 512, True)):
        allocator = CachingAllocator(PLAIN)
        allocator.free(allocator.malloc(12 * MiB))
        block = allocator.malloc(wanted)
        assert block.size == (wanted if split else 12 * MiB)


def test_should_split_leaves_the_least_block_of_a_small_one():
    allocator = CachingAllocator(PLAIN)
    first, second = allocator.malloc(1000), allocator.malloc(1)
    assert (first.size, second.ptr - first.ptr) == (1024, 1024)


def test_small_and_large_blocks_come_from_segments_of_their_own():
    allocator = CachingAllocator(PLAIN)
    allocator.free(allocator.malloc(32 * MiB))
    allocator.malloc(512)
    assert allocator.reserved == 34 * MiB


def test_a_stream_takes_no_block_of_another():
    allocator = CachingAllocator(PLAIN)
    allocator.free(allocator.malloc(32 * MiB, "all_gather"))
    allocator.malloc(32 * MiB)
    assert allocator.reserved == 64 * MiB
    allocator.malloc(32 * MiB, "all_gather")
    assert allocator.reserved == 64 * MiB


@pytest.mark.parametrize("conf", [PLAIN, EXPANDABLE])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2)])
def test_neighbours_are_merged_in_whatever_order_they_are_freed(conf, order):
    allocator = CachingAllocator(conf)
    blocks = [allocator.malloc(6 * MiB) for _ in range(3)]
    for number in order:
        allocator.free(blocks[number])
    assert allocator.malloc(18 * MiB).ptr == min(block.ptr for block in blocks)
    assert allocator.reserved == 20 * MiB


def test_release_cached_blocks_gives_back_whole_segments_alone():
    allocator = CachingAllocator(PLAIN)
    whole, part, rest = (allocator.malloc(size * MiB) for size in (32, 4, 4))
    for block in (whole, part):
        allocator.free(block)
    assert rest.allocated
    allocator.empty_cache()
    assert allocator.reserved == 20 * MiB


def test_what_is_cached_is_given_back_before_the_driver_runs_out():
    allocator = CachingAllocator(PLAIN, limit=64 * MiB)
    allocator.free(allocator.malloc(32 * MiB))
    allocator.malloc(48 * MiB)  # 32 and 48 are more than 64
    assert (allocator.reserved, allocator.num_alloc_retries) == (48 * MiB, 1)
    allocator.malloc(32 * MiB)  # more than there is, whatever is given back
    assert allocator.limit == allocator.max_reserved == 80 * MiB


def test_a_block_above_max_split_size_is_for_its_own_size():
    allocator = CachingAllocator(AllocConf(max_split_size=64 * MiB))
    allocator.free(allocator.malloc(128 * MiB))
    allocator.malloc(32 * MiB)  # a smaller one may not take it
    assert allocator.reserved == 160 * MiB
    block = allocator.malloc(108 * MiB + 512)  # one within kLargeBuffer of it does, unsplit
    assert (allocator.reserved, block.size) == (160 * MiB, 128 * MiB)
    allocator.free(block)
    allocator.malloc(108 * MiB)
    assert allocator.reserved == 268 * MiB


def test_a_segment_expands_by_pages_behind_what_is_free():
    allocator = CachingAllocator(EXPANDABLE)
    first = allocator.malloc(12 * MiB)
    assert allocator.reserved == 20 * MiB  # a page
    allocator.malloc(30 * MiB)  # 8 are free behind it: two pages more
    assert allocator.reserved == 60 * MiB
    allocator.free(first)
    allocator.malloc(12 * MiB)
    assert allocator.reserved == 60 * MiB


def test_a_segment_that_expands_has_no_hole_for_what_grows():
    """The same tensor, larger every time: by segments they add up, by pages there is one."""
    reserved = {}
    for conf in (PLAIN, EXPANDABLE):
        allocator = CachingAllocator(conf)
        for size in range(100, 200, 10):
            allocator.free(allocator.malloc(size * MiB))
        reserved[conf] = allocator.reserved
    assert reserved == {PLAIN: sum(range(100, 200, 10)) * MiB, EXPANDABLE: 200 * MiB}


def test_pages_amid_a_segment_are_given_back_and_mapped_again():
    allocator = CachingAllocator(EXPANDABLE)
    first, second, third = (allocator.malloc(50 * MiB) for _ in range(3))
    allocator.free(second)
    allocator.empty_cache()  # from 50 to 100 MiB are free: the pages from 60 to 100
    assert allocator.reserved == (160 - 40) * MiB
    again = allocator.malloc(50 * MiB)
    assert first.ptr < again.ptr < third.ptr
    assert allocator.reserved == 160 * MiB


class Plain:
    """The same by the rules alone: segments as lists of stretches, looked through from the first.

    It has no free lists, no neighbours, no merging: stretches that are free lie beside each other.
    """

    def __init__(self) -> None:
        self.segments: list[tuple[bool, list[list[int]]]] = []  # small?, [start, end] in use
        self.sizes: list[int] = []

    @property
    def reserved(self) -> int:
        return sum(self.sizes)

    def malloc(self, nbytes: int) -> tuple[int, int]:
        size = max(-(-nbytes // 512) * 512, 512)
        small = size <= MiB
        fits = []
        for number, (is_small, used) in enumerate(self.segments):
            ends = [[0, 0], *sorted(used), [self.sizes[number]] * 2]
            for (_, begin), (end, _) in pairwise(ends):
                if is_small is small and end - begin >= size:
                    fits.append((end - begin, number, begin))
        if fits:
            room, number, begin = min(fits)
        else:
            room, number, begin = get_allocation_size(size), len(self.segments), 0
            self.segments.append((small, []))
            self.sizes.append(room)
        takes = size if room - size >= (512 if small else MiB + 1) else room
        self.segments[number][1].append([begin, begin + takes])
        return number, begin

    def free(self, place: tuple[int, int]) -> None:
        number, begin = place
        used = self.segments[number][1]
        used.remove(next(each for each in used if each[0] == begin))


sizes = st.one_of(
    st.integers(1, 2 * MiB), st.integers(1 * MiB, 12 * MiB), st.sampled_from([512, 10 * MiB])
)


@given(st.lists(st.tuples(sizes, st.integers(0, 9)), max_size=120))
def test_it_reserves_what_the_rules_alone_would(program):
    allocator, plain, held = CachingAllocator(PLAIN), Plain(), []
    for nbytes, choice in program:
        if held and choice < 4:
            block, place = held.pop(choice * 7 % len(held))
            allocator.free(block)
            plain.free(place)
        else:
            held.append((allocator.malloc(nbytes), plain.malloc(nbytes)))
        assert allocator.reserved == plain.reserved


@given(st.lists(st.tuples(sizes, st.integers(0, 9)), max_size=120), st.booleans())
def test_a_segment_that_expands_holds_every_block_once(program, limited):
    allocator = CachingAllocator(EXPANDABLE, limit=40 * MiB if limited else None)
    held = []
    for nbytes, choice in program:
        if held and choice < 4:
            allocator.free(held.pop(choice * 7 % len(held)))
        else:
            held.append(allocator.malloc(nbytes))
        in_order = sorted((block.ptr, block.ptr + block.size) for block in held)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(in_order))
        assert allocator.reserved >= sum(block.size for block in held)
        assert all(block.mapped for block in held)
    for block in held:
        allocator.free(block)
    allocator.empty_cache()
    assert allocator.reserved == 0
