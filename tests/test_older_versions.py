"""Notices of what an older transformers, or a trainer that leaves experts as they are, holds."""

from __future__ import annotations

from importlib import metadata

import pytest

import vram_widget as vw
from vram_widget.estimate import versions


@pytest.fixture
def install(monkeypatch):
    """Return a function that makes a version of transformers the installed one."""

    def set_version(version: str | None) -> None:
        def found(package: str) -> str:
            if version is None:
                raise metadata.PackageNotFoundError(package)
            return version

        monkeypatch.setattr(metadata, "version", found)
        versions.installed.cache_clear()

    yield set_version
    versions.installed.cache_clear()


def notices(**choices):
    est = vw.estimate("meta-llama/Llama-3.1-8B", trainer="axolotl", gpu="H100", **choices)
    return [each for each in est.notices if each.startswith("transformers ")]


EAGER = {"training_method": "lora", "micro_batch_size": 1, "max_seq_len": 2048}


@pytest.mark.parametrize(
    ("version", "count"), [("4.45.2", 1), ("4.46.0", 0), ("5.23.0", 0), (None, 0), ("unknown", 0)]
)
def test_two_copies_of_the_logits_until_4_46(install, version, count):
    install(version)
    found = notices(**EAGER)
    assert len(found) == count
    # 8 bytes a logit where 6 are counted: 2 x 2048 x 128,256
    assert all("501.0 MiB" in each or "0.49 GiB" in each for each in found)


def test_a_loss_that_makes_no_logits_has_no_copies(install):
    install("4.45.2")
    assert not notices(**EAGER, loss_kernel="liger")


def test_what_is_not_installed_is_looked_up_once(install, monkeypatch):
    install(None)
    assert not notices(**EAGER)
    monkeypatch.setattr(metadata, "version", lambda package: "4.45.2")
    assert not notices(**EAGER)


def experts(trainer, **choices):
    est = vw.estimate(
        "Qwen/Qwen3-30B-A3B", trainer=trainer, training_method="qlora", gpu="H100", **choices
    )
    return [each for each in est.notices if "experts" in each], est.components["parameters"]


def test_who_leaves_experts_as_they_are_is_named():
    (left,), most = experts("trl", target_modules=["q_proj", "v_proj"], param_dtype="bfloat16")
    assert left.startswith("The experts stay in bfloat16: 54.00 GiB")
    assert "TRL does not quantise fused experts" in left
    none, least = experts("unsloth", target_modules=["q_proj", "v_proj"])
    assert not none
    # of 30.5 B parameters 29.9 B take 0.516 bytes each, the embedding and the lm_head 2
    assert least == pytest.approx(29.9e9 * 0.516 + 0.622e9 * 2, rel=0.01)
    # the experts in bfloat16, attention in 4 bits
    assert most == pytest.approx(54 * 1024**3 + 0.9e9 * 0.516 + 0.622e9 * 2, rel=0.01)


def test_who_cannot_quantise_experts_is_named_where_it_is_asked_to():
    (low,), _ = experts("trl", quantize_moe_experts=True)
    assert low.startswith("The figure is too low by TRL. TRL does not quantise fused experts")


def test_axolotl_casts_experts_unless_it_quantises_them():
    (cast,), _ = experts("axolotl")
    assert "float32, to which the k-bit preparation casts them" in cast
    found, _ = experts("axolotl", quantize_moe_experts=True)
    assert not found
    (kept,), _ = experts("axolotl", quantize_moe_experts=True, use_reentrant=False)
    assert "from the first backward on" in kept
