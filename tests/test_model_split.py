"""A model split over cards: against transformers' own placement, and against the model whole."""

from __future__ import annotations

import importlib
from typing import Any

import on_meta
import pytest

import vram_widget as vw
from vram_widget.export import draft
from vram_widget.export.readers import from_axolotl, from_training_hub, from_trl, from_unsloth
from vram_widget.gpu import resolve
from vram_widget.model.load import load
from vram_widget.step.model_split import cards, modules, placed
from vram_widget.step.run import Run

LLAMA = "meta-llama/Llama-3.1-70B"
GIB = 2**30


def run_of(model: str, num_gpus: int, **choices: Any) -> Run:
    choices = {"training_method": "lora", "trainer": "trl", "param_dtype": "bfloat16", **choices}
    split = {"num_gpus": num_gpus, "sharding": "device_map"}
    config = vw.TrainingConfig(model, target_modules="all-linear", **split, **choices)
    config.check()
    return Run.of(config, load(model), resolve("H100", None, num_gpus)[0])


def parts_of(model: str, num_gpus: int, **choices: Any) -> tuple[Run, ...]:
    return cards(run_of(model, num_gpus, **choices))


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("num_gpus", [2, 3, 8])
@pytest.mark.parametrize(
    "model",
    [
        LLAMA,
        "Qwen/Qwen2.5-0.5B",
        "google/gemma-2-2b",
        "allenai/OLMoE-1B-7B-0125",
        "mistralai/Mistral-7B-v0.3",
    ],
)
def test_layers_lie_where_transformers_puts_them(model: str, num_gpus: int, method: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    placing = importlib.import_module("transformers.integrations.accelerate")
    run = run_of(model, num_gpus, training_method=method)
    built = on_meta.model(dict(run.architecture.config)).to(torch.bfloat16)

    class Quantizer:
        """bitsandbytes' sizes and its room, without bitsandbytes."""

        def param_element_size(self, model: Any, name: str, parameter: Any) -> float:
            module = model.get_submodule(name.rpartition(".")[0])
            is_linear = isinstance(module, torch.nn.Linear) and not name.startswith("lm_head")
            return 0.5 if is_linear else parameter.element_size()

    quantizer = Quantizer() if method == "qlora" else None
    room = dict.fromkeys(range(num_gpus), 10**12)
    blocks = built._no_split_modules
    limits = placing.get_balanced_memory(built, room, blocks, quantizer)
    if quantizer:
        limits = {card: limit * 0.9 for card, limit in limits.items()}
    theirs = placing.infer_auto_device_map(
        built, limits, no_split_module_classes=blocks, hf_quantizer=quantizer
    )
    ours = placed(modules(run), num_gpus, method == "qlora")
    for name, card in ours.items():
        holder = next(each for each in theirs if f"{name}.".startswith(f"{each}.") or not each)
        assert theirs[holder] == card, name


def held(part: Run) -> int:
    return sum(
        count * parameter.size
        for count, method, weights in part._parts()
        for name, shape in weights.items()
        for parameter in method.parameters(name, shape)
    )


@pytest.mark.parametrize("method", ["sft", "lora", "qlora"])
@pytest.mark.parametrize("model", [LLAMA, "Qwen/Qwen2.5-0.5B", "openai-community/gpt2"])
def test_the_cards_hold_what_one_gpu_does(model: str, method: str) -> None:
    split = run_of(model, 4, training_method=method)
    assert sum(map(held, cards(split))) == held(split)
    trained = [part.num_trainable for part in cards(split)]
    assert sum(trained) == split.num_trainable


def estimate(**choices: Any) -> vw.MemoryEstimate:
    fields = {"training_method": "lora", "trainer": "training_hub", "num_gpus": 8, "gpu": "H100"}
    return vw.estimate(LLAMA, **{**fields, **choices})


def test_seventy_billion_weights_fit_eight_cards_split_and_not_copied() -> None:
    assert estimate().verdict == "does_not_fit"
    found = estimate(sharding="device_map")
    assert found.verdict == "fits"
    assert len(found.per_gpu) == 8
    assert found.allocated == max(found.per_gpu)
    assert 11 * 1.6 * GIB < found.allocated < 22 * GIB  # 11 of 80 layers of 1.6 GiB
    quantised = estimate(sharding="device_map", training_method="qlora")
    assert quantised.allocated < found.allocated / 2


def test_the_logits_are_on_the_last_card_alone() -> None:
    choices = {"sharding": "device_map", "num_gpus": 2}
    chunked = estimate(**choices, loss_kernel="chunked").per_gpu
    eager = estimate(**choices, loss_kernel="eager").per_gpu
    assert eager[0] == chunked[0]
    assert eager[1] > chunked[1] + GIB


def test_tied_weights_keep_the_logits_with_the_embedding() -> None:
    first, *others = parts_of("Qwen/Qwen2.5-0.5B", 2)
    assert first.has_embedding
    assert first.has_lm_head
    assert not any(part.has_lm_head for part in others)


def test_one_card_works_at_a_time() -> None:
    split = estimate(sharding="device_map").config
    alone = split.replace(num_gpus=1)
    assert vw.run_time(split).seconds == vw.run_time(alone).seconds
    assert vw.run_time(split).steps == vw.run_time(alone).steps


def test_a_split_is_one_process_on_one_node() -> None:
    with pytest.raises(vw.ConfigError, match="num_nodes=1"):
        estimate(sharding="device_map", num_nodes=2)


def test_one_gpu_is_not_split() -> None:
    fields = {"training_method": "lora", "gpu": "L4"}
    model = "Qwen/Qwen2.5-0.5B"
    assert tuple(vw.estimate(model, sharding="device_map", **fields)) == tuple(
        vw.estimate(model, **fields)
    )


@pytest.mark.parametrize(
    ("trainer", "reader"),
    [("training_hub", from_training_hub), ("trl", from_trl), ("axolotl", from_axolotl)],
)
@pytest.mark.filterwarnings("ignore::vram_widget.export.readers.reading.ReadingWarning")
def test_a_split_is_written_and_read_back(trainer: str, reader: Any) -> None:
    fields = {"trainer": trainer, "training_method": "qlora"}
    config = vw.TrainingConfig(LLAMA, num_gpus=8, sharding="device_map", **fields)
    written = draft(config, trainer)
    assert "sharding" not in written.unsupported
    assert any("one process" in notice for notice in written.notices)
    back = reader(written.settings, num_gpus=8)
    assert (back.sharding, back.num_gpus) == ("device_map", 8)


def test_training_hubs_splitting_takes_the_gpus_of_its_keywords() -> None:
    keywords = {"model_path": "m", "lora_r": 8, "nproc_per_node": 4, "nnodes": 1}
    found = from_training_hub({**keywords, "enable_model_splitting": True})
    assert (found.sharding, found.num_gpus, found.uncounted) == ("device_map", 4, [])
    assert from_training_hub(keywords).sharding == "ddp"


@pytest.mark.parametrize("placed", ["auto", "balanced"])
def test_unsloths_device_map_is_read_for_several_gpus(placed: str) -> None:
    keywords = {"model_name": "m", "device_map": placed, "load_in_4bit": True}
    assert from_unsloth(keywords, num_gpus=4).sharding == "device_map"


def test_a_split_is_suggested_where_nothing_can_be_sharded() -> None:
    config = estimate(sharding="ddp").config
    found = [each for each in vw.suggest(config) if "sharding" in each.changes]
    assert [each.changes["sharding"] for each in found] == ["device_map"]
    assert found[0].fits
    assert found[0].changes["gradient_accumulation_steps"] == (
        8 * config.gradient_accumulation_steps
    )
