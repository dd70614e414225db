"""FSDP as Accelerate prepares it: the tables outside the layers are groups of their own.

``fsdp2_prepare_model`` (accelerate 1.15, utils/fsdp_utils.py) shards the token embedding by itself,
which is resharded once it has run, and the last norm with lm_head, which stay unsharded from their
forward to their backward. Tied, all three are one group, unsharded throughout. In a PeftModel it
finds no norm (``_find_final_norm``), which the root then holds.
"""

from __future__ import annotations

from ..layer import Layer
from ..methods.full import EMBEDDINGS, kind
from .fsdp2 import FullyShard, Group


class TablesApart(FullyShard):
    """The communication of the layers' groups, the embedding's, lm_head's and the root's.

    Attributes
    ----------
    root, embedding, tail : Group
        What lies outside the layers. A tied embedding is in `tail`.
    starts_backward : bool
        Whether backward has yet to come to `tail`, and to prefetch the last layer.
    """

    root: Group | None = None
    embedding: Group
    tail: Group
    starts_backward = False

    def pre_forward(self, layer: Layer | Group) -> None:
        """Unshard a layer; what is first lies outside the layers: the root and the embedding."""
        if self.root is not None:
            super().pre_forward(layer)
            return
        assert isinstance(layer, Layer)
        self._split(layer)
        assert self.root is not None
        first = self.embedding if self.embedding.parameters else self.tail
        for group in (self.root, first):
            if group.parameters:
                super().pre_forward(group)

    def _split(self, outside: Layer) -> None:
        adapts, tied = not outside.method.trains_base, True
        parts: dict[str, list[str]] = {"root": [], "embedding": [], "tail": []}
        for p in outside.parameters:
            words = set(p.name.split("."))
            if words & EMBEDDINGS:
                parts["embedding"].append(p.name)
            elif kind(p.name) == "lm_head":
                parts["tail"].append(p.name)
                tied = False
            else:
                is_norm = kind(p.name) == "norm" and not adapts
                parts["tail" if is_norm else "root"].append(p.name)
        if tied:
            parts["tail"] += parts["embedding"]
            parts["embedding"] = []
        self.root, self.embedding, self.tail = (
            Group([p for p in outside.parameters if p.name in names], outside.weights)
            for names in parts.values()
        )

    def layers_pre_forward(self) -> None:
        """Reshard the embedding, which has run."""
        if self.embedding.parameters:
            self.post_forward(self.embedding)

    def layers_post_forward(self) -> None:
        """Unshard the last norm and lm_head, where they are not tied to the embedding."""
        if self.tail.unsharded is None:
            super().pre_forward(self.tail)
        self.post_forward_order.append(self.tail)

    def root_pre_backward(self, outside: Layer) -> None:
        """End forward."""
        self._free_all_gather()
        self.starts_backward = True

    def lm_head_pre_backward(self) -> None:
        """Prefetch the last layer."""
        if self.starts_backward:
            self.starts_backward = False
            self.post_forward_order.pop()
            self._prefetch()

    def layers_pre_backward(self) -> None:
        """Reshard the last norm and lm_head, and reduce their gradients."""
        self.lm_head_pre_backward()
        if self.embedding.parameters:
            self._post_backward(self.tail)

    def layers_post_backward(self) -> None:
        """Copy out the embedding, which was prefetched, where a gradient has come to it."""
        if self.embedding.parameters and not self.without_input_grad:
            self.pre_backward(self.embedding)

    def root_post_backward(self, outside: Layer) -> None:
        """Reduce what is left: the groups whose inputs take no gradient, the outermost first."""
        assert self.root is not None
        last = self.embedding if self.embedding.parameters else self.tail
        for group in (self.root, last):
            if group.parameters:
                self._post_backward(group)
        self._free_all_gather()
        self.post_forward_order.clear()
        self._end_backward()
