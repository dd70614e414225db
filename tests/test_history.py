"""Undo and redo: by themselves, in the widget, and by message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vram_widget.config import TrainingConfig
from vram_widget.errors import VRAMWidgetError
from vram_widget.widget import VRAMWidget
from vram_widget.widget.history import DRAG, MOST, History

GRANITE = "ibm-granite/granite-3.3-2b-instruct"


class Clock:
    """Time that passes when it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def widget(clock: Clock) -> VRAMWidget:
    """A widget of which every change is one of its own, as if a person took their time."""
    made = VRAMWidget(GRANITE, gpu="L40S")
    made._history._clock = clock
    made.observe(lambda _: setattr(clock, "now", clock.now + 2 * DRAG), "report")
    return made


def ask(widget: VRAMWidget, **request: Any) -> None:
    """Send what the front end sends when it asks for something."""
    widget._handle_custom_msg(request, [])


def sized(size: int, **choices: Any) -> TrainingConfig:
    return TrainingConfig(micro_batch_size=size, **choices)


def test_a_drag_is_one_step(clock: Clock) -> None:
    history = History(clock)
    for size in (1, 2, 4, 8, 16):
        history.take(sized(size))
        clock.now += DRAG / 2
    back = history.go(-1)
    assert back is not None
    assert back.micro_batch_size == 1
    assert history.go(-1) is None
    forward = history.go(1)
    assert forward is not None
    assert forward.micro_batch_size == 16


def test_moves_with_a_pause_between_them_are_steps_of_their_own(clock: Clock) -> None:
    history = History(clock)
    for size in (1, 2, 4):
        history.take(sized(size))
        clock.now += DRAG
    assert [history.go(-1).micro_batch_size for _ in range(2)] == [2, 1]  # type: ignore[union-attr]


def test_moves_of_two_fields_are_two_steps_however_soon(clock: Clock) -> None:
    history = History(clock)
    for config in (sized(1), sized(2), sized(2, max_seq_len=4096)):
        history.take(config)
    assert history.labels == {"undo": "Sequence length", "redo": None}
    history.go(-1)
    assert history.labels == {"undo": "Micro-batch", "redo": "Sequence length"}


def test_a_drag_that_ends_where_it_began_is_no_step(clock: Clock) -> None:
    history = History(clock)
    for size in (1, 2, 4, 2, 1):
        history.take(sized(size))
    assert history.labels == {"undo": None, "redo": None}


def test_the_history_is_bounded(clock: Clock) -> None:
    history = History(clock)
    for size in range(1, 3 * MOST):
        history.take(sized(size))
        clock.now += DRAG
    steps = 0
    while history.go(-1):
        steps += 1
    assert steps == MOST - 1


@given(st.lists(st.sampled_from(["undo", "redo", 1, 2, 4, 8])))
def test_any_walk_is_that_of_two_stacks(moves: list[str | int]) -> None:
    clock = Clock()
    history = History(clock)
    history.take(sized(1))
    past, present, future = [], 1, []
    for move in moves:
        clock.now += DRAG
        if move == "undo":
            there = history.go(-1)
            assert bool(there) == bool(past)
            if past:
                future.append(present)
                present = past.pop()
        elif move == "redo":
            there = history.go(1)
            assert bool(there) == bool(future)
            if future:
                past.append(present)
                present = future.pop()
        else:
            history.take(there := sized(int(move)))
            if move != present:
                past.append(present)
                present, future = int(move), []
        if there:
            assert there.micro_batch_size == present


def test_the_widget_goes_back_and_forward(widget: VRAMWidget) -> None:
    first, figure = widget.config, widget.report["expected"]
    widget.training_method = "lora"
    widget.lora_r = 64
    second = widget.config
    assert widget.history == {"undo": "LoRA rank", "redo": None}
    widget.undo()
    assert widget.lora_r == 16
    widget.undo()
    assert widget.config == first
    assert widget.report["expected"] == figure
    assert widget.history == {"undo": None, "redo": "Method"}
    widget.undo()  # there is nothing more, and nothing happens
    widget.redo()
    widget.redo()
    assert widget.config == second
    widget.undo()
    widget.max_seq_len = 4096
    assert widget.history["redo"] is None


def test_what_was_left_to_the_trainer_is_left_to_it_again(widget: VRAMWidget) -> None:
    widget.training_method = "lora"
    widget.undo()
    widget.training_method = "lora"
    assert widget.config == VRAMWidget(GRANITE, gpu="L40S", training_method="lora").config


def test_an_applied_suggestion_is_one_step_even_after_a_drag(widget: VRAMWidget) -> None:
    widget._history._clock = lambda: 0.0
    widget.set_state({"micro_batch_size": 4})
    widget.set_state({"micro_batch_size": 8})
    ask(widget, type="apply", changes={"micro_batch_size": 16})
    ask(widget, type="undo")
    assert widget.micro_batch_size == 8
    ask(widget, type="undo")
    assert widget.micro_batch_size == 1
    ask(widget, type="redo")
    ask(widget, type="redo")
    assert widget.micro_batch_size == 16


def test_several_changes_applied_together_are_one_step(widget: VRAMWidget) -> None:
    before = widget.config
    ask(widget, type="apply", changes={"gradient_checkpointing": False, "max_seq_len": 4096})
    assert widget.history["undo"] == "Sequence length and Checkpointing"
    ask(widget, type="undo")
    assert widget.config == before


def test_a_refused_value_is_no_step(widget: VRAMWidget) -> None:
    widget.set_state({"max_seq_len": "a lot"})
    with pytest.raises(VRAMWidgetError):
        widget.lora_r = 0
    assert widget.history == {"undo": None, "redo": None}


def test_a_configuration_that_there_is_no_more_is_refused(
    widget: VRAMWidget, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    config = '{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, '
    config += '"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}'
    (folder / "config.json").write_text(config)
    widget.model_path = str(folder)
    widget.model_path = GRANITE
    (folder / "config.json").unlink()
    good, history = widget.config, widget.history
    with pytest.raises(VRAMWidgetError, match="model"):
        widget.undo()
    ask(widget, type="undo")
    assert "model_path" in widget.report["errors"]
    assert (widget.config, widget.history) == (good, history)


def test_values_chosen_with_a_method_go_before_what_its_trainer_would_choose() -> None:
    widget = VRAMWidget(GRANITE, gpu="L40S")
    widget.set_state({"micro_batch_size": 1, "training_method": "lora"})
    assert (widget.training_method, widget.micro_batch_size) == ("lora", 1)
    widget.set_state({"training_method": "sft", "trainer": "trl", "micro_batch_size": 8})
    assert (widget.trainer, widget.micro_batch_size) == ("trl", 8)
    widget.undo()
    assert (widget.training_method, widget.trainer, widget.micro_batch_size) == (
        "lora",
        "training_hub",
        1,
    )
