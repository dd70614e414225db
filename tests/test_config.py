"""A person at the keyboard: what an editor, Shift-Tab and Tab know of the fields."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

import vram_widget as vw
from vram_widget.config import fields
from vram_widget.config.alloc_conf import AllocatorSettings
from vram_widget.config.choices import Choices
from vram_widget.config.uncounted import UncountedSettings
from vram_widget.config.zero_optimization import ZeroOptimization

TYPES = Choices.__annotations__


def accepted(field: fields.Field[Any]) -> set[object]:
    """Return the types of what a field takes."""
    taken: set[object] = {
        fields.Text: {str},
        AllocatorSettings: {str},
        fields.Switch: {bool},
        fields.Count: {int},
        fields.Number: {float},
        fields.Bytes: {int, str},
        fields.Modules: {str},
        fields.Names: set(),
        fields.Expressions: set(),
        UncountedSettings: set(),
        ZeroOptimization: set(),
        fields.Choice: set(field.metadata.get("options", ())),
    }[type(field)]
    return taken | ({type(None)} if field.allow_none else set())


def parts(kind: Any) -> set[object]:
    """Return the members of a union, or the options of a literal."""
    return set(get_args(kind)) or {kind}


def test_the_keywords_are_the_fields_in_their_order() -> None:
    assert list(TYPES) == vw.TrainingConfig.field_names()


@pytest.mark.parametrize("name", sorted(TYPES.keys() - {"trainer"}))
def test_a_keyword_has_the_type_that_its_field_takes(name: str) -> None:
    field = vw.TrainingConfig.fields()[name]
    assert (get_origin(TYPES[name]) is Literal) == isinstance(field, fields.Choice)
    more = parts(TYPES[name]) - accepted(field)
    assert accepted(field) <= parts(TYPES[name])
    several = isinstance(field, (fields.Modules, UncountedSettings, ZeroOptimization))
    assert bool(more) == (several or name == "model_path"), more  # a path, several names


#: What takes every field, with what else it takes.
TAKERS: dict[Any, list[str]] = {
    vw.TrainingConfig: [],
    vw.VRAMWidget: ["controls"],
    vw.estimate: ["config"],
    vw.run_time: ["config"],
    vw.recommend: ["models"],
}


@pytest.mark.parametrize("taker", TAKERS)
def test_the_signature_shows_every_field_with_its_default(taker: Any) -> None:
    shown = inspect.signature(taker).parameters
    for name, default in vw.TrainingConfig().config.items():
        assert shown[name].default == default
        assert shown[name].annotation is TYPES[name]
    assert [name for name in shown if name not in TYPES] == TAKERS[taker]


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """A notebook's shell, which leaves nothing behind."""
    interactiveshell = pytest.importorskip("IPython.core.interactiveshell")
    shell = interactiveshell.InteractiveShell(ipython_dir=str(tmp_path))
    shell.history_manager.enabled = False
    shell.user_ns["vw"] = vw
    return shell


@pytest.mark.parametrize("taker", ["TrainingConfig", "VRAMWidget", "estimate", "recommend"])
def test_shift_tab_shows_the_fields(shell: Any, taker: str) -> None:
    shown = re.sub(r"\x1b\[[\d;]*m", "", shell.object_inspect_mime(f"vw.{taker}")["text/plain"])
    assert re.search(r"max_seq_len: .?int.? = 2048", shown), shown


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_tab_completes_a_field(shell: Any) -> None:
    shell.Completer.use_jedi = False
    text = "vw.estimate('m', max_s"
    _, found = shell.Completer.complete(line_buffer=text, cursor_pos=len(text))
    assert "max_seq_len=" in found


def test_dir_shows_what_a_person_imports() -> None:
    assert [name for name in dir(vw) if not name.startswith("__")] == sorted(vw.__all__)
    assert "__name__" in dir(vw)
    assert vw.advise.largest is vw.largest  # a room is still there for who names it


GOOD = """
import vram_widget as vw

config = vw.TrainingConfig("m", training_method="lora", lora_r=16, gpu_memory="48GiB")
config.max_seq_len = 4096
rank: int = config.lora_r
tokens: int | None = config.max_tokens_per_gpu
vw.estimate(config, training_method=config.training_method, target_modules=["q_proj"])
vw.estimate("m", trainer="trl", gpu_hour_price=None)
vw.run_time("m", num_epochs=3)
vw.VRAMWidget("m", controls=["gpu"], layout={"width": "80%"}, micro_batch_size=2)
vw.recommend("L40S", 2, trainer="trl")
vw.recommend(gpu="L40S", num_gpus=2, models=["m"])
vw.from_trl({"model": "m"}, gpu="L40S")
vw.from_axolotl("config.yaml", num_gpus=2)
config.replace(lora_alpha=32)
"""

BAD = [
    'vw.estimate("m", max_seq_length=1)',
    'vw.TrainingConfig("m", training_method="loar")',
    'vw.VRAMWidget("m", micro_batch=4)',
    'vw.run_time("m", epochs=3)',
    'vw.recommend("L40S", max_seq_length=1)',
    'vw.recommend(gpus="L40S")',
    'vw.from_trl({"model": "m"}, gpus="L40S")',
    'vw.from_axolotl("config.yaml", gpu_count=2)',
    'vw.TrainingConfig("m").replace(lora_rank=8)',
    'vw.TrainingConfig("m").lora_rank = 8',
    'word: str = vw.TrainingConfig("m").lora_r',
]


def test_an_editor_knows_the_fields(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    file = tmp_path / "script.py"
    file.write_text("\n".join([GOOD, *BAD]), "utf-8")
    root = str(Path(vw.__file__).parents[1])
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    more = ["--ignore-missing-imports", f"--cache-dir={tmp_path}", str(file)]
    ran = subprocess.run([*command, *more], cwd=root, capture_output=True, text=True)
    first = 1 + GOOD.count("\n") + 1
    wrong = [int(line.split(":")[1]) for line in ran.stdout.splitlines() if "script.py:" in line]
    assert sorted({*wrong}) == list(range(first, first + len(BAD))), ran.stdout
