"""OSFT, as mini-trainer runs it: each target factorised, its low directions trained."""

from __future__ import annotations

from functools import lru_cache
from math import floor

from .. import ops
from ..settings import Settings
from ..tape import DType, Tensor
from .full import Full, Matches, Weights
from .parameter import Parameter, Shape


class OSFT(Full):
    """Orthogonal subspace fine-tuning: U, S, V of each target; the low directions train.

    mini-trainer, ``osft_utils.py``: `create_svd_dict`, `_factorized_linear`.
    """

    def __init__(self, settings: Settings, is_target: Matches) -> None:
        super().__init__(settings)
        # mini-trainer takes a rank ratio of 0 (everything unfrozen) for "not given", which is half
        self.rank_ratio = (1 - settings.unfreeze_rank_ratio) or 0.5
        self.is_target = is_target

    def parameters(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the frozen high and trainable low factors of a target."""
        module = name.removesuffix(".weight")
        if module == name or not self.is_target(module):
            return super().parameters(name, shape)
        return [*factors(module, *shape, self.rank_ratio, self.param_dtype)]

    def linear(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        """Run both halves of the factorised linear and add them."""
        if f"{name}.V_low" not in weights:
            return super().linear(weights, name, x)
        low = self.half(weights, name, "low", x)
        if f"{name}.V_high" in weights:
            low = ops.add(self.half(weights, name, "high", x), low)
        bias = weights.get(f"{name}.bias")
        return ops.add_bias(low, bias) if bias is not None else low

    @staticmethod
    def half(weights: Weights, name: str, part: str, x: Tensor) -> Tensor:
        """Return ``(x @ V.T * S) @ U.T`` of one half."""
        down = ops.linear(x, ops.view_of(weights[f"{name}.V_{part}"]), what="projected input")
        scaled = ops.mul(down, weights[f"{name}.S_{part}"])
        del down
        return ops.linear(scaled, ops.view_of(weights[f"{name}.U_{part}"]))


@lru_cache(maxsize=4096)
def factors(
    module: str, outputs: int, inputs: int, rank_ratio: float, dtype: DType
) -> tuple[Parameter, ...]:
    """Return U, S and V of the high and of the low directions of a target."""
    rank = min(outputs, inputs)
    high = min(floor(rank * rank_ratio), rank - 1)
    return tuple(
        Parameter(f"{module}.{factor}_{part}", rows, width, dtype, part == "low")
        for part, k in (("high", high), ("low", rank - high))
        if k
        for factor, rows, width in (("U", outputs, k), ("S", 1, k), ("V", k, inputs))
    )
