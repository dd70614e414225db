"""What a person waits for at each question, and what a hostile file may cost at most."""

from __future__ import annotations

import json
from itertools import count

import pytest
from against import hold, loop, ratio
from test_hostile import LIES, large_index

import vram_widget as vw
from vram_widget.errors import ModelError
from vram_widget.families import from_config
from vram_widget.model.safetensors import PREFIX, BadHeader, parse_header
from vram_widget.model.shards import parse_index, read_tensors

LOOP = "a loop of a million additions"
LLAMA = "meta-llama/Llama-3.1-8B"
FULL = vw.TrainingConfig(LLAMA, training_method="sft", gpu="L40S")

#: Tokens more, each time, than was asked for before: what was replayed once is remembered.
more = count(1)


def anew(config: vw.TrainingConfig) -> vw.TrainingConfig:
    """Return the run with a length that nothing has been asked of yet."""
    return config.replace(max_seq_len=config.max_seq_len + next(more))


def lengths() -> range:
    """Return 64 lengths that nothing has been asked of yet."""
    extra = next(more)
    return range(256 + extra, 65 * 256 + extra, 256)


def test_a_sweep() -> None:
    def one_by_one() -> None:
        for length in lengths():
            vw.estimate(FULL, max_seq_len=length)

    def swept() -> None:
        vw.sweep(FULL, "max_seq_len", lengths())

    hold("a sweep over 64 lengths", ratio(swept, one_by_one), "64 estimates", 1.6)
    hold("a sweep over 64 lengths", ratio(swept, loop), LOOP, 6)


@pytest.mark.parametrize("method", ["sft", "lora", "qlora", "osft"])
def test_what_would_help(method: str) -> None:
    config = FULL.replace(training_method=method)
    hold(f"what would help {method}", ratio(lambda: vw.suggest(anew(config)), loop), LOOP, 3)


def test_the_whole_catalogue() -> None:
    def recommended() -> None:
        vw.recommend(gpu="L40S", num_gpus=2, max_seq_len=2048 + next(more))

    found = ratio(recommended, loop, rounds=3)
    hold("the whole catalogue, by every method", found, LOOP, 110)


def test_a_model_once_loaded() -> None:
    def again() -> None:
        config = anew(FULL)
        for _ in range(100):
            vw.estimate(config)

    hold("100 times the same estimate", ratio(again, loop), LOOP, 1)


def test_layers_that_repeat_cost_nothing() -> None:
    large = FULL.replace(model_path="meta-llama/Llama-3.1-70B")
    found = ratio(lambda: vw.estimate(anew(large)), lambda: vw.estimate(anew(FULL)), rounds=21)
    hold("an estimate of 70B", found, "one of 8B", 1.5)


def test_the_whole_of_a_big_model() -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 16384,
        "intermediate_size": 53248,
        "num_hidden_layers": 126,
        "num_attention_heads": 128,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    }
    hold("the layers of 405B", ratio(lambda: from_config(dict(config)), loop), LOOP, 0.1)


@pytest.mark.parametrize(
    "expression",
    [
        r".*\.(q|k|v|o)_proj",
        r"^(?!.*(visual|vision)).*\.(q_proj|v_proj)$",
        r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|up_proj).*?)|"
        r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|up_proj)))",
        r"[(+]*\(x\)+|.*q_proj",
    ],
)
def test_adapters_by_an_expression(expression: str) -> None:
    by_name = vw.TrainingConfig("Qwen/Qwen3-8B", training_method="lora", gpu="H100")
    config = by_name.replace(target_modules=expression)
    found = ratio(lambda: vw.estimate(anew(config)), lambda: vw.estimate(anew(by_name)))
    hold(f"adapters by {expression[:30]}", found, "by name", 3)


def test_an_index_of_many_tensors() -> None:
    content = large_index()
    found = ratio(
        lambda: read_tensors(parse_index(content, "index"), lambda files: {}),
        lambda: json.loads(content),
        rounds=3,
    )
    hold("an index of 300,000 tensors", found, "its JSON", 8)


def test_headers_that_lie() -> None:
    def all_of_them() -> None:
        for header in LIES.values():
            with pytest.raises(BadHeader):
                parse_header(header.encode(), "model", PREFIX + len(header) + 4)

    hold("all headers that lie", ratio(all_of_them, loop), LOOP, 0.5)


def test_a_config_that_cannot_be() -> None:
    def refused() -> None:
        with pytest.raises(ModelError):
            from_config({"model_type": "llama", "hidden_size": 10**40})

    hold("a config that cannot be", ratio(refused, loop), LOOP, 0.1)
