"""Lays a checkpoint's stored shapes over the architecture that its config.json implies.

What is stored wins, and every difference becomes a notice.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import prod

from ..step.architecture import Architecture
from ..step.decoder import LayerGroup
from ..step.methods.parameter import Shape
from .checkpoint import Checkpoint
from .quantized import Logical, logical
from .stored_names import fuse_experts, is_buffer, spelled

#: Parts that predict further tokens: in the files, not built by transformers.
_FURTHER = re.compile(r"(?:^|\.)(?:mtp|nextn|eh_proj|enorm|hnorm)\b")

#: Parts that see or hear, in a model whose config.json describes such a part.
_TOWER = re.compile(r"vision|visual|audio|image|multi_modal|projector")

#: What other code calls the lm_head.
_HEADS = ("lm_head", "language_model.lm_head", "embed_out", "output")

Stored = dict[str, Logical]


def reconcile(architecture: Architecture, checkpoint: Checkpoint) -> Architecture:
    """Return the architecture with the shapes that the checkpoint stores.

    Stored names are read as transformers does on loading: prefixes differ, experts stored one by
    one are joined, packed weights stand for the shape they had, a tied lm_head is absent.

    Parameters
    ----------
    architecture : Architecture
        As config.json implies it.
    checkpoint : Checkpoint
        As it is stored; without tensors only its notices are added.

    Returns
    -------
    Architecture
        With a notice for each difference: other shapes, a padded vocabulary, tensors that are no
        part of the model that is trained, weights that are not in the files.

    Examples
    --------
    >>> from vram_widget.families import from_config
    >>> config = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    ...     "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}
    >>> tiny = from_config(config)
    >>> stored = {name: (shape, "BF16") for name, shape in tiny.weights()}
    >>> found = reconcile(tiny, Checkpoint(config, stored))
    >>> found.layers == tiny.layers, found.notices
    (True, ())
    """
    differences = _Differences()
    unread = checkpoint.quantization is None and "quantization_config" in checkpoint.config
    if not checkpoint.tensors or unread:
        return replace(architecture, notices=(*architecture.notices, *checkpoint.notices))
    weights = logical(checkpoint.tensors, checkpoint.quantization, checkpoint.config)
    stored: Stored = {name: shape for name, shape in weights.items() if not is_buffer(name)}
    layers, stem, rest = _by_layer(architecture, stored)
    groups = tuple(_groups(architecture, layers, differences))
    outside = _outside(architecture, rest, stem, differences)
    notices, towers = _towers(architecture, checkpoint, rest, differences)
    for name, shape in rest.items():
        (differences.further if _FURTHER.search(name) else differences.extra)[name] = shape
    return replace(
        architecture,
        config={**architecture.config, "vocab_size": _rows(architecture, outside, differences)},
        layers=groups,
        outside=outside,
        towers=towers,
        notices=(*notices, *checkpoint.notices, *differences.notices()),
    )


def _by_layer(architecture: Architecture, stored: Stored) -> tuple[dict[int, Stored], str, Stored]:
    """Return the decoder layers' weights by number, the stem they stand on, and all others.

    Several parts of a model may have layers; the decoder's are those most like what is expected.
    """
    layers = f".{architecture.layers_name.rpartition('.')[2]}."
    expected = {name for group in architecture.layers for name in group.weights}
    found: dict[str, dict[int, Stored]] = defaultdict(lambda: defaultdict(dict))
    names: dict[str, list[str]] = defaultdict(list)
    for name, shape in stored.items():
        stem, _, within = f".{name}".partition(layers)
        number, _, weight = within.partition(".")
        if number.isdecimal() and len(number) < 6 and weight:
            found[stem[1:]][int(number)][weight] = shape
            names[stem[1:]].append(name)

    def likeness(stem: str) -> int:
        first = fuse_experts(found[stem][min(found[stem])])
        return sum(spelled(name, expected) in expected for name in first)

    if not found:
        return {}, architecture.layers_name.rpartition(".")[0], dict(stored)
    stem = max(found, key=lambda stem: (likeness(stem), len(found[stem])))
    taken = set(names[stem])
    rest = {name: shape for name, shape in stored.items() if name not in taken}
    return {number: fuse_experts(layer) for number, layer in found[stem].items()}, stem, rest


def _groups(
    architecture: Architecture, layers: dict[int, Stored], differences: _Differences
) -> Iterator[LayerGroup]:
    """Yield the groups of layers, split where layers that should be alike are stored unlike."""
    number = 0
    for group in architecture.layers:
        settled = []
        for _ in range(group.count):
            layer = layers.pop(number, {})
            have = {spelled(name, group.weights): shape for name, shape in layer.items()}
            settled.append(
                {
                    name: differences.settle(f"layers.*.{name}", shape, have.pop(name, None))
                    for name, shape in group.weights.items()
                }
            )
            differences.extra |= {f"layers.{number}.{name}": shape for name, shape in have.items()}
            number += 1
        for weights, alike in groupby(settled):
            same = group.weights if weights == group.weights else weights
            yield replace(group, count=len(list(alike)), weights=same)
    for number, layer in layers.items():
        differences.further |= {f"layers.{number}.{name}": shape for name, shape in layer.items()}


def _outside(
    architecture: Architecture, rest: Stored, stem: str, differences: _Differences
) -> dict[str, Shape]:
    """Return the weights outside the layers, and take them from the rest."""
    own_stem, head = architecture.layers_name.rpartition(".")[0], architecture.lm_head_name
    outside = {}
    for name, shape in architecture.outside.items():
        if name.startswith(f"{head}."):
            spellings = [f"{other}.{name.removeprefix(f'{head}.')}" for other in _HEADS]
        else:
            bare = name.removeprefix(f"{own_stem}.")
            spellings = [f"{stem}.{bare}" if stem else bare]
        stored = next((other for other in (name, *spellings) if other in rest), None)
        outside[name] = differences.settle(name, shape, rest.pop(stored) if stored else None)
    if architecture.tie_word_embeddings:
        for other in _HEADS:
            rest.pop(f"{other}.weight", None)  # the embedding, stored a second time
    return outside


def _towers(
    architecture: Architecture, checkpoint: Checkpoint, rest: Stored, differences: _Differences
) -> tuple[tuple[str, ...], Mapping[str, Shape]]:
    """Return the notices that still hold and the other towers, as stored where they are."""
    described = any(part in checkpoint.config for part in ("vision_config", "audio_config"))
    names = [name for name in rest if described and _TOWER.search(name)]
    if not names:
        return architecture.notices, architecture.towers
    shapes = {name: rest.pop(name) for name in names}
    towers = {name: (s,) if isinstance(s, int) else s for name, s in shapes.items()}
    implied, found = (sum(map(prod, held.values())) for held in (architecture.towers, towers))
    if implied == found:
        return architecture.notices, architecture.towers
    if implied:
        differences.towers = (implied, found)
    # Without dimensions of its own a tower is noted as not counted; now it is.
    still = tuple(word for word in architecture.notices if not word.endswith("are not counted."))
    return still, towers


def _rows(
    architecture: Architecture, outside: Mapping[str, Shape], differences: _Differences
) -> int:
    """Return the rows of the token embedding as stored."""
    embedding = outside.get(f"{architecture.embedding_name}.weight")
    rows = embedding[0] if embedding else architecture.vocab_size
    if rows != architecture.vocab_size:
        differences.vocabulary = (rows, architecture.vocab_size)
    return rows


@dataclass
class _Differences:
    """What is stored otherwise than config.json implies."""

    changed: Counter[tuple[str, Shape, Shape]] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    extra: Stored = field(default_factory=dict)
    further: Stored = field(default_factory=dict)
    vocabulary: tuple[int, int] | None = None
    towers: tuple[int, int] | None = None

    def settle(self, name: str, implied: Shape, stored: Logical | None) -> Shape:
        """Return the shape that holds: the stored one, where it says one."""
        if stored is None:
            self.missing[name] += 1
        elif isinstance(stored, int):
            # Packed in pairs: an odd number of elements is stored with one more.
            if stored not in (prod(implied), prod(implied) + 1):
                self.changed[name, implied, (stored,)] += 1
        elif prod(stored) != prod(implied):
            self.changed[name, implied, stored] += 1
            return stored if len(stored) == len(implied) else implied
        return implied

    def notices(self) -> Iterator[str]:
        """Yield a sentence for each kind of difference."""
        if self.vocabulary:
            rows, words = self.vocabulary
            yield f"The token embedding has {rows:,} rows for the {words:,} of config.json."
        changed = [
            (name, implied, stored, count)
            for (name, implied, stored), count in self.changed.items()
            if not (self.vocabulary and implied[0] == self.vocabulary[1])
        ]
        for name, implied, stored, count in changed[:3]:
            where = f" in {count} layers" if count > 1 else ""
            yield f"{name} is stored as {stored} where config.json implies {implied}{where}."
        if len(changed) > 3:
            yield f"{len(changed) - 3} more weights are stored in other shapes."
        if self.towers:
            implied_total, found = self.towers
            yield f"The other towers hold {found:,} parameters, not {implied_total:,}."
        for tensors, what in (
            (self.further, "heads for further tokens, which are not trained"),
            (self.extra, "no part of the model that is trained"),
        ):
            if tensors:
                total = sum(s if isinstance(s, int) else prod(s) for s in tensors.values())
                yield (
                    f"{len(tensors)} stored tensors with {total:,} parameters are {what}, "
                    f"such as {next(iter(tensors))[:120]}."
                )
        if self.missing:
            total = sum(self.missing.values())
            yield (
                f"{total} weights that config.json implies are not in the files, such as "
                f"{next(iter(self.missing))}; they are counted all the same."
            )
