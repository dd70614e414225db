"""What lasts beyond a pass: weights from loading on, optimizer states from the first step on."""

from __future__ import annotations

from functools import lru_cache

from .layer import Layer, stored
from .methods.optimizers import ALL_AT_ONCE, ONE_AT_A_TIME, STATES, temporaries
from .methods.parameter import Parameter, as_matrix, dropped, made
from .run import Run
from .sharding import zero
from .sharding.sharding import Sharding
from .tape import BOOL, FLOAT32, Allocation, Event, Leaf


def load(run: Run, layers: list[Layer]) -> list[Event]:
    """Return the allocations of loading: weights as they are stored, masks, lasting buffers."""
    sharding = run.sharding
    events: list[Event] = []
    for name, shape in run.architecture.masks.items():
        events.append(made("parameters", "mask", Parameter(name, *as_matrix(shape), BOOL, False)))
    stored_here = [(p, layer.copies) for layer in layers for p in layer.parameters]
    method = run.method()
    for name, shape, count in run.architecture.alike_in_towers:
        stored_here += [(p, count) for p in stored(method, sharding, name, shape)]
    for p, count in stored_here:
        if p.sharded and sharding.parameters_on_host:
            continue
        shard = sharding.shard(p, sharding.parameters)
        events.append(made("parameters", "weight", shard, count))
    if run.settings.training_method == "osft":
        events += _decomposition(layers)
    if sharding.buckets:
        for layer, p in zero.trained(layers):
            bucket = p._replace(name="DDP buckets")
            events.append(made("buffers", "gradient", bucket, layer.copies))
    return events + zero.lasting(layers, sharding)


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


def optimizer_step(run: Run, layers: list[Layer]) -> tuple[list[Event], list[Event]]:
    """Return what the first and every later optimizer step do to memory.

    The first makes the states; each makes and drops its temporaries, then drops the gradients.
    """
    sharding, settings = run.sharding, run.settings
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
    if sharding.optimizer_on_host:
        reached.clear()
    in_backward = settings.optimizer_in_backward
    states, scratch, count = _stepped(tuple(reached), sharding, settings.optim, in_backward)
    if sharding.strategy in zero.STAGES:
        later = zero.step(layers, sharding, gone, count or settings.optim in ALL_AT_ONCE)
    else:
        later = [*scratch, *map(dropped, scratch), *gone]
    return [*states, *later], later


@lru_cache(maxsize=128)
def _stepped(
    reached: tuple[tuple[Parameter, int], ...], sharding: Sharding, optim: str, in_backward: bool
) -> tuple[list[Event], list[Event], int]:
    """Return the states of parameters, each in some layers, and what a step makes besides.

    They are the same however long the batch is. Last is how many temporaries there are, where it
    takes one parameter at a time.
    """
    states: list[Event] = []
    scratch: list[Event] = []
    largest: Parameter | None = None
    for p, copies in reached:
        shard = sharding.shard(p, sharding.optimizer)
        if sharding.masters:
            shard = shard._replace(dtype=FLOAT32)
        for what, elements, dtype in STATES[optim](shard):
            state = Parameter(p.name, 1, elements, dtype, False)
            states.append(made("optimizer", what, state, copies))
        if optim in ALL_AT_ONCE and not in_backward:
            scratch.append(made("optimizer", "temporary", shard, copies))
        if largest is None or shard.size > largest.size:
            largest = shard
    if optim not in ONE_AT_A_TIME or largest is None or in_backward:
        return states, scratch, 0
    scratch = [
        made("optimizer", "temporary", largest._replace(dtype=dtype))
        for dtype in temporaries(optim, largest.dtype)
    ]
    return states, scratch, len(scratch)
