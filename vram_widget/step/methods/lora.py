"""LoRA, as PEFT runs it: a frozen base, and two small matrices that train."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType

from .. import ops
from ..settings import Settings
from ..tape import DTYPES, Tensor
from .full import Full, Matches, Weights
from .parameter import Parameter, Shape, as_matrix, stacked


class LoRA(Full):
    """A frozen base with two small trainable matrices beside each targeted linear (PEFT).

    What is named in `modules_to_save` trains in full, as a copy that takes the module's place
    (``ModulesToSaveWrapper`` in peft/utils/other.py); some tokens of the embedding can too
    (``TrainableTokensLayer`` in peft/tuners/trainable_tokens/layer.py).
    """

    trains_base = False

    def __init__(
        self,
        settings: Settings,
        is_target: Matches,
        expert_targets: Mapping[str, int] = MappingProxyType({}),
        embedding_name: str = "",
        tied_lm_head: str = "",
    ) -> None:
        super().__init__(settings)
        self.embedding_name = embedding_name
        self.tied_lm_head = tied_lm_head
        self.modules_to_save = settings.modules_to_save
        self.offloads_originals = settings.offloads_originals
        self.trainable_tokens = settings.trainable_token_indices
        self.expert_targets = expert_targets
        self.rank = settings.lora_r
        self.adapter_dtype = DTYPES[settings.lora_dtype]
        self.drops = settings.lora_dropout > 0
        self.dora = settings.use_dora
        self.is_target = is_target

    def parameters(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the base weight and, where it is targeted, its adapter."""
        module = name.removesuffix(".weight")
        base = self.base(name, shape) if module != self.tied_lm_head else []
        if self.is_saved(name):
            original = f"{name.rpartition('.')[0]}.original_module.{name.rpartition('.')[2]}"
            copy = Parameter(name, *as_matrix(shape), self.dtype(name), True, stacked(shape))
            originals = [] if self.offloads_originals else base
            return [*(p._replace(name=original) for p in originals), copy]
        if module == self.embedding_name and self.trainable_tokens:
            base += self.tokens(name, shape)
        if name in self.expert_targets:
            return [*base, *self.expert_adapter(name, shape)]
        if module == name or not self.is_target(module):
            return base
        outputs, inputs = shape
        dtype = self.adapter_dtype
        if module == self.embedding_name:
            return [
                *base,
                Parameter(f"{module}.lora_embedding_A", self.rank, outputs, dtype, True),
                Parameter(f"{module}.lora_embedding_B", inputs, self.rank, dtype, True),
            ]
        adapter = [
            Parameter(f"{module}.lora_A", self.rank, inputs, dtype, True),
            Parameter(f"{module}.lora_B", outputs, self.rank, dtype, True),
        ]
        if self.dora:
            adapter.append(Parameter(f"{module}.lora_magnitude", 1, outputs, dtype, True))
        return [*base, *adapter]

    def is_saved(self, name: str) -> bool:
        """Whether PEFT trains a copy of the module of this weight, or of one that holds it."""
        if not self.modules_to_save:
            return False
        parts = name.split(".")[:-1]
        modules = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        return any(module.endswith(self.modules_to_save) for module in modules)

    def tokens(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the rows of the embedding that train, and what they were."""
        assert self.trainable_tokens
        rows, width, module = self.trainable_tokens, shape[-1], name.removesuffix(".weight")
        dtype = self.adapter_dtype
        return [
            Parameter(f"{module}.trainable_tokens_delta", rows, width, dtype, True),
            Parameter(f"{module}.trainable_tokens_original", rows, width, dtype, False),
        ]

    def expert_adapter(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the adapter of a stacked parameter: the adapters of all experts in one."""
        *experts, outputs, inputs = shape
        rank = self.rank * self.expert_targets[name] * prod(experts)
        return [
            Parameter(f"{name}.lora_A", rank, inputs, self.adapter_dtype, True),
            Parameter(f"{name}.lora_B", outputs, rank, self.adapter_dtype, True),
        ]

    def weight(self, weights: Weights, name: str) -> Tensor:
        """Return a weight; one with an adapter of its own is the sum of both, as a new tensor."""
        down = weights.get(f"{name}.lora_A")
        if down is not None:
            return ops.adapted_weight(weights[name], down, weights[f"{name}.lora_B"])
        delta = weights.get(f"{name.removesuffix('.weight')}.trainable_tokens_delta")
        if delta is not None:
            return ops.index_copy(weights[name], delta)
        return weights[name]

    def embedding(self, weights: Weights, name: str, tokens: Tensor) -> Tensor:
        """Look up rows of the table; of one with an adapter, in both of its factors too."""
        result = super().embedding(weights, name, tokens)
        down = weights.get(f"{name}.lora_embedding_A")
        if down is None:
            return result
        dtype, table = result.dtype, ops.transpose(down)
        share = ops.linear(ops.embedding(tokens, table), weights[f"{name}.lora_embedding_B"])
        return ops.to(ops.add(result, ops.scale(share)), dtype)

    def base(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the tensors that hold the frozen weight."""
        return super().parameters(name, shape)

    def run_base(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        """Run the frozen linear."""
        return super().linear(weights, name, x)

    def linear(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        """Run the base, and add the adapter's share in the base's dtype."""
        result = self.run_base(weights, name, x)
        down = weights.get(f"{name}.lora_A")
        if down is None:
            return result
        up = weights[f"{name}.lora_B"]
        dtype = result.dtype
        x = ops.to(x, down.dtype, "input in the adapter's dtype")
        if self.dora:
            share = self.dora_share(weights, name, x, result)
            result = ops.add(result, share)
        else:
            dropped = ops.dropout(x) if self.drops else x
            low = ops.linear(dropped, down)
            del dropped
            result = ops.add(result, ops.scale(ops.linear(low, up)))
        return ops.to(result, dtype)

    def dora_share(self, weights: Weights, name: str, x: Tensor, result: Tensor) -> Tensor:
        """Return what DoRA adds: the adapter's share and the base's, scaled by a magnitude.

        The norm it divides by takes the adapter as a matrix (made by running it on an
        identity) and the base in the adapter's dtype; both are there until the share is.
        """
        tape = x.tape
        down, up = weights[f"{name}.lora_A"], weights[f"{name}.lora_B"]
        outputs, inputs = up.rows, down.width
        identity = tape.new(inputs, inputs, down.dtype, "identity")
        for weight in (down, up):
            ops.cast_weight(weight)  # autocast's copies are used again below, with gradients
        recording, tape.recording = tape.recording, False
        cast = ops.to(identity, tape.autocast) if tape.autocast else identity
        narrow = ops.linear(cast, down)
        graph = (cast, narrow) if recording else None
        del cast
        adapter = ops.linear(narrow, up, what="adapter as a matrix")
        tape.recording = recording  # its graph is dropped with it, before backward
        del identity, narrow
        adapter = ops.to(ops.detach(adapter), x.dtype)
        base = weights[f"{name}.weight"]
        if base.dtype is not x.dtype:
            base = tape.new(outputs, inputs, x.dtype, "base in the adapter's dtype", "buffers")
        scaled = tape.new(outputs, inputs, x.dtype, "adapter scaled")
        total = tape.new(outputs, inputs, x.dtype, "base and adapter")
        del scaled
        norm = tape.new(1, outputs, x.dtype, "norm of each row")
        del total
        magnitude = ops.divide(weights[f"{name}.lora_magnitude"], norm)
        if self.drops:  # the base runs again, on what dropout left
            x = ops.dropout(x)
        elif f"{name}.bias" in weights:  # which is no part of what is scaled
            result = ops.add(result, weights[f"{name}.bias"])
        low = ops.linear(ops.linear(x, down), up)
        if self.drops:
            frozen = Tensor(tape, outputs, inputs, x.dtype, base.storage)
            result = ops.linear(x, frozen)
        share = ops.add(ops.mul(result, ops.scale(magnitude)), ops.scale(ops.mul(low, magnitude)))
        del graph, adapter, base
        return share
