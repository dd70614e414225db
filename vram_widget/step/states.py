"""What lasts beyond a pass: weights from loading on, optimizer states from the first step on."""

from __future__ import annotations

from ..config import TrainingConfig
from ..model.architecture import Architecture
from .layer import Layer, stored
from .methods import method_for
from .optimizers import ALL_AT_ONCE, ONE_AT_A_TIME, STATES
from .parameter import Parameter, as_matrix
from .sharding import sharding
from .tape import BOOL, FLOAT32, Allocation, DType, Event, Leaf, rounded


def load(layers: list[Layer], architecture: Architecture, config: TrainingConfig) -> list[Event]:
    """Return the allocations of loading: weights as they are stored, masks, DDP's buckets."""
    shares = sharding(config)
    events: list[Event] = []
    for name, shape in architecture.masks.items():
        mask = Parameter(name, *as_matrix(shape), BOOL, False)
        events.append(_event("parameters", name, "mask", mask, BOOL, mask.nbytes(), 1))
    for layer in layers:
        for p in layer.parameters:
            if not shares.parameters_on_host:
                nbytes = shares.share(p, shares.parameters).nbytes
                events.append(
                    _event("parameters", p.name, "weight", p, p.dtype, nbytes, layer.copies)
                )
    if not shares.parameters_on_host:
        method = method_for(config, architecture)
        for name, shape, count in architecture.alike_in_towers:
            for p in stored(method, shares, name, shape):
                nbytes = p.nbytes(shares.parameters)
                events.append(_event("parameters", p.name, "weight", p, p.dtype, nbytes, count))
    if config.training_method == "osft":
        events += _decomposition(layers)
    if shares.buckets:
        for layer in layers:
            for p in layer.parameters:
                if p.trainable:
                    bucket = _event(
                        "buffers", "DDP buckets", "gradient", p, p.dtype, p.nbytes, layer.copies
                    )
                    events.append(bucket)
    return events


def _decomposition(layers: list[Layer]) -> list[Event]:
    """Return OSFT's start: the largest target in float32, its U, S, V, and their two halves."""
    targets = {
        p.name.rsplit(".", 1)[0]: (u.rows, p.width)
        for layer in layers
        for u, p in zip(layer.parameters, layer.parameters[2:], strict=False)
        if u.name.endswith(".U_low") and p.name.endswith(".V_low")
    }
    if not targets:
        return []
    name, (rows, width) = max(targets.items(), key=lambda target: target[1][0] * target[1][1])
    rank = min(rows, width)
    made = [
        Parameter(f"{name}.{what}", r, w, FLOAT32, False)
        for what, r, w in (
            ("weight", rows, width),
            ("U", rows, rank),
            ("V", rank, width),
            ("U halves", rows, rank),
            ("V halves", rank, width),
        )
    ]
    events = [_event("buffers", "SVD", p.name, p, FLOAT32, p.nbytes, 1) for p in made]
    return events + [(-nbytes, allocation) for nbytes, allocation in events]


def optimizer_step(layers: list[Layer], config: TrainingConfig) -> tuple[list[Event], list[Event]]:
    """Return what the first and every later optimizer step do to memory.

    The first makes the states; each makes and drops its temporaries, then drops the gradients.
    """
    shares = sharding(config)
    states: list[Event] = []
    scratch: list[Event] = []
    gradients: list[Event] = []
    largest: Parameter | None = None
    for layer in layers:
        for p in layer.parameters:
            leaf = layer.weights[p.name].node
            if not isinstance(leaf, Leaf) or not leaf.reached:
                continue
            if leaf.grad is not None and leaf.grad.storage is not None:
                allocation = leaf.grad.storage.allocation
                gradients.append((-allocation.nbytes, allocation))
            if shares.optimizer_on_host:
                continue
            share = shares.share(p, shares.optimizer)
            if shares.masters:
                share = share._replace(dtype=FLOAT32)
                nbytes = share.nbytes
                states.append(
                    _event(
                        "optimizer",
                        p.name,
                        "weight in float32",
                        share,
                        FLOAT32,
                        nbytes,
                        layer.copies,
                    )
                )
            for what, elements, dtype in STATES[config.optim](share):
                shape = p._replace(rows=1, width=elements)
                nbytes = rounded(elements * dtype.itemsize)
                states.append(_event("optimizer", p.name, what, shape, dtype, nbytes, layer.copies))
            if config.optim in ALL_AT_ONCE and not config.optimizer_in_backward:
                scratch.append(
                    _event(
                        "optimizer",
                        p.name,
                        "temporary",
                        share,
                        share.dtype,
                        share.nbytes,
                        layer.copies,
                    )
                )
            if largest is None or share.size > largest.size:
                largest = share
    if config.optim in ONE_AT_A_TIME and largest is not None:
        copies = 2 if largest.dtype is FLOAT32 else 4
        nbytes = rounded(largest.size * FLOAT32.itemsize)
        scratch = [
            _event("optimizer", largest.name, "temporary", largest, FLOAT32, nbytes, 1)
            for _ in range(copies)
        ]
    dropped = [(-nbytes, allocation) for nbytes, allocation in scratch]
    later = [*scratch, *dropped, *gradients]
    return [*states, *later], later


def _event(
    component: str,
    operator: str,
    what: str,
    shape: Parameter,
    dtype: DType,
    nbytes: int,
    copies: int,
) -> Event:
    allocation = Allocation(component, operator, what, shape.rows, shape.width, dtype, nbytes)
    allocation.copies = copies
    return nbytes, allocation
