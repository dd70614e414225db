"""The catalogue: its counts against transformers' and against published ones; finding a model."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from math import prod
from pathlib import Path
from typing import Any

import pytest
from on_meta import parameters
from patience import not_hanging

from vram_widget.errors import ModelError
from vram_widget.model import catalog
from vram_widget.model.load import load

REFERENCE = Path(__file__).parent / "reference" / "architectures.csv"
SMALL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
}

#: One name for each entry that is no alias of another.
DISTINCT = {json.dumps(catalog.lookup(name)): name for name in reversed(catalog.names())}.values()

#: The Hub's count of every tensor in a checkpoint (`safetensors.total` of its API, or the count
#: that the publisher's own loader prints), where it differs from none of transformers' parameters.
COUNTED_ELSEWHERE = {
    "allenai/OLMo-2-1124-13B": 13_716_198_400,
    "allenai/OLMo-2-1124-7B": 7_298_617_344,
    "BSC-LT/salamandra-7b-instruct": 7_768_117_248,
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": 70_553_706_496,
    "google/gemma-2-2b-it": 2_614_341_888,
    "google/gemma-3-1b-it": 999_885_952,
    "google/gemma-3-4b-it": 4_300_079_472,
    "google/gemma-3-27b-it": 27_432_406_640,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "HuggingFaceTB/SmolLM3-3B": 3_075_098_624,
    "ibm-granite/granite-3.3-2b-instruct": 2_533_539_840,
    "ibm-granite/granite-3.3-8b-instruct": 8_170_864_640,
    "ibm-granite/granite-4.0-micro": 3_402_836_480,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": 108_641_793_536,
    "microsoft/phi-2": 2_779_683_840,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft/phi-4": 14_659_507_200,
    "microsoft/Phi-4-mini-instruct": 3_836_021_760,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "mistralai/Mistral-Large-Instruct-2411": 122_610_069_504,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 46_702_792_704,
    "openai/gpt-oss-120b": 116_829_156_672,
    "openai/gpt-oss-20b": 20_914_757_184,
    "Qwen/Qwen1.5-MoE-A2.7B": 14_315_784_192,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-72B-Instruct": 72_706_203_648,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen3-4B-Instruct-2507": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "tiiuae/Falcon3-1B-Instruct": 1_669_408_768,
    "tiiuae/Falcon3-3B-Instruct": 3_227_655_168,
}


@pytest.fixture(autouse=True)
def without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the catalogue alone to answer: no Hub, and nothing downloaded before."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def reference() -> dict[str, dict[str, str]]:
    with REFERENCE.open(newline="", encoding="utf-8") as file:
        return {row["model_id"]: row for row in csv.DictReader(file)}


def language_parameters(name: str) -> int:
    """Count the parameters of the language model alone."""
    architecture = load(name)
    return architecture.num_parameters - sum(prod(s) for s in architecture.towers.values())


@pytest.mark.parametrize("name", DISTINCT)
def test_an_entry_has_the_parameters_that_transformers_builds(name: str) -> None:
    config = catalog.lookup(name)
    assert config is not None
    expected = parameters(config)
    assert dict(load(name).weights()) == expected
    assert load(name).num_parameters == sum(prod(shape) for shape in expected.values())


@pytest.mark.parametrize("name", COUNTED_ELSEWHERE)
def test_an_entry_has_the_parameters_that_were_counted_elsewhere(name: str) -> None:
    assert load(name).num_parameters == COUNTED_ELSEWHERE[name]


def test_gemma_4_lacks_only_what_its_checkpoints_hold_unused() -> None:
    # Of layers that share their keys, the checkpoints hold keys, values and key norms that
    # transformers drops; and every layer has one scalar that is a buffer.
    for name, on_the_hub, head, full in (
        ("google/gemma-4-E2B-it", 5_123_178_051, 256, 5),
        ("google/gemma-4-E4B-it", 7_996_156_490, 512, 6),
    ):
        config = load(name).config
        layers, shared = config["num_hidden_layers"], config["num_kv_shared_layers"]
        unused = 0
        for i in range(layers - shared, layers):
            twice = 2 if (i + 1) % full == 0 else 1  # full attention has heads twice as wide
            unused += 2 * config["hidden_size"] * head * twice + 256 * twice
        assert load(name).num_parameters == on_the_hub - unused - layers


def test_entries_agree_with_the_reference_table() -> None:
    compared, differing = 0, set()
    for name, row in reference().items():
        config = catalog.lookup(name)
        if config is None:
            continue
        text = config.get("text_config", config)
        for ours, theirs in (
            ("hidden_size", "hidden_size"),
            ("num_hidden_layers", "num_layers"),
            ("num_attention_heads", "heads"),
        ):
            assert str(text[ours]) == row[theirs], (name, ours)
        tied = load(name).tie_word_embeddings
        assert row["tie_embeddings"] in (str(tied).lower(), "unknown"), name
        computed = row["params_computed_tied" if tied else "params_computed_untied"]
        if computed:
            compared += 1
            if int(computed) != language_parameters(name):
                differing.add(name)
    assert compared >= 60
    # The table pads Gemma 3's vocabulary to 262,144 and gives Mixtral 8x22B its instruct one's.
    assert differing == {
        "google/gemma-3-4b-it",
        "google/gemma-3-12b-it",
        "google/gemma-3-27b-it",
        "mistralai/Mixtral-8x22B-v0.1",
    }


def test_at_least_ninety_of_the_reference_models_are_known() -> None:
    known = {name.lower() for name in catalog.names()}
    assert sum(name.lower() in known for name in reference()) >= 90


def test_every_entry_names_its_source_and_no_path_of_a_machine() -> None:
    for name in catalog.names():
        source = catalog.source(name)
        assert source
        assert "/work/" not in source
        assert "/root/" not in source


def test_an_alias_has_what_its_model_has() -> None:
    assert catalog.lookup("meta-llama/Llama-3.1-8B-Instruct") == catalog.lookup(
        "meta-llama/Meta-Llama-3.1-8B"
    )
    assert catalog.lookup("QWEN/qwen3-8b") == catalog.lookup("Qwen/Qwen3-8B")
    assert catalog.lookup("nobody/nothing") is None


def test_changing_what_lookup_returns_changes_nothing() -> None:
    config = catalog.lookup("Qwen/Qwen3-8B")
    assert config is not None
    config["hidden_size"] = 1
    assert load("Qwen/Qwen3-8B").hidden_size == 4096


@pytest.mark.parametrize(
    ("name", "kin"),
    [
        ("unsloth/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("unsloth/Meta-Llama-3.1-8B-bnb-4bit", "meta-llama/Llama-3.1-8B"),
        ("unsloth/Qwen3-4B-unsloth-bnb-4bit", "Qwen/Qwen3-4B"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B-Instruct"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "Qwen/Qwen2.5-72B-Instruct"),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "meta-llama/Llama-3.3-70B-Instruct"),
        ("RedHatAI/Qwen3-8B-quantized.w4a16", "Qwen/Qwen3-8B"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("my-team/tickets-granite-3.3-2b-instruct", "ibm-granite/granite-3.3-2b-instruct"),
        ("my-team/gemma-2-2b", "google/gemma-2-2b"),
    ],
)
def test_a_copy_or_fine_tune_is_known_by_its_name(name: str, kin: str) -> None:
    found = load(name)
    assert found.num_parameters == load(kin).num_parameters
    assert catalog.kin(name) == kin
    assert any(kin in notice for notice in found.notices)


@pytest.mark.parametrize(
    "name",
    [
        "my-team/support-bot",
        "someone/8b-instruct",
        "someone/Llama-3.1-8B-Instruct-with-a-longer-vocabulary",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        "instruct",
        "-",
    ],
)
def test_a_name_that_says_too_little_is_not_guessed(name: str) -> None:
    assert catalog.kin(name) is None
    with pytest.raises(ModelError, match=r"give a (local )?folder"):
        load(name)


def test_a_name_nearly_right_gets_the_right_one_as_a_hint() -> None:
    with pytest.raises(ModelError, match=r"Qwen/Qwen3-8B"):
        load("Qwen/Qwen3-8C")


def write(folder: Path, config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def test_a_folder_or_its_config_is_read_and_read_again_when_it_changes(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", SMALL)
    assert load(str(folder)).num_parameters == 95_040
    assert load(str(folder / "config.json")) is load(str(folder / "config.json"))
    write(folder, {**SMALL, "vocab_size": 200})
    os.utime(folder / "config.json", ns=(1, 1))
    assert load(str(folder)).vocab_size == 200


def test_a_folder_of_the_home_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "model", SMALL)
    assert load("~/model").num_parameters == 95_040


def broken(tmp_path: Path, name: str) -> Path:
    """Make a folder that cannot be loaded, and return it."""
    folder = tmp_path / name
    folder.mkdir()
    file = folder / "config.json"
    if name == "empty":
        return folder
    if name == "adapter":
        adapter = {"base_model_name_or_path": "Qwen/Qwen3-8B"}
        (folder / "adapter_config.json").write_text(json.dumps(adapter))
    elif name == "malformed":
        file.write_text('{"hidden_size": 64,')
    elif name == "a list":
        file.write_text("[1, 2]")
    elif name == "a hundred megabytes":
        with file.open("wb") as opened:
            opened.truncate(100 << 20)
    elif name == "deep nesting":
        file.write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    elif name == "a long number":
        file.write_text('{"hidden_size": ' + "9" * 100_000 + "}")
    elif name == "not text":
        file.write_bytes(b"\xff\xfe\x00\x01")
    elif name == "a folder":
        file.mkdir()
    elif name == "a pipe":
        os.mkfifo(file)
    return folder


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty", "holds no config.json"),
        ("adapter", "Qwen/Qwen3-8B"),
        ("malformed", "line 1"),
        ("a list", "object of fields"),
        ("a hundred megabytes", "too large"),
        ("deep nesting", "too deeply"),
        ("a long number", "too long a number"),
        ("not text", "UTF-8"),
        ("a folder", "not a file"),
        ("a pipe", "not a file"),
    ],
)
def test_a_broken_folder_gets_one_sentence(tmp_path: Path, name: str, says: str) -> None:
    folder = broken(tmp_path, name)
    with not_hanging(), pytest.raises(ModelError, match=says) as caught:
        load(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hidden", ["the file", "the folder"])
def test_what_may_not_be_read_says_so(hidden: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = write(Path(place) / "outer" / "model", SMALL)
        Path(place).chmod(0o755)
        (folder / "config.json" if hidden == "the file" else folder.parent).chmod(0)
        root = os.geteuid() == 0
        try:
            if root:  # who may read everything
                os.seteuid(65534)
            with pytest.raises(ModelError, match="who may read it"):
                load(str(folder))
        finally:
            if root:
                os.seteuid(0)
            folder.parent.chmod(0o700)
        (folder / "config.json").chmod(0o600)
        assert load(str(folder)).num_parameters == 95_040


@pytest.mark.parametrize(
    "name", ["", "   ", "/no/such/folder", "a" * 5000, "a\0b", "~nobody-here/x"]
)
def test_what_names_nothing_gets_one_sentence(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(name)
    assert len(str(caught.value)) < 400


def test_the_catalogue_is_read_once_and_only_when_asked_for() -> None:
    program = """
import vram_widget.model.catalog as catalog
assert not catalog._models.cache_info().currsize
catalog.lookup("Qwen/Qwen3-8B")
catalog.lookup("meta-llama/Llama-3.1-8B")
print(catalog._models.cache_info().misses)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "1\n", run.stderr


def test_the_catalogue_is_sorted_and_holds_facts_only() -> None:
    names = catalog.names()
    assert names == sorted(names, key=str.lower)
    allowed = (int, str, bool, float, list, dict, type(None))
    for name in names:
        config: dict[str, Any] | None = catalog.lookup(name)
        assert config is not None
        assert all(isinstance(value, allowed) for value in config.values())
