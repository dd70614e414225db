"""Two training steps of a model on fake tensors, with every storage logged."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from ..config import TrainingConfig
from ..step.sharding.sharding import Sharding
from .fsdp import COMPUTE, hand_over_gradients, is_sharded, own_part, reduce_in_last_pass
from .optimizers import make_optimizer
from .storages import StorageLog

#: The second step is the steady state: the optimizer's states exist from the first on.
STEPS = 2

#: Of the passes whose gradients are summed, the first makes the gradients and the second finds
#: them there; all further ones are like the second.
PASSES = 2


class TrainingSteps:
    """Takes training steps as transformers' Trainer does, and tells the log where it is.

    Parameters
    ----------
    config : TrainingConfig
        The batch, the precision and the optimizer.
    sharding : Sharding
        When gradients are reduced.
    model : torch.nn.Module
        The model, ready to train.
    log : StorageLog
        Where every storage is written down.
    """

    def __init__(
        self,
        config: TrainingConfig,
        sharding: Sharding,
        model: PreTrainedModel | PeftModel,
        log: StorageLog,
    ) -> None:
        self.config, self.sharding = config, sharding
        self.model, self.log = model, log
        self.trainable = [p for p in model.parameters() if p.requires_grad]
        self.owned = [own_part(parameter) for parameter in self.trainable]
        self.fused = config.optim == "adamw_torch_fused"

    def run(self) -> None:
        """Load the model, then take two steps."""
        self.log.add([*self.model.parameters(), *self.model.buffers()], "parameters")
        self._follow_modules()
        optimizer = None
        if self.config.optimizer_in_backward:
            self._optimize_in_backward()
        else:
            optimizer = make_optimizer(self.config.optim, self.model, self.owned)
        with self.log:
            self._take_steps(optimizer)

    def _take_steps(self, optimizer: Optimizer | None) -> None:
        batch = self._batch()
        for self.log.step in range(1, STEPS + 1):
            passes = min(self.config.gradient_accumulation_steps, PASSES)
            for number in range(1, passes + 1):
                self._begin_pass(is_last=number == passes)
                self._forward_and_backward(batch)
            self.log.phase = "optimizer_step"
            if optimizer is not None:
                self._update(optimizer)
        self.log.close()  # while the batch is there, which the next step would begin with

    def _batch(self) -> dict[str, torch.Tensor]:
        config = self.config
        rows, length = config.micro_batch_size, config.max_seq_len
        if config.max_tokens_per_gpu:
            # A packed batch is one row; only attention sees where its sequences end.
            flash = config.attn_implementation == "flash_attention_2"
            rows = 1 if flash else max(1, config.max_tokens_per_gpu // length)
            length = config.max_tokens_per_gpu // rows
        self.log.phase = "forward"
        names = ["input_ids", "labels"]
        # Flash attention takes the padding out of its inputs, and has no use for a mask.
        if config.padded and config.attn_implementation != "flash_attention_2":
            names.append("attention_mask")
        return {name: torch.zeros(rows, length, dtype=torch.int64) for name in names}

    def _begin_pass(self, is_last: bool) -> None:
        reduce_in_last_pass(self.model, self.sharding, is_last)

    def _forward_and_backward(self, batch: dict[str, torch.Tensor]) -> None:
        log = self.log
        log.phase = "forward"
        log.enter("")
        outputs = self._outputs(batch)
        loss = outputs.loss
        if not self.config.keeps_outputs:
            del outputs
        log.phase = "backward"
        self._backward(loss)
        for parameter in self.trainable:
            self._mark_gradient(parameter)

    def _outputs(self, batch: dict[str, torch.Tensor]) -> Any:
        with self._autocast():
            return self.model(**batch, use_cache=False)

    def _backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def _mark_gradient(self, parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            self.log.mark(parameter.grad, "gradients")

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.mixed_precision == "no" or is_sharded(self.config):
            return nullcontext()  # FSDP gathers the weights in the compute dtype instead
        return torch.autocast("cpu", COMPUTE[self.config.mixed_precision])

    def _update(self, optimizer: Optimizer) -> None:
        self.log.enter("optimizer", "optimizer")
        hand_over_gradients(self.trainable, self.owned)
        # A fused optimizer counts its steps on the GPU, the others on the host.
        self.log.scalars_on_host = not self.fused
        optimizer.step()
        self.log.scalars_on_host = False
        optimizer.zero_grad()

    def _optimize_in_backward(self) -> None:
        """Give each parameter its own optimizer, run as soon as its gradient is there."""
        for parameter in self.trainable:
            own = make_optimizer(self.config.optim, self.model, [parameter])

            def update(trained: torch.Tensor, own: Optimizer = own) -> None:
                self._mark_gradient(trained)
                self._update(own)

            parameter.register_post_accumulate_grad_hook(update)

    def _follow_modules(self) -> None:
        """Tell the log which module runs, and where the loss begins."""
        log = self.log
        head: nn.Module = self.model.get_output_embeddings()
        for name, module in self.model.named_modules():
            name = name.removeprefix("base_model.model.")
            parent = name.rpartition(".")[0]
            if module is head:
                continue
            module.register_forward_pre_hook(lambda *_, name=name: log.enter(name))
            module.register_forward_hook(lambda *_, parent=parent: log.enter(parent))

        def begin_loss(*_: object) -> None:
            log.phase = "loss"
            log.enter("lm_head")

        def end_head(module: nn.Module, args: object, logits: torch.Tensor) -> None:
            log.mark(logits, "outputs")
            log.enter("loss", "outputs")

        head.register_forward_pre_hook(begin_loss)
        head.register_forward_hook(end_head)
