"""One process's model over several cards: which layers each holds (``device_map="balanced"``).

transformers 5.23 places the modules in their order (``get_balanced_memory`` and
``infer_auto_device_map`` in integrations/accelerate.py, after Accelerate's): each card but the last
takes an equal share of the bytes and a buffer, the first leaves room for the largest module that is
still to come, and a decoder layer is never split. The embedding is so on the first card. The last
norm, the lm_head, the logits and the loss are on the last that is needed, or on the first where
the lm_head is tied to the embedding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import NamedTuple

from ..errors import ConfigError
from .architecture import Architecture
from .decoder import LayerGroup
from .methods.parameter import Shape
from .methods.qlora import QLoRA
from .run import Run
from .tape import DTYPES

#: A card takes so much more than its share as the largest module has, this many times.
BUFFER = 1.25
#: What bitsandbytes' quantisation leaves of a card for weights (``adjust_max_memory``).
WHILE_QUANTIZING = 0.9
#: Bytes of an element of a quantised linear (``param_element_size``).
QUANTIZED = {"nf4": 0.5, "int8": 1}


class Module(NamedTuple):
    """A module as it is placed: its name, its bytes, and what it can be split into."""

    name: str
    nbytes: float
    children: tuple[Module, ...] = ()

    def unsplit(self) -> Iterable[Module]:
        """Yield what is placed on one card: this, or what it is split into."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.unsplit()


@lru_cache(maxsize=64)
def cards(run: Run) -> tuple[Run, ...]:
    """Return what each card runs, in the order of the layers; `run` itself where it has one.

    Cards that hold the same are the same run. One that gets nothing is left out.

    Raises
    ------
    ConfigError
        Where the layers take inputs of their own beside the hidden state.
    """
    if run.cards == 1:
        return (run,)
    model = run.architecture
    if model.family.per_layer_inputs:
        raise ConfigError(
            f"A model split is not estimated for {model.model_type}: its layers take inputs of "
            "their own."
        )
    where = placed(modules(run), run.cards, run.settings.training_method == "qlora")
    layers = [group for group in model.layers for _ in range(group.count)]
    on: dict[int, list[LayerGroup]] = {where[model.embedding_name]: []}
    for index, group in enumerate(layers):
        on.setdefault(where[f"{model.layers_name}.{index}"], []).append(group)
    head = where[model.embedding_name if model.tie_word_embeddings else model.lm_head_name]
    on.setdefault(head, [])
    parts: dict[tuple[tuple[tuple[int, int], ...], bool, bool], Run] = {}
    found = []
    for card in sorted(on):
        alike = [(group, len(list(same))) for group, same in groupby(on[card], key=id)]
        groups = {id(group): group for group in on[card]}
        key = tuple(alike), card == 0, card == head
        if key not in parts:
            held = tuple(replace(groups[each], count=count) for each, count in alike)
            parts[key] = _part(run, held, card == 0, card == head)
        found.append(parts[key])
    return tuple(found)


def _part(run: Run, layers: tuple[LayerGroup, ...], first: bool, last: bool) -> Run:
    """Return the run of a card that holds some layers, and what lies before or behind them."""
    model = run.architecture
    outside = {
        name: shape
        for name, shape in model.outside.items()
        if (last if _is_behind(model, name) else first)
    }
    held = replace(model, layers=layers, outside=outside, towers=model.towers if first else {})
    return replace(run, architecture=held, cards=1, has_embedding=first, has_lm_head=last)


def _is_behind(model: Architecture, name: str) -> bool:
    """Return whether a weight outside the layers is used behind them."""
    return name.startswith((f"{model.norm_name}.", f"{model.lm_head_name}."))


def modules(run: Run) -> tuple[Module, ...]:
    """Return a model's modules in their order, as far as they can be split."""
    model = run.architecture
    own = [(each, shape) for each, shape in model.outside.items() if not _is_behind(model, each)]
    before = [*model.towers.items(), *own]
    behind = [(each, shape) for each, shape in model.outside.items() if _is_behind(model, each)]
    layers = tuple(
        Module(f"{model.layers_name}.{index}", sizes)
        for index, sizes in enumerate(
            _nbytes(run, group, group.oriented.items())
            for group in model.layers
            for _ in range(group.count)
        )
    )
    base = (
        *_leaves(run, before),
        Module(model.layers_name, sum(layer.nbytes for layer in layers), layers),
        *_leaves(run, [each for each in behind if not each[0].startswith(model.lm_head_name)]),
    )
    head = [each for each in behind if each[0].startswith(model.lm_head_name)]
    name = model.layers_name.partition(".")[0]
    return (Module(name, sum(each.nbytes for each in base), base), *_leaves(run, head))


def _leaves(run: Run, weights: Iterable[tuple[str, Shape]]) -> tuple[Module, ...]:
    sizes: dict[str, float] = {}
    for name, shape in weights:
        module = name.rpartition(".")[0]
        sizes[module] = sizes.get(module, 0) + _nbytes(run, None, [(name, shape)])
    return tuple(Module(name, nbytes) for name, nbytes in sizes.items())


def _nbytes(run: Run, group: LayerGroup | None, weights: Iterable[tuple[str, Shape]]) -> float:
    """Return the bytes of weights as they are loaded, without a quantised one's scales."""
    method, settings = run.method(group), run.settings
    stored = DTYPES[settings.param_dtype].itemsize
    total = 0.0
    for name, shape in weights:
        quantized = isinstance(method, QLoRA) and method.is_linear(name.removesuffix(".weight"))
        size = QUANTIZED.get(settings.quantization, 0.5) if quantized else stored
        total += size * prod(shape)
    return total


def placed(tree: tuple[Module, ...], num_cards: int, quantizes: bool) -> dict[str, int]:
    """Return the card of each module that is not split.

    Examples
    --------
    >>> layers = tuple(Module(f"layers.{index}", 8) for index in range(4))
    >>> tree = (Module("embed", 4), Module("layers", 32, layers), Module("head", 4))
    >>> placed(tree, 2, quantizes=False)
    {'embed': 0, 'layers.0': 0, 'layers.1': 0, 'layers.2': 1, 'layers.3': 1, 'head': 1}
    """
    pieces = [piece for module in tree for piece in module.unsplit()]
    share = sum(piece.nbytes for piece in pieces) // num_cards
    limit = share + int(BUFFER * max(piece.nbytes for piece in pieces))
    limit *= WHILE_QUANTIZING if quantizes else 1
    where: dict[str, int] = {}
    left, card, used = list(tree), 0, 0.0
    while left:
        module = left.pop(0)
        coming = [piece.nbytes for each in left for piece in each.unsplit()]
        room = limit - (max(coming, default=0) if card == 0 else 0)
        if card == num_cards - 1 or used + module.nbytes <= room:
            used += module.nbytes
            where |= {piece.name: card for piece in module.unsplit()}
        elif module.children:
            left = [*module.children, *left]
        else:
            left = [module, *left]
            card, used = card + 1, 0.0
    return where
