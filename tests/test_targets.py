"""Which modules get an adapter: as PEFT itself chooses them, and expressions it could hang on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from on_meta import model
from patience import not_hanging

import vram_widget as vw

CONFIGS = Path(__file__).parent / "reference" / "configs"


#: Alike in their loops to expressions that are refused, and soon searched for all that.
PEOPLE_WRITE = [
    r".*\.(q|k|v|o)_proj",
    r"^(?!.*(visual|vision)).*\.(q_proj|v_proj)$",
    r"model\.layers\.(?:1\d|2[0-9])\.self_attn\.[qv]_proj",
    # as Unsloth writes them
    r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|up_proj).*?)|"
    r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|up_proj)))",
    r"[(+]*\(x\)+|.*q_proj",
]


def adapted_by_peft(config: dict[str, object], target_modules: str | list[str]) -> int:
    """Return the parameters of the adapters that PEFT puts into the model."""
    peft = pytest.importorskip("peft")
    targets = peft.LoraConfig(r=4, target_modules=target_modules)
    adapted = peft.get_peft_model(model(config), targets, low_cpu_mem_usage=True)
    return sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)


@pytest.mark.parametrize(
    ("name", "target_modules"),
    [
        ("qwen2.5-0.5b-all-layers", ["q_proj", "v_proj"]),
        ("qwen2.5-0.5b-all-layers", r".*\.(q|v)_proj"),
        ("qwen2.5-0.5b-all-layers", r"model\.layers\.(1[5-9]|2\d)\.self_attn\.[qv]_proj"),
        ("qwen2.5-0.5b-all-layers", r".*\.\d\.mlp\.\w+_proj|.*\.o_proj"),
        ("qwen2.5-0.5b-all-layers", ["layers.0.self_attn.q_proj", "model.layers.7.mlp.up_proj"]),
        ("qwen2.5-0.5b-all-layers", ["3.mlp.down_proj", "k_proj"]),
        ("gpt2", r"transformer\.h\.\d+\.attn\.c_attn"),
        ("gpt2", ["h.1.attn.c_attn", "c_fc"]),
        ("mixtral-8x7b", r".*\.1\.self_attn\.[qv]_proj"),  # in every layer, as PEFT has it
        ("qwen3-30b-a3b", r".*\.(1|2)\..*_proj"),
        ("qwen3-30b-a3b", r".*\.self_attn\.\w_proj|.*\.mlp\.gate"),
        ("olmoe-1b-7b", r".*\.(gate|up|down)_proj"),
        ("pythia-1b", r"gpt_neox\.layers\.1\.attention\.query_key_value"),
        *[("qwen2.5-0.5b-all-layers", expression) for expression in PEOPLE_WRITE],
    ],
)
def test_peft_trains_the_same_adapters(name, target_modules, tmp_path):
    config = json.loads((CONFIGS / f"{name}.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with not_hanging():
        estimate = vw.estimate(
            tmp_path, training_method="lora", lora_r=4, target_modules=target_modules, gpu="H100"
        )
    assert estimate.num_trainable == adapted_by_peft(config, target_modules)


def test_the_adapters_of_a_few_layers_take_their_share():
    config = vw.TrainingConfig("Qwen/Qwen3-8B", training_method="lora", gpu="H100", lora_r=64)
    whole = vw.estimate(config, target_modules=["q_proj"])
    quarter = vw.estimate(config, target_modules=r"model\.layers\.[0-8]\.self_attn\.q_proj")
    assert quarter.num_trainable * 4 == whole.num_trainable  # 9 of 36 layers
    assert quarter.components["optimizer"] * 4 == pytest.approx(
        whole.components["optimizer"], rel=1e-3
    )
    published = [
        vw.estimate(each.config, memory_model="rule_of_thumb").components["gradients"]
        for each in (whole, quarter)
    ]
    assert published[0] == 4 * published[1]


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens"])
def test_an_adapter_beside_the_layers_counts(name):
    choices = {"training_method": "lora", "lora_r": 8, "gpu": "H100", "target_modules": ["q_proj"]}
    config = vw.TrainingConfig("Qwen/Qwen3-8B", **choices)
    plain = vw.estimate(config)
    both = vw.estimate(config, target_modules=["q_proj", name])
    assert not both.notices
    assert both.num_trainable - plain.num_trainable == 8 * (151_936 + 4096)


@pytest.mark.parametrize(
    ("trainer", "targets", "trained"),
    [
        ("trl", ["q_proj", "embed_tokens"], 8 * (256_000 + 2304)),
        ("unsloth", ["q_proj", "embed_tokens"], 256_000 * 2304),
        ("unsloth", ["q_proj", "embed_tokens", "lm_head"], 256_000 * 2304),  # Gemma 2 ties them
    ],
)
def test_unsloth_trains_a_targeted_embedding_in_full(trainer, targets, trained):
    choices = {"training_method": "qlora", "trainer": trainer, "lora_r": 8, "gpu": "H100"}
    config = vw.TrainingConfig("google/gemma-2-2b", **choices)
    plain = vw.estimate(config, target_modules=["q_proj"])
    both = vw.estimate(config, target_modules=targets)
    assert both.num_trainable - plain.num_trainable == trained


def test_parameters_that_nothing_names_are_refused():
    with pytest.raises(vw.ConfigError, match="in no parameter's name"):
        vw.estimate("Qwen/Qwen3-8B", trainable_parameters=["no_such"], gpu="H100")


@pytest.mark.parametrize(
    "expression",
    ["(a+)+b", r"(\w+\.?)*x", "(.|.)*x", "((a|b)c)*d", "(a*){20}b", ".*a.*a.*a.*a.*a.*a.*b"],
)
def test_an_expression_that_could_search_for_hours_is_refused(expression):
    with pytest.raises(vw.ConfigError, match="searched for hours"):
        vw.TrainingConfig(target_modules=expression)
