"""From the names a checkpoint stores to the names of transformers' modules.

Checkpoints keep the names of the code that first saved them. transformers renames and fuses on
loading (its ``conversion_mapping``); the part of that which touches decoder layers is here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Mapping
from math import prod

from .quantized import Logical

#: Spellings within a layer, older to transformers' own. Each is tried where the stored name is
#: none of the module's: Mixtral and Phi-MoE, Granite MoE, Phi-MoE's and gpt-oss's router.
SPELLINGS = (
    (
        re.compile(r"^block_sparse_moe\.input_linear\.weight$"),
        "block_sparse_moe.experts.gate_up_proj",
    ),
    (
        re.compile(r"^block_sparse_moe\.output_linear\.weight$"),
        "block_sparse_moe.experts.down_proj",
    ),
    (re.compile(r"^block_sparse_moe\.router\.layer\."), "block_sparse_moe.router."),
    (re.compile(r"^block_sparse_moe\."), "mlp."),
    (re.compile(r"\.gate\.weight$"), ".router.weight"),
)

#: One expert of many: its number, and which of its projections.
_EXPERT = re.compile(
    r"(?P<stem>.*experts)\.(?P<number>\d+)\.(?P<part>gate_proj|up_proj|down_proj|w[123])\.weight"
)

#: The projections as Mixtral numbered them.
_NUMBERED = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}

#: Stored by some, made anew by transformers: no parameters.
_BUFFERS = (".inv_freq", ".masked_bias", ".attn.bias", ".cos_cached", ".sin_cached")


def is_buffer(name: str) -> bool:
    """Whether a stored tensor is a constant that the model computes for itself."""
    return name.endswith(_BUFFERS)


def fuse_experts(weights: Mapping[str, Logical]) -> dict[str, Logical]:
    """Return a layer's weights with its experts joined as transformers holds them.

    ``experts.<i>.gate_proj`` and ``up_proj``, each (inner, hidden), become one ``gate_up_proj``
    of (experts, 2 inner, hidden); ``down_proj`` one of (experts, hidden, inner). Experts without
    a gate keep an ``up_proj`` of their own.

    Examples
    --------
    >>> fuse_experts({f"mlp.experts.{i}.{part}.weight": shape for i in range(8)
    ...     for part, shape in (("w1", (14, 4)), ("w3", (14, 4)), ("w2", (4, 14)))})
    {'mlp.experts.gate_up_proj': (8, 28, 4), 'mlp.experts.down_proj': (8, 4, 14)}
    """
    parts: dict[str, dict[str, list[Logical]]] = defaultdict(lambda: defaultdict(list))
    fused: dict[str, Logical] = {}
    for name, shape in weights.items():
        expert = _EXPERT.fullmatch(name) if "experts." in name else None
        if expert is None:
            fused[name] = shape
        else:
            part = _NUMBERED.get(expert["part"], expert["part"])
            parts[expert["stem"]][part].append(shape)
    for stem, projections in parts.items():
        gates = projections.pop("gate_proj", [])
        if gates:
            both = gates + projections.pop("up_proj", [])
            fused[f"{stem}.gate_up_proj"] = _stack(both, len(gates))
        for part, shapes in projections.items():
            fused[f"{stem}.{part}"] = _stack(shapes, len(shapes))
    return fused


def _stack(shapes: list[Logical], count: int) -> Logical:
    """Return the shape of `count` equal matrices in one, several joined by rows in each."""
    first = shapes[0]
    equal = all(shape == first for shape in shapes)
    if not equal or isinstance(first, int) or len(first) != 2 or len(shapes) % count:
        return sum(shape if isinstance(shape, int) else prod(shape) for shape in shapes)
    return (count, len(shapes) // count * first[0], first[1])


def spelled(name: str, expected: Container[str]) -> str:
    """Return the module's spelling of a name within a layer, or the name as it is.

    Examples
    --------
    >>> spelled("block_sparse_moe.gate.weight", {"mlp.gate.weight"})
    'mlp.gate.weight'
    """
    candidates = [name]
    for older, newer in SPELLINGS:
        candidates += [older.sub(newer, candidate) for candidate in candidates]
    return next((candidate for candidate in candidates if candidate in expected), name)
