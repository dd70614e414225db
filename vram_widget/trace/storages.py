"""Follow every storage that PyTorch makes, by weak reference, from its birth to its release."""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch._C._autograd import _get_sequence_nr
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..step.tape import BLOCK
from .events import Event, Storage

aten = torch.ops.aten

#: Operators whose result is their inputs over again, in another dtype or summed up: how a
#: weight's gradient goes through several storages before it is the gradient.
COPIES = (aten._to_copy.default, aten.clone.default, aten.add.Tensor, aten.add_.Tensor)

#: A nominal accelerator, for the time axis alone: 300 TFLOP/s and 2 TB/s, about an A100.
FLOPS_PER_SECOND = 300e12
BYTES_PER_SECOND = 2e12


class Scope(NamedTuple):
    """The part of the program that operators belong to, and what their results are for.

    Attributes
    ----------
    first : int
        The number of the first autograd node that its forward made.
    module : str
        Its name in the model.
    component : str
        One of `vram_widget.step.timeline.COMPONENTS`.
    """

    first: int
    module: str
    component: str


class StorageLog(TorchDispatchMode):
    """A dispatch mode that logs every storage made or released while it is active.

    An operator run in backward belongs to the module whose forward it undoes: autograd numbers
    its nodes as forward makes them, and the log notes at which number each module began.

    Parameters
    ----------
    block : int
        Every storage is rounded up to this many bytes.

    Attributes
    ----------
    events : list of Event
        In the order in which they happened.
    step, phase : int, str
        Stamped on each event; set from outside.
    scratch : mapping of operator to callable
        What a kernel makes beside its result, from the operator's arguments; set from outside.
    scalars_on_host : bool
        Set while the tensors without dimensions that are made lie in the host's memory.
    """

    def __init__(self, block: int = BLOCK) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.block = block
        self.events: list[Event] = []
        self.step, self.phase = 0, "load"
        self.scratch: Mapping[Any, Callable[..., tuple[torch.Tensor, ...]]] = {}
        self.scalars_on_host = False
        self._seconds = 0.0
        self._alive: dict[int, tuple[weakref.ref[Any], Storage]] = {}
        self._scopes = [Scope(-1, "", "activations")]
        self._sole_owner = _use_counts_of_a_sole_owner()

    # -- what the run tells the log ------------------------------------------------------------
    def enter(self, module: str, component: str = "activations") -> None:
        """Say what the operators called from now on belong to, and what their results are for."""
        self._scopes.append(Scope(_get_sequence_nr(), module, component))

    def add(self, tensors: Iterable[torch.Tensor], component: str) -> None:
        """Log tensors that were made before the log was active."""
        for tensor in tensors:
            self._see(tensor, "load", Scope(-1, "", component))

    def mark(self, tensor: torch.Tensor, component: str) -> None:
        """Say what a tensor, and what it was copied or summed up from, turned out to be for."""
        found = [self._record(tensor)]
        while found:
            storage = found.pop()
            if storage is not None and storage.component != component:
                storage.component = component
                found += storage.sources

    def close(self) -> None:
        """Stop following: what is released from now on is no part of the run."""
        self._alive.clear()

    # -- what PyTorch tells the log ------------------------------------------------------------
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator and log the storages it made."""
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return func(*args, **kwargs)
        if func is aten.add.Tensor and not kwargs and self._is_accumulated_in_place(args[0]):
            func = aten.add_.Tensor
        out = func(*args, **kwargs)
        if not func.is_view:
            self._pass_time(func, args, kwargs, out)
        node = torch._C._current_autograd_node()
        in_backward = node is not None and not torch.is_grad_enabled()
        scope = self._scope_of(node._sequence_nr()) if in_backward else self._scopes[-1]
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor, str(func), scope)
        if func in self.scratch:
            self._see_together(self.scratch[func](*args, **kwargs), f"{func} scratch", scope)
        if func in COPIES or func.namespace == "vram_widget":
            self._note_copy(out, args, in_backward)
        return out

    def _see(self, tensor: torch.Tensor, operator: str, scope: Scope) -> None:
        memory = tensor.untyped_storage()
        key = memory._cdata
        if key in self._alive or (self.scalars_on_host and tensor.dim() == 0):
            return
        nbytes = self._rounded(memory.nbytes())
        dtype = str(tensor.dtype).removeprefix("torch.")
        storage = Storage(
            nbytes, scope.component, operator, scope.module, tuple(tensor.shape), dtype
        )

        def release(_: object) -> None:
            self._log(self._alive.pop(key)[1], -1)

        self._alive[key] = weakref.ref(memory, release), storage
        self._log(storage, +1)

    def _see_together(self, tensors: tuple[torch.Tensor, ...], operator: str, scope: Scope) -> None:
        for tensor in tensors:
            self._see(tensor, operator, scope)

    def _rounded(self, nbytes: int) -> int:
        return -(-nbytes // self.block) * self.block

    def _log(self, storage: Storage, sign: int) -> None:
        if storage.nbytes:
            self.events.append(Event(self._seconds, self.step, self.phase, storage, sign))

    def _note_copy(self, out: torch.Tensor, args: tuple[Any, ...], in_backward: bool) -> None:
        copy = self._record(out)
        sources = [self._record(arg) for arg in args if isinstance(arg, torch.Tensor)]
        for source in sources:
            if copy is None or source is None or source is copy:
                continue
            if source.component == "parameters":
                copy.component = "buffers"  # a weight in the dtype it is computed in
            elif in_backward:
                copy.sources += (source,)

    def _record(self, tensor: torch.Tensor) -> Storage | None:
        entry = self._alive.get(tensor.untyped_storage()._cdata)
        return entry[1] if entry else None

    def _scope_of(self, node_number: int) -> Scope:
        return self._scopes[bisect_right(self._scopes, node_number, key=attrgetter("first")) - 1]

    def _pass_time(self, func: Any, args: tuple[Any, ...], kwargs: Any, out: Any) -> None:
        count_flops = flop_registry.get(func.overloadpacket)
        flops = count_flops(*args, **kwargs, out_val=out) if count_flops else 0
        moved = sum(leaf.nbytes for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor))
        self._seconds += max(flops / FLOPS_PER_SECOND, moved / BYTES_PER_SECOND)

    def _is_accumulated_in_place(self, gradient: torch.Tensor) -> bool:
        """Tell whether autograd, with no mode active, would add to this gradient in place.

        It does so when two gradients meet at one tensor and nothing else holds the first one;
        under a mode it never does (``can_accumulate_inplace``, torch/csrc/autograd/
        input_buffer.cpp).
        """
        span = 1 + sum((n - 1) * s for n, s in zip(gradient.shape, gradient.stride(), strict=True))
        return (
            torch._C._current_graph_task_id() != -1
            and not torch.is_grad_enabled()
            and span == gradient.numel()
            and _use_counts(gradient) == self._sole_owner
        )


def _use_counts(tensor: torch.Tensor) -> tuple[int, int]:
    """Count who holds a tensor and its storage."""
    storage = tensor.untyped_storage()._cdata
    return tensor._use_count(), torch._C._storage_Use_Count(storage)  # type: ignore[attr-defined]


def _use_counts_of_a_sole_owner() -> tuple[int, int]:
    """Find the use counts that a mode sees of a gradient that autograd alone holds.

    How many references a call through Python adds differs between versions of PyTorch, so it is
    measured: on the first of two gradients that meet at one tensor.
    """
    counts: list[tuple[int, int]] = []

    class CountUses(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            if func is aten.add.Tensor and torch._C._current_graph_task_id() != -1:
                counts.append(_use_counts(args[0]))
            return func(*args, **(kwargs or {}))

    with torch.enable_grad(), CountUses():  # type: ignore[no-untyped-call]
        once = torch.ones(2, requires_grad=True) * 2
        torch.autograd.backward((once * torch.ones(2) * once.detach()).sum() + (once * 3).sum())
    return counts[0]
