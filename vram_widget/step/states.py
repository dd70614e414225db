"""What lasts beyond a pass: weights from loading on, optimizer states from the first step on."""

from __future__ import annotations

from functools import lru_cache

from ..config import TrainingConfig
from .architecture import Architecture
from .layer import Layer, stored
from .methods.methods import method_for
from .methods.optimizers import ALL_AT_ONCE, ONE_AT_A_TIME, STATES, temporaries
from .methods.parameter import Parameter, as_matrix, dropped, made
from .sharding import zero
from .sharding.sharding import Sharding, sharding
from .tape import BOOL, FLOAT32, Allocation, Event, Leaf


def load(layers: list[Layer], architecture: Architecture, config: TrainingConfig) -> list[Event]:
    """Return the allocations of loading: weights as they are stored, masks, lasting buffers."""
    shares = sharding(config)
    events: list[Event] = []
    for name, shape in architecture.masks.items():
        events.append(made("parameters", "mask", Parameter(name, *as_matrix(shape), BOOL, False)))
    stored_here = [(p, layer.copies) for layer in layers for p in layer.parameters]
    method = method_for(config, architecture)
    for name, shape, count in architecture.alike_in_towers:
        stored_here += [(p, count) for p in stored(method, shares, name, shape)]
    for p, count in stored_here:
        if p.divided and shares.parameters_on_host:
            continue
        share = shares.share(p, shares.parameters)
        events.append(made("parameters", "weight", share, count))
    if config.training_method == "osft":
        events += _decomposition(layers)
    if shares.buckets:
        for layer, p in zero.trained(layers):
            bucket = p._replace(name="DDP buckets")
            events.append(made("buffers", "gradient", bucket, layer.copies))
    return events + zero.lasting(layers, shares)


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
    made_of_it = [
        Parameter(f"{name}.{what}", r, w, FLOAT32, False)
        for what, r, w in (
            ("weight", rows, width),
            ("U", rows, rank),
            ("V", rank, width),
            ("U halves", rows, rank),
            ("V halves", rank, width),
        )
    ]
    events = [made("buffers", p.name, p._replace(name="SVD")) for p in made_of_it]
    return events + [dropped(event) for event in events]


def optimizer_step(layers: list[Layer], config: TrainingConfig) -> tuple[list[Event], list[Event]]:
    """Return what the first and every later optimizer step do to memory.

    The first makes the states; each makes and drops its temporaries, then drops the gradients.
    """
    shares = sharding(config)
    reached: list[tuple[Parameter, int]] = []
    left: dict[Allocation, Event] = {}
    for layer, p in zero.trained(layers):
        leaf = layer.weights[p.name].node
        if not isinstance(leaf, Leaf) or not leaf.reached:
            continue
        reached.append((p, layer.copies))
        if leaf.grad is not None and leaf.grad.storage is not None:
            allocation = leaf.grad.storage.allocation
            left[allocation] = -allocation.nbytes, allocation
    gone = [*left.values()]
    if shares.optimizer_on_host:
        reached.clear()
    in_backward = config.optimizer_in_backward
    states, scratch, count = _stepped(tuple(reached), shares, config.optim, in_backward)
    if shares.strategy in zero.STAGES:
        later = zero.step(layers, shares, gone, count or config.optim in ALL_AT_ONCE)
    else:
        later = [*scratch, *map(dropped, scratch), *gone]
    return [*states, *later], later


@lru_cache(maxsize=128)
def _stepped(
    reached: tuple[tuple[Parameter, int], ...], shares: Sharding, optim: str, in_backward: bool
) -> tuple[list[Event], list[Event], int]:
    """Return the states of parameters, each in some layers, and what a step makes besides.

    They are the same however long the batch is. Last is how many temporaries there are, where it
    takes one parameter at a time.
    """
    states: list[Event] = []
    scratch: list[Event] = []
    largest: Parameter | None = None
    for p, copies in reached:
        share = shares.share(p, shares.optimizer)
        if shares.masters:
            share = share._replace(dtype=FLOAT32)
        for what, elements, dtype in STATES[optim](share):
            state = Parameter(p.name, 1, elements, dtype, False)
            states.append(made("optimizer", what, state, copies))
        if optim in ALL_AT_ONCE and not in_backward:
            scratch.append(made("optimizer", "temporary", share, copies))
        if largest is None or share.size > largest.size:
            largest = share
    if optim not in ONE_AT_A_TIME or largest is None or in_backward:
        return states, scratch, 0
    scratch = [
        made("optimizer", "temporary", largest._replace(dtype=dtype))
        for dtype in temporaries(optim, largest.dtype)
    ]
    return states, scratch, len(scratch)
