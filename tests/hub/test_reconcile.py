"""Stored shapes against config.json's: real transformers models, saved and read back."""

import json

import numpy
import pytest
from models import CONFIG, llama_tensors, said, shapes, sharded
from safetensors.numpy import save_file

from vram_widget.families import from_config
from vram_widget.model import folder
from vram_widget.model.checkpoint import Checkpoint
from vram_widget.model.reconcile import reconcile

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 96,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}

#: Families whose stored names differ from their modules', and plain ones.
FAMILIES = {
    "llama": {},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {},
    "gemma3_text": {},
    "granite": {},
    "phi3": {},
    "olmo2": {},
    "gpt_neox": {},
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": MIXTURE,
    "qwen2_moe": {**MIXTURE, "shared_expert_intermediate_size": 40},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_saved_by_transformers_differs_in_nothing(family, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(family, **{**SMALL, **FAMILIES[family]})
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    checkpoint = folder.read(tmp_path)
    implied = from_config(checkpoint.config)
    assert len(checkpoint.tensors) > 10
    assert said(reconcile(implied, checkpoint)) == said(implied)


def read(tensors, folder_, **changes):
    (folder_ / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    save_file(tensors, folder_ / "model.safetensors")
    checkpoint = folder.read(folder_)
    return reconcile(from_config(checkpoint.config), checkpoint)


def test_a_padded_vocabulary_is_what_is_stored(tmp_path):
    model = read(llama_tensors(vocab=80), tmp_path)
    assert model.vocab_size == 80
    assert model.outside["lm_head.weight"] == (80, 16)
    (notice,) = model.notices
    assert "80 rows for the 64" in notice


def test_other_shapes_win_and_split_the_layers(tmp_path):
    tensors = llama_tensors()
    for i in (2, 3):
        for name, shape in (("gate", (48, 16)), ("up", (48, 16)), ("down", (16, 48))):
            tensors[f"model.layers.{i}.mlp.{name}_proj.weight"] = numpy.zeros(shape, "float16")
    model = read(tensors, tmp_path)
    assert [group.count for group in model.layers] == [2, 2]
    assert model.layers[1].weights["mlp.down_proj.weight"] == (16, 48)
    stored = sum(array.size for array in tensors.values())
    assert model.num_parameters == stored
    assert sum("config.json implies" in notice for notice in model.notices) == 3


def test_heads_for_further_tokens_are_noted_and_left_out(tmp_path):
    tensors = llama_tensors(layers=5) | {"mtp.fc.weight": numpy.zeros((16, 32), "float16")}
    model = read(tensors, tmp_path)
    assert model.num_hidden_layers == 4
    assert model.num_parameters == sum(array.size for array in llama_tensors().values())
    (notice,) = model.notices
    assert "further tokens" in notice


def test_a_tied_head_stored_twice_counts_once(tmp_path):
    model = read(llama_tensors(), tmp_path, tie_word_embeddings=True)
    assert "lm_head.weight" not in model.outside
    assert model.notices == ()


def test_what_is_not_in_the_files_is_noted(tmp_path):
    tensors = llama_tensors()
    del tensors["model.layers.1.mlp.up_proj.weight"]
    model = read(tensors, tmp_path)
    assert model.num_parameters == sum(array.size for array in llama_tensors().values())
    assert "not in the files" in model.notices[0]


def test_a_base_model_without_its_prefix(tmp_path):
    bare = {name.removeprefix("model."): array for name, array in llama_tensors().items()}
    assert read(bare, tmp_path).notices == ()


def test_a_language_model_within_a_multimodal_one():
    """Prefixed names and a tower that has layers of its own, as older LLaVA files have."""
    config = {
        "model_type": "llava",
        "text_config": CONFIG,
        "vision_config": {"hidden_size": 24, "model_type": "clip_vision_model"},
    }
    tensors = {f"language_model.{name}": t for name, t in shapes(llama_tensors()).items()}
    tower = {
        f"vision_tower.encoder.layers.{i}.self_attn.q_proj.weight": ((24, 24), "F16")
        for i in range(9)
    }
    implied = from_config(config)
    model = reconcile(implied, Checkpoint(config, {**tensors, **tower}))
    assert model.layers == implied.layers
    text = sum(array.size for array in llama_tensors().values())
    assert model.num_parameters == text + 9 * 24 * 24
    assert not any(
        "not counted" in notice or "not in the files" in notice for notice in model.notices
    )


@pytest.mark.parametrize("count", [1, 3, 7])
def test_however_it_is_split_into_files(count, tmp_path):
    for name, content in sharded(llama_tensors(), count).items():
        (tmp_path / name).write_bytes(content)
    checkpoint = folder.read(tmp_path)
    assert checkpoint.tensors == shapes(llama_tensors())


def test_an_unknown_quantisation_leaves_config_json_its_word(tmp_path):
    packed = {name: array.astype("uint8") for name, array in llama_tensors().items()}
    model = read(packed, tmp_path, quantization_config={"quant_method": "aqlm"})
    assert model.num_parameters == sum(array.size for array in llama_tensors().values())
    assert "aqlm" in model.notices[0]
