"""Replays the first training steps of one GPU and writes down every allocation."""

from __future__ import annotations

from functools import lru_cache

from . import collector
from .forward import forward
from .passes import Pass
from .record import Record, Segment
from .run import Run
from .states import load, optimizer_step
from .tape import UINT8, Allocation, Event

#: Bytes a second at which weights come from a disk: nominal, for the timeline only.
LOADING = 3e9


@lru_cache(maxsize=64)
def replay(run: Run) -> Record:
    """Return the record of loading the model and taking two training steps.

    Records of late are there still: moving a field of the hardware or of the price replays nothing.

    Parameters
    ----------
    run : Run
        The model, the settings, the sharding and the card's speeds.
    """
    with collector.paused():
        return _replay(run)


def one_pass(run: Run, earlier: Pass | None = None) -> Pass:
    """Return a pass of a micro-batch, whose gradients are summed with those of an earlier one."""
    step = Pass(run, earlier)
    step.loss = forward(step)
    step.backward()
    return step


def _replay(run: Run) -> Record:
    one = one_pass(run)
    body, holds_gradients = one.segments, one
    if run.settings.gradient_accumulation_steps > 1:
        another = one_pass(run, earlier=one)
        body = body + another.segments
        holds_gradients = another if run.sharding.reduces_in_last_pass else one
    weights = load(run, one.layers)
    first, later = optimizer_step(run, holds_gradients.layers)
    loading = Segment("load", weights, _moved(weights) / LOADING)
    seconds = (_moved(weights) + _moved(first)) / run.bandwidth
    opening = with_workspaces(body, run.blas_workspace)
    return Record(
        [
            (0, [loading]),
            (1, [*opening, Segment("optimizer_step", first, seconds)]),
            (2, [*body, Segment("optimizer_step", later, seconds)]),
        ]
    )


def with_workspaces(body: list[Segment], nbytes: int) -> list[Segment]:
    """Return what a step does with two workspaces made in it, which stay.

    A thread's first matrix product makes a handle of cuBLAS, and PyTorch hands that a workspace
    which it never releases (aten/src/ATen/cuda/CublasHandlePool.cpp, 2.13): one in forward, and one
    in backward, which runs in autograd's own thread. cuBLASLt uses them too, unless
    TORCH_CUBLASLT_UNIFIED_WORKSPACE=0. Versions after 2.13 release a workspace after each product.
    """
    if not nbytes:
        return body
    backward = next(i for i, segment in enumerate(body) if segment.phase == "backward")
    first, second = (
        Segment(
            phase,
            [(nbytes, Allocation("buffers", "cuBLAS", "workspace", 1, nbytes, UINT8, nbytes))],
            0.0,
        )
        for phase in ("forward", "backward")
    )
    return [first, *body[:backward], second, *body[backward:]]


def _moved(events: list[Event]) -> int:
    """Return the bytes of everything that events take or give back."""
    return sum(abs(nbytes) * allocation.copies for nbytes, allocation in events)
