"""The real optimizer for a traced model, and a stand-in for those that run on a GPU alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from ..errors import ConfigError
from ..step.methods.optimizers import BNB_BLOCK, BNB_MIN_8BIT, BNB_MIN_PAGED


class BitsAndBytesStandIn(Optimizer):
    """Keeps the states that bitsandbytes' optimizers keep; its kernels update in place.

    bitsandbytes' kernels do not run on fake tensors, so this makes their states and stops there.
    Paged states lie in memory that CUDA manages, outside PyTorch's allocator: they are left out.

    Parameters
    ----------
    parameters : iterable of torch.nn.Parameter
        What is trained.
    moments : int
        2 for AdamW, 1 for Lion.
    bits : int
        8 or 32 per value of a state.
    paged : bool
        Whether large states are paged.
    kept_in_32_bit : set of torch.nn.Parameter
        The embeddings: transformers' Trainer asks bitsandbytes to keep their states in 32 bits.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        moments: int,
        bits: int,
        paged: bool,
        kept_in_32_bit: set[nn.Parameter],
    ) -> None:
        super().__init__(parameters, {})
        self.moments, self.bits, self.paged = moments, bits, paged
        self.kept_in_32_bit = kept_in_32_bit
        self.code_books: list[torch.Tensor] = []

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make the states of every parameter that has a gradient, the first time."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not self.state[parameter]:
                    self._make_states(parameter)

    def _make_states(self, parameter: nn.Parameter) -> None:
        state, size = self.state[parameter], parameter.numel()
        small = size < BNB_MIN_8BIT or parameter in self.kept_in_32_bit
        eight = self.bits == 8 and not small
        on_gpu = not self.paged or size < BNB_MIN_PAGED
        if eight and not self.code_books:
            self.code_books = [torch.zeros(BNB_BLOCK) for _ in range(2)]
        for number in range(1, self.moments + 1):
            dtype = torch.uint8 if eight else torch.float32
            state[f"state{number}"] = torch.zeros_like(parameter, dtype=dtype) if on_gpu else None
            if eight:
                state[f"absmax{number}"] = torch.zeros(-(-size // BNB_BLOCK))


def make_optimizer(name: str, model: nn.Module, parameters: list[nn.Parameter]) -> Optimizer:
    """Return the optimizer that transformers' Trainer makes for an `optim` on a GPU.

    Parameters
    ----------
    name : str
        One of transformers' ``OptimizerNames``.
    model : torch.nn.Module
        The model, whose embeddings bitsandbytes treats differently.
    parameters : list of torch.nn.Parameter
        What is trained.

    Raises
    ------
    ConfigError
        For a name without such an optimizer.
    """
    if name == "adamw_torch":
        return AdamW(parameters, foreach=True)
    if name == "adamw_torch_fused":
        return AdamW(parameters, fused=True)
    if name == "sgd":
        return SGD(parameters, lr=1e-3, foreach=True)
    if name == "adafactor":
        from transformers import Adafactor

        return Adafactor(parameters, lr=1e-3, scale_parameter=False, relative_step=False)
    if ("adamw" in name and not name.startswith("adamw_torch")) or "lion" in name:
        return BitsAndBytesStandIn(
            parameters,
            moments=2 if "adamw" in name else 1,
            bits=32 if "32bit" in name else 8,
            paged="paged" in name,
            kept_in_32_bit=_embeddings(model),
        )
    raise ConfigError(f"optim={name!r} cannot be traced; trace another AdamW.")


def _embeddings(model: nn.Module) -> set[nn.Parameter]:
    tables = (module for module in model.modules() if isinstance(module, nn.Embedding))
    return {parameter for table in tables for parameter in table.parameters()}
