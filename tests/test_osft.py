"""OSFT's factors: as many numbers as PyTorch's decomposition makes, and as were traced."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from reference_steps import REFERENCE

import vram_widget as vw
from vram_widget.estimate.published import osft_parameters
from vram_widget.model.load import load
from vram_widget.step.methods.osft import factors
from vram_widget.step.tape import FLOAT32


def counted(name: str) -> int:
    """Return the parameters that PyTorch counted in a traced run."""
    with (REFERENCE / "grid.csv").open(newline="") as file:
        return next(int(row["num_parameters"]) for row in csv.DictReader(file) if row["id"] == name)


@pytest.mark.parametrize("model", ["llama-3.2-1b", "mistral-7b"])
def test_the_decomposed_weights_have_the_numbers_that_were_traced(model, tmp_path):
    config = json.loads((REFERENCE / "configs" / f"{model}.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    hidden, inner, head = (config[n] for n in ("hidden_size", "intermediate_size", "head_dim"))
    queries, keys = (head * config[f"num_{n}_heads"] for n in ("attention", "key_value"))
    # mini-trainer decomposes the seven linears of each layer
    targeted = config["num_hidden_layers"] * hidden * (2 * queries + 2 * keys + 3 * inner)
    kept = counted(f"{model} bf16") - targeted
    assert osft_parameters(load(str(tmp_path))) == counted(f"{model} osft 0.25") - kept


@pytest.mark.parametrize("ratio", [0.02, 0.25, 0.5, 1.0])
@pytest.mark.parametrize(("outputs", "inputs"), [(14_336, 4096), (1024, 4096), (2048, 2048)])
def test_the_factors_are_those_of_pytorchs_decomposition(outputs, inputs, ratio):
    torch = pytest.importorskip("torch")
    weight = torch.empty(outputs, inputs, device="meta")
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    made = factors("linear", outputs, inputs, 1 - ratio, FLOAT32)
    assert sum(part.size for part in made) == sum(part.numel() for part in (u, s, v))
    low = [part for part in made if part.trainable]
    assert len({min(part.rows, part.width) for part in low if part.rows > 1}) == 1
    directions = next(part.width for part in low if part.rows == 1)
    assert directions == pytest.approx(ratio * s.numel(), abs=1)


def test_where_all_would_train_half_does(tmp_path):
    """mini-trainer takes a ratio that leaves nothing frozen for one that was not given."""
    shutil.copy(REFERENCE / "configs" / "llama-3.2-1b.json", tmp_path / "config.json")
    run = vw.TrainingConfig(str(tmp_path), training_method="osft", gpu="H100")
    whole, half = (vw.estimate(run, unfreeze_rank_ratio=ratio) for ratio in (1.0, 0.5))
    assert whole.num_trainable == half.num_trainable


@pytest.mark.parametrize(
    "model", ["meta-llama/Llama-3.1-8B", "ibm-granite/granite-3.3-2b-instruct"]
)
def test_the_largest_target_is_there_five_times_while_it_is_decomposed(model):
    """As in mini-trainer's create_svd_dict (0.9): the weight, U and V, and the halves of both.

    V's halves take no bytes of their own where it lies row by row, as cuSOLVER gives it.
    """
    est = vw.estimate(model, training_method="osft", gpu="H100")
    line = est.timeline
    tensors = [a - b for a, b in zip(line.total, line.bytes["overhead"], strict=True)]
    before = line.step.index(1)
    decomposing = max(tensors[:before]) - tensors[before]
    hidden, inner = (est.architecture.config[n] for n in ("hidden_size", "intermediate_size"))
    weight = u = 4 * inner * hidden
    v = 4 * hidden * hidden
    assert weight + 2 * u + v <= decomposing <= weight + 2 * u + 2 * v
