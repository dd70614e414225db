"""Full fine-tuning: every weight is stored as it is and trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .. import ops
from ..settings import Settings
from ..tape import DTYPES, FLOAT32, DType, Tensor
from .parameter import Parameter, Shape, as_matrix, stacked

Weights = Mapping[str, Tensor]

#: Tests a module's name.
Matches = Callable[[str], bool]


class Full:
    """Full fine-tuning (`sft`): every weight is stored as it is and trains, or those named do."""

    trains_base = True

    def __init__(self, settings: Settings, is_trained: Matches | None = None) -> None:
        self.is_trained = is_trained
        self.param_dtype = DTYPES[settings.param_dtype]
        self.float32_modules = settings.float32_modules

    def parameters(self, name: str, shape: Shape) -> list[Parameter]:
        """Return the tensors that stand for the weight `name`."""
        matrix, stack = as_matrix(shape), stacked(shape)
        trains = self.is_trained(name) if self.is_trained else self.trains_base
        return [Parameter(name, *matrix, self.dtype(name), trains, stack)]

    def dtype(self, name: str) -> DType:
        """Return the dtype that the weight `name` is loaded in."""
        if self.float32_modules and kind(name) in self.float32_modules:
            return FLOAT32
        return self.param_dtype

    def weight(self, weights: Weights, name: str) -> Tensor:
        """Return the weight `name` as operators use it."""
        return weights[name]

    def experts(self, weights: Weights, name: str) -> Tensor:
        """Return the stacked weights of experts as a grouped product takes them."""
        return self.weight(weights, name)

    def embedding(self, weights: Weights, name: str, tokens: Tensor) -> Tensor:
        """Look up the rows of the table `name`."""
        return ops.embedding(tokens, self.weight(weights, f"{name}.weight"))

    def linear(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        """Run the linear `name` on x."""
        weight, bias = self.weight(weights, f"{name}.weight"), weights.get(f"{name}.bias")
        if bias is not None and weight.is_view:
            return ops.add_bias(ops.linear(x, weight), bias)
        return ops.linear(x, weight, bias)


#: What families call the token embedding; the wte of GPT-2 is its lm_head too.
EMBEDDINGS = frozenset({"embed_tokens", "word_embeddings", "embed_in", "wte"})


def kind(name: str) -> str:
    """Return which of `trainers.trainer.MODULES` a weight belongs to.

    Examples
    --------
    >>> kind("model.norm.weight"), kind("lm_head.weight"), kind("mlp.gate.weight")
    ('norm', 'lm_head', 'router')
    """
    module = name.rpartition(".")[0]
    last = module.rpartition(".")[2]
    if "norm" in module:
        return "norm"
    if last in ("lm_head", "embed_out"):
        return "lm_head"
    if last in EMBEDDINGS:
        return "embedding"
    return "router" if last == "gate" else "other"


#: The interface of every method; the others override what they do differently.
Method = Full
