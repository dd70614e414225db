"""A stand-in for the linears of orthogonal subspace fine-tuning (OSFT), as mini-trainer makes them.

mini-trainer puts the factors of each target weight in its place, and runs on them without ever
multiplying them out (``create_svd_dict`` and ``_factorized_linear`` in its osft_utils.py, 0.9). The
factors' values need a decomposition, their shapes do not.
"""

from __future__ import annotations

from math import floor

import torch
from torch import nn
from transformers import PreTrainedModel

from ..config import TrainingConfig
from ..step.methods.targets import OSFT_TARGETS


def decompose(model: PreTrainedModel, config: TrainingConfig) -> None:
    """Put factors in the place of every target; everything else trains as it is."""
    targets = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(tuple(OSFT_TARGETS))
    ]
    for name, linear in targets:
        parent, _, last = name.rpartition(".")
        factors = OSFTLinear(linear, config.unfreeze_rank_ratio)
        setattr(model.get_submodule(parent), last, factors)


class OSFTLinear(nn.Module):
    """The high singular directions of a weight, frozen, and the low ones, trained."""

    def __init__(self, linear: nn.Linear, unfreeze_rank_ratio: float) -> None:
        super().__init__()
        outputs, inputs = linear.weight.shape
        rank = min(outputs, inputs)
        # mini-trainer takes a ratio that leaves nothing frozen for one that was not given.
        high = min(floor(rank * ((1 - unfreeze_rank_ratio) or 0.5)), rank - 1)
        self.bias = linear.bias
        for part, width in (("high", high), ("low", rank - high)):
            for factor, shape in (("U", (outputs, width)), ("S", (width,)), ("V", (width, inputs))):
                values = torch.empty(shape, dtype=linear.weight.dtype)
                parameter = nn.Parameter(values, requires_grad=part == "low")
                self.register_parameter(f"{factor}_{part}", parameter)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the sum of what the high and the low directions make of the input."""
        out = self._through("high", input) + self._through("low", input)
        return out if self.bias is None else out + self.bias

    def _through(self, part: str, input: torch.Tensor) -> torch.Tensor:
        u, s, v = (self.get_parameter(f"{factor}_{part}") for factor in "USV")
        return ((input @ v.transpose(0, 1)) * s) @ u.transpose(0, 1)
