"""ZeRO over GPUs that are not there: DeepSpeed's own engine, with nobody to talk to.

DeepSpeed runs on the fake process group that FSDP is traced with, as the last of the GPUs: its
share holds the last weights, whose gradients come first. DeepSpeed is told that its device is no
host, so that it does what it does on a GPU.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, cast
from unittest import mock

import deepspeed
import torch
import torch.distributed as dist
import torch.nn.functional as F
from deepspeed.accelerator import get_accelerator, set_accelerator
from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator
from torch.testing._internal.distributed.fake_pg import FakeStore

from ..config import TrainingConfig
from ..config.zero_optimization import filled_in
from ..errors import ConfigError
from ..export.deepspeed import write
from .events import Event
from .fsdp import be_alone
from .optimizers import make_optimizer
from .step import TrainingSteps
from .storages import Scope, StorageLog

aten = torch.ops.aten


def _folder(module: ModuleType) -> str:
    return os.path.dirname(str(module.__file__))


#: DeepSpeed's modules that make tensors of their own, and the one among them that computes.
RUNTIME = _folder(deepspeed.runtime)
COMPUTES = os.path.join(RUNTIME, "zero", "linear.py")
#: PyTorch's modules that call operators in their own name.
CALLS = (_folder(torch.autograd), _folder(torch.optim))
#: Modules that lie between an operator and who called it.
BETWEEN = (_folder(torch), _folder(deepspeed.utils), os.path.dirname(__file__))
#: The function that makes room for this GPU's share of the gradients.
MAKES_ROOM = "copy_grads_in_partition"
#: The function that takes the gradients' norm.
MEASURES = "get_grad_norm_direct"


class Silent:
    """A stream or an event on which nothing runs."""

    def __init__(self, *args: object, **choices: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **choices: None


class Accelerator(CPU_Accelerator):  # type: ignore[misc]  # untyped
    """A device with streams and plenty of memory, whose tensors are fake CPU tensors."""

    Stream = Event = Silent

    def is_synchronized_device(self) -> bool:
        """Tell DeepSpeed to order its streams by events, as on a GPU."""
        return False

    def current_stream(self, device_index: int | None = None) -> Silent:
        """Return a stream."""
        return Silent()

    default_stream = current_stream

    def available_memory(self, device_index: int | None = None) -> int:
        """Have DeepSpeed join weights on the device, not by way of the host."""
        return sys.maxsize

    def create_op_builder(self, class_name: str) -> None:
        """Compile nothing."""


@contextmanager
def cluster(gpus: int) -> Iterator[None]:
    """Stand for the last of several GPUs.

    Raises
    ------
    ConfigError
        If this process already is part of a cluster.
    """
    be_alone("ZeRO")
    rank = gpus - 1
    of_launcher = {"LOCAL_RANK": str(rank), "RANK": str(rank), "WORLD_SIZE": str(gpus)}
    coordinator = import_module("deepspeed.runtime.zero.partitioned_param_coordinator")
    before = get_accelerator()
    level = deepspeed.utils.logger.level
    set_accelerator(Accelerator())
    deepspeed.utils.logger.setLevel(logging.ERROR)
    dist.init_process_group("fake", rank=rank, world_size=gpus, store=FakeStore())
    try:
        with (
            mock.patch.dict(os.environ, of_launcher),
            # the others would have to answer
            mock.patch.object(coordinator, "assert_ints_same_as_other_ranks"),
            mock.patch.object(torch.Tensor, "record_stream"),
            mock.patch.object(F, "linear", F.linear),  # stage 3 leaves its own in its place
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of collectives by their older names
            yield
    finally:
        deepspeed.comm.destroy_process_group()
        deepspeed.utils.logger.setLevel(level)
        set_accelerator(before)


class ZeroStorageLog(StorageLog):
    """A storage log that tells DeepSpeed's own tensors from the model's."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator and log the storages it made; a number that is asked for is one."""
        if func is aten._local_scalar_dense.default:
            return 1.0 if args[0].is_floating_point() else 0  # a norm, and no overflow
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _see(self, tensor: torch.Tensor, operator: str, scope: Scope) -> None:
        if tensor.device.type == "meta":
            return
        made_by = _function_of_deepspeed()
        if made_by:
            steps = self.phase == "optimizer_step" and made_by != MEASURES
            of_gradients = steps or made_by == MAKES_ROOM
            scope = Scope(-1, "DeepSpeed", "gradients" if of_gradients else "buffers")
        super()._see(tensor, operator, scope)

    def begin(self) -> None:
        """Leave out what loading made and gave back.

        DeepSpeed goes by way of the host where the GPU has no room for it.
        """
        alive = (storage for _, storage in self._alive.values())
        self.events = [Event(self._seconds, 0, "load", storage, +1) for storage in alive]


class ZeroSteps(TrainingSteps):
    """Takes training steps by DeepSpeed's engine, as accelerate does for transformers' Trainer."""

    log: ZeroStorageLog

    def run(self) -> None:
        """Hand the model to DeepSpeed, then take two steps."""
        if self.config.optimizer_in_backward:
            raise ConfigError("optimizer_in_backward does nothing with ZeRO; switch one off.")
        model, log = self.model, self.log
        log.add([*model.parameters(), *model.buffers()], "parameters")
        for parameter in self.trainable:
            parameter.register_post_accumulate_grad_hook(self._mark_gradient)
        # Tensors without data cannot take another's place, and are where they should be.
        cast(Any, model).to = lambda *args, **choices: model
        with log:
            log.enter("DeepSpeed", "buffers")
            self.engine, optimizer, _, _ = deepspeed.initialize(
                model=model,
                optimizer=make_optimizer(self.config.optim, model, self.trainable),
                config=self._choices(),
            )
            self._mark_states(optimizer)
            log.begin()
            self._follow_modules()
            self._take_steps(optimizer)
        self.engine.destroy()

    def _choices(self) -> dict[str, Any]:
        """Return what the trainer tells DeepSpeed, with what it fills in (``"auto"``)."""
        config = self.config
        return {
            **_sized(write(config), config, self.model.config.hidden_size),
            "bf16": {"enabled": config.mixed_precision == "bf16"},
            "fp16": {"enabled": config.mixed_precision == "fp16"},
            "train_batch_size": config.micro_batch_size
            * config.gradient_accumulation_steps
            * config.num_gpus,
            "train_micro_batch_size_per_gpu": config.micro_batch_size,
            "gradient_accumulation_steps": config.gradient_accumulation_steps,
            "gradient_clipping": 1.0,
            "zero_allow_untested_optimizer": True,
        }

    def _mark_states(self, optimizer: Any) -> None:
        """Name what DeepSpeed has made of the weights."""
        stage3 = self.config.sharding == "zero3"
        flat = "fp16_partitioned_groups_flat" if stage3 else "bit16_groups_flat"
        mine = "fp32_partitioned_groups_flat" if stage3 else "single_partition_of_fp32_groups"
        for attribute, component in ((flat, "parameters"), (mine, "optimizer")):
            for tensor in getattr(optimizer, attribute):
                self.log.mark(tensor, component)
        if stage3:
            self.log.mark(optimizer.grad_partitions_flat_buffer, "gradients")

    def _begin_pass(self, is_last: bool) -> None:
        self.engine.set_gradient_accumulation_boundary(is_last)

    def _outputs(self, batch: dict[str, torch.Tensor]) -> Any:
        return self.engine(**batch, use_cache=False)

    def _backward(self, loss: torch.Tensor) -> None:
        self.engine.backward(loss)

    def _update(self, optimizer: Any) -> None:
        self.log.enter("optimizer", "optimizer")
        self.engine.step()


def _sized(written: dict[str, Any], config: TrainingConfig, hidden_size: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration with the sizes that are left to transformers."""
    given = config.zero_optimization or {}
    sizes = filled_in(given, hidden_size)
    zero = {**written["zero_optimization"], **{name: sizes[name] for name in given}}
    return {**written, "zero_optimization": zero}


def _function_of_deepspeed() -> str:
    """Return the function of DeepSpeed that made what is being made, if one did."""
    frame = sys._getframe(2)
    while (caller := frame.f_back) is not None:
        file = frame.f_code.co_filename
        if not file.startswith(BETWEEN) or file.startswith(CALLS):
            own = file.startswith(RUNTIME) and file != COMPUTES
            return frame.f_code.co_name if own else ""
        frame = caller
    return ""
