"""Keys of the exported files that reading them back cannot tell, as each trainer takes them."""

from __future__ import annotations

from vram_widget import TrainingConfig
from vram_widget.export import draft


def test_axolotls_hybrid_shards_within_a_node_and_replicates_across():
    """Axolotl's docs/nd_parallelism.qmd: both sizes multiply to the number of GPUs."""
    config = TrainingConfig("m", trainer="axolotl", num_gpus=16, num_nodes=2, sharding="hsdp")
    settings = draft(config, "axolotl").settings
    assert (settings["dp_shard_size"], settings["dp_replicate_size"]) == (8, 2)


def test_llamafactory_has_a_key_for_the_bits():
    """LLaMA-Factory's hparams/model_args.py: quantization_bit."""
    qlora = TrainingConfig("m", trainer="llamafactory", training_method="qlora")
    for quantization, bits in (("nf4", 4), ("int8", 8)):
        config = qlora.replace(quantization=quantization)
        assert draft(config, "llamafactory").settings["quantization_bit"] == bits


def test_deepspeed_takes_the_optimizer_off_the_card_with_the_weights():
    """deepspeed/runtime/zero/config.py: offload_param and offload_optimizer are two settings."""
    config = TrainingConfig("m", trainer="trl", num_gpus=8, sharding="zero3", cpu_offload="all")
    zero = draft(config, "trl").settings["SFTConfig"]["deepspeed"]["zero_optimization"]
    assert zero["stage"] == 3
    assert zero["offload_param"] == zero["offload_optimizer"] == {"device": "cpu"}
