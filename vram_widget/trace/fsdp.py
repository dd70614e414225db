"""FSDP over GPUs that are not there: PyTorch's own ``fully_shard``, with nobody to talk to.

A fake process group answers every collective at once and moves nothing, so that one process makes
what the first GPU of the cluster would make.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import torch
import torch.distributed as dist
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    FullyShardedDataParallel,
    MixedPrecision,
    MixedPrecisionPolicy,
    ShardingStrategy,
    fully_shard,
)
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._pytree import tree_leaves

from ..config import TrainingConfig
from ..errors import ConfigError
from ..step.sharding.sharding import Sharding
from .events import Storage
from .quantized import NF4Linear
from .storages import Scope, StorageLog

#: mixed_precision -> the dtype of matrix products.
COMPUTE = {"bf16": torch.bfloat16, "fp16": torch.float16}

#: Operators that gather weights, those that make what they are gathered into, the one by which
#: ``fully_shard`` lines gradients up to be reduced, and the one that reduces them.
GATHERS = ("fsdp::all_gather_copy_in", "fsdp::split_with_sizes_copy", "c10d::allgather_")
EMPTY = (torch.ops.aten.empty.memory_format, torch.ops.aten.empty_like.default)
LINES_UP = "fsdp::chunk_cat"
REDUCES = "c10d::_reduce_scatter_base_"


def is_sharded(config: TrainingConfig) -> bool:
    """Tell whether a run is one of FSDP over several GPUs."""
    return config.num_gpus > 1 and config.sharding in ("fsdp", "hsdp")


def be_alone(strategy: str) -> None:
    """Refuse to stand for one of several GPUs where this process already is part of a cluster.

    Raises
    ------
    ConfigError
        If it is.
    """
    if dist.is_initialized():
        raise ConfigError(
            f"torch.distributed is in use here, so {strategy} cannot be traced; "
            "use another process."
        )


@contextmanager
def cluster(gpus: int) -> Iterator[None]:
    """Stand for the first of several GPUs.

    Raises
    ------
    ConfigError
        If this process already is part of a cluster.
    """
    be_alone("FSDP")
    dist.init_process_group("fake", rank=0, world_size=gpus, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def shard(model: nn.Module, config: TrainingConfig, sharding: Sharding) -> nn.Module:
    """Shard every decoder layer, and what lies outside them, over the cluster.

    As the trainer does it (vram_widget/step/sharding/): with ``fully_shard``, or with the
    ``FullyShardedDataParallel`` before it.

    Raises
    ------
    ConfigError
        If the optimizer is to run in backward, where gradients are not yet summed.
    """
    if config.optimizer_in_backward:
        raise ConfigError("optimizer_in_backward cannot be traced with FSDP; switch one off.")
    nodes = config.num_nodes if config.sharding == "hsdp" else 1
    names = ("dp_replicate", "dp_shard") if nodes > 1 else ("dp_shard",)
    shape = (nodes, config.num_gpus // nodes) if nodes > 1 else (config.num_gpus,)
    with unset_fake_temporarily():
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
    if sharding.tables_apart:
        return _prepare_by_accelerate(model, mesh, config)
    kinds = set(cast(list[str], cast(Any, model)._no_split_modules))
    layers = [module for module in model.modules() if type(module).__name__ in kinds]
    if sharding.strategy == "fsdp1":
        return _flatten(model, layers, mesh, config, sharding)
    return _fully_shard(model, layers, mesh, config, sharding)


def _prepare_by_accelerate(model: nn.Module, mesh: DeviceMesh, config: TrainingConfig) -> nn.Module:
    """Have Accelerate's own ``fsdp2_prepare_model`` upcast, group and shard the weights."""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="TRANSFORMER_BASED_WRAP",
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
    )
    if config.mixed_precision != "no":
        plugin.set_mixed_precision(config.mixed_precision)
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        torch_device_mesh=mesh,
        parallelism_config=SimpleNamespace(fsdp_dim_names=mesh.mesh_dim_names),
        mixed_precision=config.mixed_precision,
        is_main_process=False,
        device=torch.device("cpu"),
    )
    packed = [module.weight for module in model.modules() if isinstance(module, NF4Linear)]
    for weight in packed:
        cast(Any, weight).__class__ = Params4bit
    prepared = cast(nn.Module, fsdp2_prepare_model(accelerator, model))
    for weight in packed:
        cast(Any, weight).__class__ = FakeTensor
    return prepared


class Params4bit(FakeTensor):
    """A weight as bitsandbytes names its class, by which Accelerate knows one of 4 bits."""


def _fully_shard(
    model: nn.Module,
    layers: list[nn.Module],
    mesh: DeviceMesh,
    config: TrainingConfig,
    sharding: Sharding,
) -> nn.Module:
    """Unshard weights in the dtype of mixed precision; reduce gradients as the trainer does.

    What stays unsharded from forward to backward is what PyTorch leaves so, or the last layer.
    """
    policy = MixedPrecisionPolicy()
    if config.mixed_precision != "no":
        dtype = COMPUTE[config.mixed_precision]
        policy = MixedPrecisionPolicy(dtype, torch.float32 if sharding.reduce else dtype)
    last_stays = not sharding.root_stays_unsharded
    for layer in layers:
        stays = last_stays and layer is layers[-1]
        fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=not stays)
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=last_stays or None)
    return model


def _flatten(
    model: nn.Module,
    layers: list[nn.Module],
    mesh: DeviceMesh,
    config: TrainingConfig,
    sharding: Sharding,
) -> nn.Module:
    """Unshard weights and reduce gradients in the dtype of mixed precision, as accelerate does.

    So are its flat parameters turned to float32 (``Accelerator.prepare_model``).
    """
    precision = None
    if config.mixed_precision != "no":
        dtype = COMPUTE[config.mixed_precision]
        precision = MixedPrecision(dtype, dtype, dtype)
    hybrid = mesh.ndim > 1
    wrap = partial(transformer_auto_wrap_policy, transformer_layer_cls={*map(type, layers)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of this version's end
        flat = FullyShardedDataParallel(
            model,
            device_mesh=mesh,
            sharding_strategy=ShardingStrategy[("HYBRID" if hybrid else "FULL") + "_SHARD"],
            auto_wrap_policy=wrap,
            mixed_precision=precision,
            device_id=torch.device("cpu"),
        )
    for module in FullyShardedDataParallel.fsdp_modules(flat):
        parameter, handle = module._flat_param, module._handle
        if sharding.upcasts_trained and parameter is not None and parameter.requires_grad:
            assert handle is not None
            parameter.data = parameter.data.to(torch.float32)
            handle._orig_param_dtype = torch.float32
    return flat


def reduce_in_last_pass(model: nn.Module, sharding: Sharding, is_last: bool) -> None:
    """Leave gradients unsharded until the last pass, where the trainer does."""
    if isinstance(model, FSDPModule) and sharding.reduces_in_last_pass:
        model.set_requires_gradient_sync(is_last)


class ShardedStorageLog(StorageLog):
    """A storage log that looks inside distributed tensors, and at what FSDP does to storages.

    FSDP makes a gathered weight's storage once, and from then on empties and refills it.
    """

    def __init__(self, block: int) -> None:
        super().__init__(block)
        self._refilled: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator on this GPU's tensors and log the storages it made."""
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # the tensor asks again, with the part of it on this GPU
        self._refilled = {key for key in self._refilled if self._notice_resize(key)}
        name = func._schema.name
        if name in GATHERS:
            filled = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs))}
            self._refilled |= {key for key in filled if self._notice_resize(key)}
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if func in EMPTY:
            self._refilled.add(out.untyped_storage()._cdata)
        if name in GATHERS:
            self._are_buffers(_tensors((args, kwargs, out)))
        elif name == LINES_UP:
            for gradient in _tensors(args):
                self.mark(gradient, "gradients")
            self._are_buffers(_tensors(kwargs))
        elif name == REDUCES:
            for tensor in _tensors(args):
                storage = self._record(tensor)
                if storage is not None and storage.component == "activations":
                    self.mark(tensor, "gradients")
        elif func is torch.ops.aten.cat.default:  # how autograd joins the gradients of views
            self._note_copy(out, tuple(args[0]), not torch.is_grad_enabled())
        return out

    def _notice_resize(self, key: int) -> bool:
        """Log a storage's new size, if it has one; tell whether it holds anything."""
        if key not in self._alive:
            return False
        reference, storage = self._alive[key]
        memory = reference()
        nbytes = self._rounded(memory.nbytes()) if memory is not None else storage.nbytes
        if nbytes != storage.nbytes:
            self._log(storage, -1)
            resized = replace(storage, nbytes=nbytes)
            self._alive[key] = reference, resized
            self._log(resized, +1)
        return nbytes > 0

    def _are_buffers(self, tensors: list[torch.Tensor]) -> None:
        """Tell FSDP's own tensors from the states that it reads, wherever they were made."""
        for tensor in tensors:
            storage = self._record(tensor)
            if storage is not None and storage.component not in ("parameters", "gradients"):
                storage.component = "buffers"

    def _see(self, tensor: torch.Tensor, operator: str, scope: Scope) -> None:
        super()._see(_local(tensor), operator, scope)

    def _record(self, tensor: torch.Tensor) -> Storage | None:
        return super()._record(_local(tensor))


def own_part(parameter: nn.Parameter) -> nn.Parameter:
    """Return the part of a parameter that lies on this GPU, as a parameter of its own.

    An optimizer over these makes what one over the distributed parameters makes on each GPU,
    without the tensors of full size by which PyTorch works out how a result is distributed.
    """
    if not isinstance(parameter, DTensor):
        return parameter
    return nn.Parameter(parameter._local_tensor, requires_grad=parameter.requires_grad)


def hand_over_gradients(parameters: list[nn.Parameter], owned: list[nn.Parameter]) -> None:
    """Move each gradient to the part of its parameter that lies on this GPU."""
    for parameter, own in zip(parameters, owned, strict=True):
        if own is not parameter and parameter.grad is not None:
            own.grad, parameter.grad = _local(parameter.grad), None


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """Return the part of a tensor that lies on this GPU."""
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
