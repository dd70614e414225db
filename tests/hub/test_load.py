"""A model's id all the way to an estimate, against a Hub on loopback."""

import time

import pytest
from models import llama_tensors, sharded, single

import vram_widget as vw
from vram_widget.errors import ConfigError, ModelError
from vram_widget.model import load as model

pytestmark = pytest.mark.usefixtures("forget", "fresh")


@pytest.fixture
def fresh(monkeypatch):
    """Forget what this process has loaded."""
    monkeypatch.setattr(model, "_found", {})
    monkeypatch.setattr(model, "_stand_ins", {})


def test_an_id_is_looked_up_once_and_estimated(hub):
    tensors = llama_tensors()
    hub.add("org/one", single(tensors))
    est = vw.estimate("org/one", gpu="T4")
    assert est.num_parameters == sum(tensor.size for tensor in tensors.values())
    before = len(hub.paths())
    assert vw.estimate("org/one", gpu="T4", micro_batch_size=2).allocated > est.allocated
    assert len(hub.paths()) == before


def test_a_catalogue_model_asks_nobody(hub):
    assert model.known("meta-llama/Llama-3.1-8B")
    model.load("meta-llama/Llama-3.1-8B")
    assert hub.paths() == []


def test_progress_is_reported_by_file(hub):
    hub.add("org/many", sharded(llama_tensors(layers=12), 6))
    steps = []
    model.load("org/many", progress=lambda done, total, file: steps.append((done, file)))
    assert steps[0] == (1, "config.json")
    assert not model.known("org/other")
    assert not model.known("gpt-of-old")  # the Hub has models without an owner
    assert model.known("org/many")


def test_a_copy_by_name_stands_in_where_the_hub_cannot_be_reached(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    est = vw.estimate("unsloth/Llama-3.1-8B-Instruct-bnb-4bit", gpu="H100")
    assert est.num_parameters == 8_030_261_248
    assert any("meta-llama/Llama-3.1-8B" in notice for notice in est.notices)


def test_a_stand_in_is_known_until_the_hub_is_to_be_asked_again(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = "unsloth/Llama-3.1-8B-Instruct-bnb-4bit"
    assert not model.known(name)
    model.load(name)
    assert model.known(name)
    later = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not model.known(name)


def test_an_unknown_model_without_network_names_the_nearest(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="catalogue"):
        vw.estimate("someone/entirely-else", gpu="H100")


def test_the_weights_of_a_quantised_checkpoint_cannot_be_trained():
    whole = model.load("meta-llama/Llama-3.1-8B")
    from dataclasses import replace

    from vram_widget.gpu import lookup
    from vram_widget.step.run import Run

    stored, gpu = replace(whole, quantization="gptq"), lookup("H100")
    with pytest.raises(ConfigError, match="gptq"):
        Run.of(vw.TrainingConfig("x", training_method="sft"), stored, gpu).method()
    lora = vw.TrainingConfig("x", training_method="lora")
    quantised, plain = (Run.of(lora, each, gpu) for each in (stored, whole))
    assert quantised.num_trainable == plain.num_trainable
