"""What the allocator reserves for whole runs, and what decides it."""

from __future__ import annotations

from itertools import islice, pairwise
from statistics import mean, median

import numpy as np
import pytest

import vram_widget as vw
from vram_widget.allocator.conf import AllocConf
from vram_widget.allocator.lengths import SIGMA, drawn, packed, padded
from vram_widget.allocator.reserved import Process, reserved
from vram_widget.step.replay import replay
from vram_widget.units import GiB, MiB

MODEL = "meta-llama/Llama-3.2-1B"
RUNS = {
    "lora": {"trainer": "trl", "training_method": "lora", "gpu": "RTX 4090"},
    "qlora": {"trainer": "axolotl", "training_method": "qlora", "gpu": "RTX 4090"},
    "sft": {"trainer": "training_hub", "gpu": "H100", "num_gpus": 8},
    "zero3": {"trainer": "trl", "gpu": "H100", "num_gpus": 8, "sharding": "zero3"},
}


class Counting:
    """An allocator that hands out exactly what is asked for, and counts it."""

    def __init__(self) -> None:
        self.allocated = self.peak = 0

    def malloc(self, nbytes: int, stream: str = "") -> int:
        self.allocated += nbytes
        self.peak = max(self.peak, self.allocated)
        return nbytes

    def free(self, nbytes: int) -> None:
        self.allocated -= nbytes


@pytest.mark.parametrize("choices", RUNS.values(), ids=list(RUNS))
def test_every_event_of_the_record_is_replayed_once(choices):
    """The peak that comes of one event after the other is the record's, worked out by layers."""
    record = vw.estimate(MODEL, **choices)._record
    process = Process(allocator := Counting())
    process.run(record.segments)
    assert allocator.peak == record.peak
    lasting = [segment.course.change for segment in record.segments]
    counts = [segment.count for segment in record.segments]
    assert allocator.allocated == sum(sum(c) * n for c, n in zip(lasting, counts, strict=True))


@pytest.mark.parametrize("choices", RUNS.values(), ids=list(RUNS))
def test_what_is_reserved_lies_in_order_above_what_is_allocated(choices):
    est = vw.estimate(MODEL, **choices)
    given_back, steady, varied = est.reserved
    assert est.allocated <= given_back <= steady <= varied
    assert steady < 1.6 * est.allocated


@pytest.mark.parametrize("choices", RUNS.values(), ids=list(RUNS))
def test_a_card_with_what_is_called_enough_never_needs_more(choices):
    """Given back what is cached, a run goes on within the limit that it was found to need."""
    est = vw.estimate(MODEL, **choices)
    for conf in ("", "expandable_segments:True"):
        found = reserved(est._record, (), AllocConf.of(conf))
        assert found.given_back <= found.steady
    assert (
        found.given_back < est.allocated + 0.02 * est.allocated + 64 * MiB
    )  # pages fit it closely


def test_segments_that_expand_reserve_less_where_lengths_vary():
    """What expandable segments are for, by PyTorch's notes on CUDA."""
    choices = {**RUNS["sft"], "max_tokens_per_gpu": 8192, "max_seq_len": 8192}
    plain = vw.estimate(MODEL, **choices)
    pages = vw.estimate(MODEL, **choices, pytorch_alloc_conf="expandable_segments:True")
    assert pages.allocated == plain.allocated
    assert pages.reserved.varied < 0.9 * plain.reserved.varied


def test_lengths_that_vary_reserve_more_and_full_batches_nothing():
    choices = {**RUNS["sft"], "max_tokens_per_gpu": 8192, "max_seq_len": 8192}
    packs = vw.estimate(MODEL, **choices)
    assert packs.reserved.varied > 1.1 * packs.reserved.steady
    full = vw.estimate(MODEL, **RUNS["sft"], max_seq_len=8192)
    assert full.reserved.varied == full.reserved.steady
    # all of one length, which the batch is a multiple of: they are full too
    even = packs.reserved_for([1024])
    assert even.varied == even.steady


def test_a_run_of_another_length_is_the_same_run():
    est = vw.estimate(MODEL, **RUNS["lora"], micro_batch_size=2, max_seq_len=1024)
    shorter = vw.estimate(MODEL, **RUNS["lora"], micro_batch_size=2, max_seq_len=600)
    assert replay(est._run.at(1200, 600)).peak == shorter.allocated


def test_lengths_are_drawn_as_it_is_said():
    draw = drawn(average=700, longest=10**9)
    lengths = sorted(draw() for _ in range(20_000))
    assert mean(lengths) == pytest.approx(700, rel=0.02)
    assert median(lengths) == pytest.approx(700 * 2.718281828 ** (-(SIGMA**2) / 2), rel=0.02)
    assert lengths[10_000] / 700 == pytest.approx(0.78, abs=0.02)
    assert lengths[19_000] / 700 == pytest.approx(2.47, abs=0.1)


def test_a_person_s_lengths_are_drawn_and_cut_off():
    draw = drawn(700, 512, [100, 900])
    assert {draw() for _ in range(100)} == {100, 512}


@pytest.mark.parametrize("lengths", [[0], [-5, 3], [1.5], ["long"], "abc", 7, {"a": 1}, [None]])
def test_lengths_that_are_none_are_refused(lengths):
    est = vw.estimate(MODEL, **RUNS["lora"])
    with pytest.raises(vw.ConfigError, match="whole numbers of tokens from 1 on"):
        est.reserved_for(lengths)


def test_lengths_may_come_from_numpy():
    est = vw.estimate(MODEL, **RUNS["lora"])
    assert est.reserved_for(np.array([100, 900])) == est.reserved_for([100, 900])


def test_batches_are_padded_to_the_longest_or_filled_up():
    for tokens, length in islice(padded(4, drawn(700, 2048)), 50):
        assert tokens == 4 * length <= 4 * 2048
    filled = [batch.tokens for batch in islice(packed(8192, drawn(700, 2048)), 50)]
    assert max(filled) <= 8192
    assert mean(filled) > 8192 - 2048 / 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("expandable_segment:True", "has no option 'expandable_segment'"),
        ("expandable_segments:yes", "expandable_segments is True or False, not 'yes'"),
        ("max_split_size_mb:20", "a number of MiB above 20"),
        ("roundup_power2_divisions:3", "a power of two up to 64"),
        ("garbage_collection_threshold:1.5", "a share between 0 and 1"),
        ("expandable_segments", "True or False, not ''"),
    ],
)
def test_settings_that_pytorch_has_not_are_refused(text, said):
    with pytest.raises(vw.ConfigError, match="pytorch_alloc_conf") as refused:
        vw.TrainingConfig("m", pytorch_alloc_conf=text)
    assert said in str(refused.value)


def test_settings_are_read_as_pytorch_reads_them():
    conf = AllocConf.of("max_split_size_mb:128, roundup_power2_divisions:8")
    assert conf == AllocConf(False, 128 * MiB, 8)
    assert vw.TrainingConfig("m", pytorch_alloc_conf=" ").pytorch_alloc_conf == ""


def test_the_estimate_itself_waits_for_no_allocator():
    est = vw.estimate(MODEL, **RUNS["sft"])
    assert "reserved" not in vars(est)
    assert est.reserved.steady > 1 * GiB
    assert "reserved" in vars(est)


def test_a_published_formula_has_no_allocator():
    est = vw.estimate(MODEL, memory_model="training_hub", gpu="H100")
    with pytest.raises(vw.ConfigError, match="memory_model='replay'"):
        _ = est.reserved


@pytest.mark.parametrize("choices", RUNS.values(), ids=list(RUNS))
def test_what_is_reserved_lies_above_the_timeline_and_never_falls(choices):
    est = vw.estimate(MODEL, **choices)
    reserved_then, allocated = est.reserved_over_time, est._record.timeline[0].total
    assert len(reserved_then) == len(est.timeline)
    assert all(a <= b for a, b in pairwise(reserved_then))
    fixed = reserved_then[0]  # nothing is loaded yet: what CUDA and NCCL take
    for taken, held in zip(reserved_then, allocated, strict=True):
        assert taken - fixed >= held
    assert max(reserved_then) - fixed <= est.reserved.steady


def test_the_picture_shows_what_is_cached_behind_the_tensors():
    est = vw.estimate(MODEL, **RUNS["qlora"])
    axes = est.plot().axes[0]
    assert "Cached by PyTorch" in [text.get_text() for text in axes.texts]
    behind = axes.collections[0].get_paths()[0].vertices[:, 1].max()
    assert behind * GiB == pytest.approx(max(est.reserved_over_time))
    formula = vw.estimate(MODEL, memory_model="rule_of_thumb", gpu="H100")
    texts = [text.get_text() for text in formula.plot().axes[0].texts]
    assert "Cached by PyTorch" not in texts
