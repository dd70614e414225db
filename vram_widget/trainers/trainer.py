"""What is known of one trainer: the settings it starts from, and what it does with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .peft import QUERY_AND_VALUE, TARGET_MODULES, Targets

Settings = Mapping[str, Any]

#: What shards the parameters too; the others do so with gradients or optimizer states at most.
SHARDS_PARAMETERS = frozenset({"zero3", "fsdp", "hsdp"})

#: What DeepSpeed runs, what FSDP does, and all that is known here.
ZERO = frozenset({"zero1", "zero2", "zero3"})
FSDP = frozenset({"fsdp", "hsdp"})
STRATEGIES = frozenset({"ddp", "device_map"}) | ZERO | FSDP

#: The modules that a loader casts by themselves: norms, the token embedding, the lm_head, the
#: routers of experts, and what of a quantised model is none of these and not quantised.
MODULES = frozenset({"norm", "embedding", "lm_head", "router", "other"})


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """One trainer, as its released package runs.

    Attributes
    ----------
    name, label : str
        What the configuration calls it, and what people do.
    order : int
        Its place among the options of a form.
    defaults : mapping
        Training method -> the fields it really runs that method with, where they differ from the
        fields' own defaults. A method that is not here it cannot run.
    strategies : mapping
        Training method -> the strategies that it runs on several GPUs.
    offloads : frozenset of str
        Training methods in which optimizer or weights can wait in the host's memory.
    runs_fsdp1 : frozenset of str
        Training methods in which FSDP is ``FullyShardedDataParallel``; else it is ``fully_shard``.
    keeps_last_layer_unsharded : frozenset of str
        Training methods in which FSDP reshards the root module after forward and leaves the last
        layer unsharded instead. PyTorch does it the other way round.
    upcasts_trained : frozenset of int
        The versions of FSDP in which trained weights are turned to float32 under mixed precision,
        whatever they are loaded in, and with them gradients and optimizer states. Accelerate 1.15
        does so: with version 1 in ``Accelerator.prepare_model``, with 2 in ``fsdp2_prepare_model``
        (utils/fsdp_utils.py), which leaves a model with 4-bit weights as it is.
    shards_tables_apart : bool
        Whether FSDP shards the token embedding by itself, and the last norm with lm_head, as
        Accelerate does (``fsdp2_prepare_model``); else what lies outside the layers is one group.
    reduces_in_float32 : frozenset of str
        Training methods in which FSDP reduces gradients in float32; else it does so in the dtype of
        mixed precision (``FullyShardedDataParallelPlugin.set_mixed_precision`` in Accelerate's
        utils/dataclasses.py).
    reduces_gradients_in_last_pass : bool
        Whether FSDP reduces gradients in the last pass alone where they are accumulated, as
        transformers' Trainer does by ``accelerator.no_sync`` (``sync_each_batch`` is off).
    float32_modules : callable
        Which of `MODULES` it casts to float32 when the model is loaded, for a training method, an
        attention implementation, a loss kernel and a model_type. It does where parameters are not
        sharded.
    use_reentrant : callable
        Whether checkpoints are re-entrant, from what is chosen, whether adapters train, how
        parameters are sharded ("" on one GPU), whether some parameters are frozen, and the
        model_type: some trainers have it their way.
    shards_quantization_scales : bool
        Whether FSDP and ZeRO-3 shard the scales of 4-bit weights too. bitsandbytes keeps them in
        the module's ``quant_state``, which is no parameter.
    shardable_quantization : frozenset of str
        The quantised bases that FSDP and ZeRO-3 can shard: they take floats, not the integers most
        schemes pack weights into.
    liger_makes_logits : frozenset of str
        Training methods that ask Liger for the logits, and so for its cross-entropy in place of the
        fused linear one.
    saves_targeted_vocabulary : bool
        Whether it trains an embedding or lm_head among `target_modules` in full, as
        `modules_to_save`; both together as one where they are tied. With activations offloaded, it
        takes the frozen originals off the GPU too.
    saves_parts_of_loss : bool
        Whether its chunked loss saves what it makes of each part, and makes nothing again.
    quantizes_experts : bool
        Whether it quantises fused experts, where `quantize_moe_experts` is on.
    dequantizes_experts_again : bool
        Whether quantised experts are dequantised once more for backward. Else what forward
        dequantised is saved until then, as autograd does by itself.
    leaves_targets_to_peft : bool
        Whether LoRA without `target_modules` adapts what PEFT has for the family.
    configurable : frozenset of str
        The fields that a person can set, for a trainer that nothing is exported to.
    """

    name: str
    label: str
    order: int
    defaults: Mapping[str, Settings] = field(hash=False)
    strategies: Mapping[str, frozenset[str]] = field(hash=False)
    offloads: frozenset[str] = frozenset({"sft", "lora", "qlora"})
    runs_fsdp1: frozenset[str] = frozenset()
    keeps_last_layer_unsharded: frozenset[str] = frozenset()
    upcasts_trained: frozenset[int] = frozenset()
    shards_tables_apart: bool = False
    reduces_in_float32: frozenset[str] = frozenset()
    reduces_gradients_in_last_pass: bool = False
    float32_modules: Callable[[str, str, str, str], frozenset[str]] = lambda *_: frozenset()
    use_reentrant: Callable[[bool, bool, str, bool, str], bool] = lambda chosen, *_: chosen
    shards_quantization_scales: bool = False
    shardable_quantization: frozenset[str] = frozenset()
    liger_makes_logits: frozenset[str] = frozenset()
    saves_targeted_vocabulary: bool = False
    saves_parts_of_loss: bool = False
    quantizes_experts: bool = False
    dequantizes_experts_again: bool = False
    leaves_targets_to_peft: bool = False
    configurable: frozenset[str] = frozenset()

    def can_run(self, training_method: str, sharding: str) -> bool:
        """Return whether it runs a method on several GPUs by this strategy."""
        return sharding in self.strategies.get(training_method, ())

    def strategy(self, training_method: str, sharding: str) -> str:
        """Return `sharding`, or where it does not run the method so, the one it starts from."""
        if self.can_run(training_method, sharding):
            return sharding
        return str(self.defaults[training_method].get("sharding", "ddp"))

    def can_shard(self, quantization: str, sharding: str) -> bool:
        """Return whether it can run `sharding` over a base in this quantisation."""
        return sharding not in SHARDS_PARAMETERS or quantization in self.shardable_quantization

    def target_modules(self, target_modules: Targets, model_type: str) -> Targets:
        """Return what is adapted: the modules named, or PEFT's own where they are left to it."""
        if self.leaves_targets_to_peft and target_modules == QUERY_AND_VALUE:
            return TARGET_MODULES.get(model_type, QUERY_AND_VALUE)
        return target_modules

    def needs_target_modules(self, target_modules: Targets, model_type: str) -> bool:
        """Return whether they are left to PEFT, which has none for the family and will refuse."""
        left = self.leaves_targets_to_peft and target_modules == QUERY_AND_VALUE
        return left and model_type not in TARGET_MODULES
