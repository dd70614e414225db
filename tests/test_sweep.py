"""One field over many values, and several configurations side by side."""

from __future__ import annotations

import json

import pytest

import vram_widget as vw
from vram_widget.advise import methods
from vram_widget.show.palette import PALETTE, VERDICT_INK
from vram_widget.show.table import TINTS
from vram_widget.step.timeline import COMPONENTS

GiB = 1024**3
LLAMA = "meta-llama/Llama-3.1-8B"
LORA = vw.TrainingConfig(LLAMA, training_method="lora", gpu="L40S")


def test_each_point_is_the_estimate_there() -> None:
    lengths = [1024, 4096, 16384]
    swept = vw.sweep(LORA, "max_seq_len", lengths)
    assert swept.values == tuple(lengths)
    for length, point in zip(lengths, swept, strict=True):
        assert tuple(point) == tuple(vw.estimate(LORA, max_seq_len=length))
    assert LORA.max_seq_len == 2048


def test_any_field_can_change_and_a_method_brings_its_own_defaults() -> None:
    swept = vw.sweep(LORA, "training_method", ["sft", "qlora"])
    assert [each.config.param_dtype for each in swept] == ["float32", "bfloat16"]
    cards = vw.sweep(LORA, "gpu", ["T4", "H100"])
    assert [each.verdict for each in cards] == ["does_not_fit", "fits"]
    assert cards.title == "Llama-3.1-8B · LoRA, rank 16"


def test_a_value_that_cannot_be_is_listed_with_its_reason() -> None:
    swept = vw.sweep(LORA, "lora_r", [8, 8192, 0])
    assert swept.values == (8,)
    assert "larger than" in swept.refused["8,192"]
    assert "between 1 and" in swept.refused["0"]
    assert swept.refused["8,192"] in repr(swept)
    assert "between 1 and" in swept._repr_html_()


def test_where_no_value_can_be_the_first_reason_is_raised() -> None:
    with pytest.raises(vw.ConfigError, match="between 1 and"):
        vw.sweep(LORA, "max_seq_len", [0, -1])
    with pytest.raises(vw.ConfigError, match="max_seq_len"):
        vw.sweep(LORA, "max_seq_len", [])
    with pytest.raises(vw.GPUError):
        vw.sweep(LORA.replace(gpu="H1000"), "max_seq_len", [512])


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(vw.UnknownFieldError, match="'max_seq_len'"):
        vw.sweep(LORA, "max_seq_length", [512])


def test_its_data_is_json_and_adds_up() -> None:
    swept = vw.sweep(LORA, "max_seq_len", [1024, 2048, 0])
    data = json.loads(json.dumps(swept.data()))
    for place, each in enumerate(swept):
        assert sum(data["bytes"][name][place] for name in COMPONENTS) == each.expected
    assert (data["field"], data["label"]) == ("max_seq_len", "Sequence length, tokens")
    assert data["refused"] == [["0", swept.refused["0"]]]


def test_its_repr_states_the_result() -> None:
    expected = f"{vw.estimate(LORA, gpu='T4').expected / GiB:.1f}"
    assert repr(vw.sweep(LORA, "gpu", ["T4"])).splitlines() == [
        "GPU:",
        f"         T4  Does not fit: {expected} of 16.0 GiB on each GPU",
    ]


def test_areas_over_numbers_reach_what_is_estimated() -> None:
    swept = vw.sweep(LORA, "max_seq_len", [65536, 1024, 8192])
    axes = swept.plot().axes[0]
    highest = max(area.get_paths()[0].get_extents().y1 for area in axes.collections)
    assert highest == pytest.approx(max(each.expected for each in swept) / GiB)
    assert axes.get_xscale() == "log"
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "L40S · 48.0 GiB" in legend


def test_bars_over_names_reach_what_is_estimated() -> None:
    swept = vw.sweep(LORA, "gpu", ["L4", "L40S"])
    axes = swept.plot().axes[0]
    tops = {bar.get_x(): bar.get_y() + bar.get_height() for bar in axes.patches}
    by_bar: dict[float, float] = {}
    for bar in axes.patches:
        x = bar.get_x()
        by_bar[x] = max(by_bar.get(x, 0), bar.get_y() + bar.get_height())
    assert len(tops) == 2
    expected = [each.expected / GiB for each in swept]
    assert sorted(by_bar.values()) == pytest.approx(sorted(expected))


# -- side by side ------------------------------------------------------------------------------


def test_compared_are_the_estimates_themselves() -> None:
    given = [LORA, LORA.replace(training_method="qlora"), LLAMA, {"model_path": LLAMA, "gpu": "T4"}]
    found = vw.compare(*given)
    assert [tuple(each) for each in found] == [tuple(vw.estimate(config)) for config in given]
    estimate = vw.estimate(LORA)
    assert next(iter(vw.compare(estimate))) is estimate


def test_only_what_differs_is_named() -> None:
    found = vw.compare(LORA, LORA.replace(max_seq_len=8192))
    assert found.differences == {"max_seq_len": [2048, 8192]}
    assert found.names == ["1. Sequence length 2,048", "2. Sequence length 8,192"]
    assert vw.compare(LORA, LORA.replace(gpu="T4")).names == ["1 × L40S", "1 × T4"]
    assert len(set(vw.compare(LORA, LORA).names)) == 2


def test_every_method_of_a_trainer_side_by_side() -> None:
    found = methods(vw.TrainingConfig(LLAMA, gpu="L40S", trainer="training_hub"))
    names = [each.config.training_method for each in found]
    assert names == ["sft", "lora", "qlora", "osft"]
    hub = vw.estimate(LLAMA, training_method="lora", gpu="L40S", trainer="training_hub")
    assert tuple(found.estimates[1]) == tuple(hub)


def test_a_comparison_shows_every_component() -> None:
    found = vw.compare(LORA, LORA.replace(training_method="qlora"))
    assert all(sum(each.components.values()) == each.expected for each in found)
    shown = found._repr_html_()
    assert all(paint.label in shown for paint in PALETTE.values())
    assert repr(found).count("\n") == 1
    assert len(found.plot().axes[0].get_xticks()) == 2


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(vw.ConfigError, match="better two"):
        vw.compare()


def test_a_name_with_markup_stays_text(tmp_path) -> None:
    folder = tmp_path / "<b>model"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "llama",
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "vocab_size": 100,
            }
        )
    )
    found = vw.compare({"model_path": str(folder)}, LLAMA)
    assert "<b>" not in found._repr_html_()


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("verdict", TINTS)
def test_a_verdicts_ink_can_be_read_on_its_tint(verdict: str) -> None:
    light, dark = luminance(TINTS[verdict]), luminance(VERDICT_INK[verdict])
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    lengths = vw.sweep(LORA, "max_seq_len", numpy.array([512, 1024]))
    assert [each.config.max_seq_len for each in lengths] == [512, 1024]
    assert json.dumps(lengths.estimates[0].config.config)
