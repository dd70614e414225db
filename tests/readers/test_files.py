"""A file, its content or a command line, of whichever program; and files from strangers."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

import vram_widget as vw
from vram_widget.errors import ConfigError
from vram_widget.export import ReadingWarning
from vram_widget.export.readers import source
from vram_widget.export.readers.files import recognised
from vram_widget.export.readers.reader import readers

CONTENTS = {
    "trainjob": "kind: TrainJob\nspec: {runtimeRef: {name: torchtune-llama3.2-1b}}\n",
    "torchtune": "model: {_component_: torchtune.models.llama3_1.llama3_1_8b}\n",
    "accelerate": "distributed_type: MULTI_GPU\nnum_processes: 4\n",
    "axolotl": "base_model: m\nmicro_batch_size: 2\n",
    "llamafactory": "model_name_or_path: m\nstage: sft\ndo_train: true\n",
    "unsloth": '{"from_pretrained": {"model_name": "m"}}',
    "training_hub": "model_path: m\ndata_path: d\nckpt_output_dir: o\n",
    "trl": "model_name_or_path: m\nmax_length: 128\n",
    "deepspeed": '{"zero_optimization": {"stage": 2}}',
}
#: What a reader's configuration is run by, where that is another program.
RUN_BY = {"trainjob": "torchtune", "accelerate": "trl", "deepspeed": "trl"}


def read(settings: Any, **choices: Any) -> vw.TrainingConfig:
    """Read settings, whatever they leave uncounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return vw.from_file(settings, **choices)


def test_every_reader_is_asked_for_here() -> None:
    assert {reader.name for reader in readers()} == CONTENTS.keys()


@pytest.mark.parametrize("name", CONTENTS)
def test_content_tells_whose_it_is(name: str, tmp_path: Path) -> None:
    text = CONTENTS[name]
    file = tmp_path / "settings"
    file.write_text(text)
    [content] = source.documents(text, "a trainer")
    assert recognised(content).name == name
    for given in (text, content, file, str(file)):
        assert read(given, model_path="m").trainer == RUN_BY.get(name, name)


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_not_counted_is_one_warning_at_the_line_of_the_call(name: str) -> None:
    [content] = source.documents(CONTENTS[name], "a trainer")
    reader = next(reader for reader in readers() if reader.name == name)
    for read_by in (vw.from_file, reader.read):
        with pytest.warns(ReadingWarning, match="flash_atention") as warned:
            config = read_by({**content, "flash_atention": True}, model_path="m")
        assert [warning.filename for warning in warned] == [__file__]
        lines = str(warned[0].message).splitlines()
        for line, notice in zip(reversed(lines), reversed(config.uncounted), strict=False):
            assert notice["text"] in line


@pytest.mark.parametrize(
    ("command", "trainer", "gpus"),
    [
        ("trl sft --model_name_or_path m --num_processes 2", "trl", 2),
        ("accelerate launch --num_processes 4 sft.py --model_name_or_path m", "trl", 4),
        ("axolotl train FILE --micro-batch-size 2", "axolotl", 1),
        ("accelerate launch --num_processes 4 -m axolotl.cli.train FILE", "axolotl", 4),
        ("torchrun --nnodes=2 --nproc_per_node=4 -m axolotl.cli.train FILE", "axolotl", 8),
        ("thub lora-sft --model-path m --nproc-per-node 2", "training_hub", 2),
        ("tune run --nproc_per_node 2 full_finetune_distributed --config T.yaml", "torchtune", 2),
        ("tune run lora_finetune_single_device --config llama3_2/1B_lora", "torchtune", 1),
        ("llamafactory-cli train --model_name_or_path m --do_train true", "llamafactory", 1),
    ],
)
def test_a_command_line_is_known_by_its_program(
    command: str, trainer: str, gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "T.yaml").write_text(CONTENTS["torchtune"])
    (tmp_path / "FILE").write_text(CONTENTS["axolotl"])
    config = read(command)
    assert (config.trainer, config.num_gpus) == (trainer, gpus)
    script = tmp_path / "run.sh"
    words = command.replace(" --", " \\\n  --")
    script.write_text(f"#!/bin/bash\nset -e\npython prepare.py\nCUDA_VISIBLE_DEVICES=0 {words}\n")
    assert read(script).config == read(script.read_text()).config == config.config


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("apiVersion: v1\nkind: Pod\n", "no trainer that is known"),
        ({}, "no trainer that is known"),
        ("- a\n- b\n", "0 here"),
        ("nowhere.yaml", "No such file"),
        ("trl sft --a 1\ntrl sft --b 2\n", "2 here"),
        ("thub grpo --model-path m", "thub 'grpo'"),
        ("trl dpo --model_name_or_path m", "preference"),
        ("accelerate launch --config_file f -m axolotl.cli.train x", "config_file"),
        (None, "mapping"),
        (b"a: 1", "mapping"),
    ],
)
def test_what_is_not_known_is_refused_in_a_sentence(settings: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        read(settings)
    assert "\n" not in str(refused.value)


def bomb(start: str, line: str) -> str:
    """Return YAML in which each line repeats the one before nine times."""
    pairs = zip("abcdefghijk", "bcdefghijkl", strict=True)
    lines = [line.format(each, ",".join([f"*{last}"] * 9)) for last, each in pairs]
    return "\n".join([start, *lines])


HOSTILE = {
    "aliases": bomb("a: &a [1]", "{0}: &{0} [{1}]"),
    "merges": bomb("a: &a {k: v}", "{0}: &{0} {{<<: [{1}]}}"),
    "circle": "a: &a [*a]\nb: 1",
    "sequences": "[" * 500 + "\n",
    "mappings": "a: " + "{b: " * 3_000,
    "JSON": '{"a":' * 50_000,
    "object": "a: !!python/object/apply:os.system [ls]\n",
    "integer": '{"a": ' + "9" * 5_000 + "}",
    "control": "a: \x07\n",
    "key": "? [1]\n: 2\n",
    "long": "k: v\n" * 60_000,
    "line": "x" * (1 << 20),
    "command": "trl sft " + "--a 1 " * 200_000,
    "path": "a\0b",
    "name": "x" * 5_000,
    "device": "/dev/zero",
    "folder": "/",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_one_sentence_in_a_moment(name: str) -> None:
    start = time.perf_counter()
    for reader in readers():
        with pytest.raises(ConfigError) as refused:
            reader.read(HOSTILE[name])
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 400
    with pytest.raises(ConfigError):
        read(HOSTILE[name])
    assert time.perf_counter() - start < 60


def test_hostile_files_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x00\x01\x02")
    (tmp_path / "latin").write_bytes(b"a: \xe9\n")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2 << 30)
    os.mkfifo(tmp_path / "pipe")
    for path in tmp_path.iterdir():
        with pytest.raises(ConfigError, match="cannot be read"):
            read(path)


def test_a_file_may_begin_with_a_mark_and_json_may_have_tabs(tmp_path: Path) -> None:
    file = tmp_path / "marked.yaml"
    file.write_bytes(b"\xef\xbb\xbfbase_model: m\r\nmicro_batch_size: 2\r\n")
    assert read(file).micro_batch_size == 2
    assert read('{\n\t"model_name_or_path": "m",\n\t"max_length": 5\n}').max_seq_len == 5
