"""Every byte explained: component -> operator -> tensor, as a tree that shows itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..step.timeline import COMPONENTS
from ..units import amount


@dataclass(repr=False)
class Node:
    """A part of the memory, and what it is made of.

    Attributes
    ----------
    name : str
        The component, the operator or the tensor.
    bytes : int
        The sum over its children, where it has any.
    count : int
        How many such tensors there are (a tensor only).
    shape : tuple of int
        Elements of one of them (a tensor only).
    dtype : str
        Their dtype (a tensor only).
    """

    name: str
    bytes: int = 0
    children: list[Node] = field(default_factory=list)
    count: int = 1
    shape: tuple[int, ...] = ()
    dtype: str = ""

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self, depth: int = 0) -> Iterator[str]:
        yield f"{'  ' * depth}{amount(self.bytes):>11}  {self.label}"
        for child in self.children:
            yield from child._lines(depth + 1)

    @property
    def label(self) -> str:
        """The name, and for a tensor its count, shape and dtype."""
        if not self.dtype:
            return self.name
        shape = " × ".join(f"{size:,}" for size in self.shape)
        times = f"{self.count:,} × " if self.count > 1 else ""
        return f"{self.name}: {times}[{shape}] {self.dtype}"

    def _repr_html_(self) -> str:
        return f'<div style="font-variant-numeric:tabular-nums">{self._html(opened=True)}</div>'

    def _html(self, opened: bool = False) -> str:
        from html import escape

        head = f"<b>{amount(self.bytes)}</b> {escape(self.label)}"
        if not self.children:
            return f'<div style="margin-left:1.2em">{head}</div>'
        inside = "".join(child._html() for child in self.children)
        return (
            f'<details style="margin-left:1.2em"{" open" if opened else ""}>'
            f"<summary>{head}</summary>{inside}</details>"
        )


Tensor = tuple[str, str, str, tuple[int, ...], str, int, int]


def tree(tensors: Iterable[Tensor]) -> Node:
    """Return the tree of (component, operator, tensor, shape, dtype, count, bytes) rows."""
    components: dict[str, dict[str, dict[tuple[str, tuple[int, ...], str], Node]]] = {}
    for component, operator, name, shape, dtype, count, nbytes in tensors:
        inside = components.setdefault(component, {}).setdefault(operator, {})
        node = inside.setdefault((name, shape, dtype), Node(name, 0, [], 0, shape, dtype))
        node.count += count
        node.bytes += nbytes
    branches = [
        _branch(component, [_branch(op, leaves.values()) for op, leaves in operators.items()])
        for component, operators in sorted(
            components.items(), key=lambda item: COMPONENTS.index(item[0])
        )
    ]
    return _branch("memory of one GPU", branches, in_order=True)


def _branch(name: str, children: Iterable[Node], in_order: bool = False) -> Node:
    nodes = [child for child in children if child.bytes]
    if not in_order:
        nodes.sort(key=lambda child: -child.bytes)
    return Node(name, sum(child.bytes for child in nodes), nodes)
