"""What each component is made of, in a few words: the "why" beside a figure."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from ..config import TrainingConfig
from ..show.result import Result
from ..step.timeline import COMPONENTS
from ..trainers import TRAINERS
from ..units import quantity
from .explain import Node


def no_sync(config: TrainingConfig) -> bool:
    """Whether FSDP leaves gradients unsharded from pass to pass (``accelerator.no_sync``)."""
    return (
        config.num_gpus > 1
        and config.sharding in ("fsdp", "hsdp")
        and config.gradient_accumulation_steps > 1
        and not config.sync_each_batch
        and TRAINERS[config.trainer].reduces_gradients_in_last_pass
    )


def notes(result: Result, tree: Node) -> dict[str, str]:
    """Return a line for each component at the moment that `tree` explains.

    Parameters
    ----------
    result : Result
        What is estimated.
    tree : Node
        Its explanation at a moment.
    """
    there = {component.name: component for component in tree.children}
    say = {
        "parameters": _parameters,
        "optimizer": _optimizer,
        "gradients": _gradients,
        "activations": _activations,
        "outputs": _outputs,
        "overhead": _overhead,
    }
    lines = {}
    for name in COMPONENTS:
        if name not in there:
            lines[name] = "none at this moment"
        elif name in say:
            lines[name] = say[name](result, there[name])
        else:
            lines[name] = _largest(there[name])
    return lines


def leaves(node: Node) -> Iterable[Node]:
    """Yield the tensors below a node."""
    if not node.children:
        yield node
    for child in node.children:
        yield from leaves(child)


def _parameters(result: Result, node: Node) -> str:
    by_dtype: dict[str, int] = {}
    for leaf in leaves(node):
        by_dtype[leaf.dtype] = by_dtype.get(leaf.dtype, 0) + leaf.bytes
    dtype = max(by_dtype, key=lambda name: by_dtype[name])
    words = f"{quantity(result.num_parameters)} weights, {dtype}"
    if result.config.adapts:
        words += f"; {quantity(result.num_trainable)} in adapters"
    if result.config.training_method == "osft":
        words += "; targets as U, S and V"
    return words


def _optimizer(result: Result, node: Node) -> str:
    label = result.config.fields()["optim"].metadata["options"][result.config.optim]
    names = {leaf.name for leaf in leaves(node)}
    moments = len(names & {"exp_avg", "exp_avg_sq", "state1", "state2"})
    words = f"{label} on {quantity(result.num_trainable)} weights"
    if moments:
        words += f", {moments} moment{'s' if moments > 1 else ''}"
    return words + (" and a temporary" if "temporary" in names else "")


def _gradients(result: Result, node: Node) -> str:
    dtype = max(leaves(node), key=lambda leaf: leaf.bytes).dtype
    words = f"of {quantity(result.num_trainable)} trained weights, {dtype}"
    return words + ("; unsharded until the last pass (no_sync)" if no_sync(result.config) else "")


def _activations(result: Result, node: Node) -> str:
    hidden = next((leaf for leaf in leaves(node) if leaf.name == "hidden state"), None)
    if hidden is not None and hidden.bytes > node.bytes / 2:
        shape = " × ".join(f"{size:,}" for size in hidden.shape)  # of one token, its width alone
        return f"{hidden.count:,} checkpointed inputs, {shape} {hidden.dtype}"
    return _largest(node)


def _outputs(result: Result, node: Node) -> str:
    vocabulary = result.architecture.vocab_size
    logits = [leaf for leaf in leaves(node) if leaf.shape[-1:] == (vocabulary,)]
    if not logits:
        return _largest(node)
    copies = sum(leaf.count for leaf in logits)
    rows = prod(max(logits, key=lambda leaf: leaf.bytes).shape[:-1])
    times = f", {copies:,} copies" if copies > 1 else ""
    return f"{rows:,} × {vocabulary:,} logits{times}"


def _overhead(result: Result, node: Node) -> str:
    nccl = ", NCCL's buffers" if result.config.num_processes > 1 else ""
    return f"the CUDA context{nccl}, and what the allocator keeps for later"


def _largest(node: Node) -> str:
    operator = node.children[0]
    leaf = operator.children[0] if operator.children else operator
    return f"largest: {operator.name}, {leaf.label}"
