"""Return views of a tensor, copies in another order, and what puts parts together."""

from __future__ import annotations

from collections.abc import Sequence

from ..tape import Gradients, Tensor
from .recorded import follows, passes


def reshape(x: Tensor, rows: int, width: int) -> Tensor:
    """Return the same tensor seen in another shape."""
    return Tensor(x.tape, rows, width, x.dtype, x.storage, x.node)


def view_of(weight: Tensor) -> Tensor:
    """Return a view of a weight, such as its transpose."""
    view = Tensor(weight.tape, weight.rows, weight.width, weight.dtype, weight.storage, weight.node)
    view.is_view = True
    return view


def transpose(x: Tensor) -> Tensor:
    """Return x seen with its rows as features, and its features as rows."""
    view = view_of(x)
    view.rows, view.width = x.width, x.rows
    return view


def part(x: Tensor, width: int) -> Tensor:
    """Return a view of some of x's features; its gradient is x's size, zero elsewhere."""
    return follows(Tensor(x.tape, x.rows, width, x.dtype, x.storage), x)


def copied_part(x: Tensor, width: int) -> Tensor:
    """Return some of x's features as a tensor of their own (indexing with a list)."""
    return follows(x.tape.new(x.rows, width, x.dtype, "part"), x)


def split(x: Tensor, parts: int) -> list[Tensor]:
    """Return views of equal shares of x's features; their gradients are put together again."""
    return _views(x, [x.width // parts] * parts)


def split_widths(x: Tensor, *widths: int) -> list[Tensor]:
    """Return views of shares of x's features; their gradients are put together again."""
    return _views(x, widths)


def _views(x: Tensor, widths: Sequence[int]) -> list[Tensor]:
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    held: list[Tensor] = []
    views = []
    for number, view_width in enumerate(widths):
        view = Tensor(tape, rows, view_width, dtype, x.storage)
        views.append(view)
        if tape.recording and x.node is not None:

            def backward(grad: Tensor, last: bool = number == 0) -> Gradients:
                held.append(grad)
                if not last:
                    return (None,)
                full = tape.new(rows, width, dtype, "gradient")
                held.clear()
                return (full,)

            tape.record(view, (x.node,), backward)
    return views


def first_rows(x: Tensor, parts: int) -> list[Tensor]:
    """Return views of the first two of equal shares of x's rows, which stand for all of them.

    Backward comes to the first share last: until then the gradients of all the others wait.
    """
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    share = -(-rows // parts)
    if share >= rows:
        return [x]
    first, other = (Tensor(tape, share, width, dtype, x.storage) for _ in range(2))
    if tape.recording and x.node is not None:
        waiting: list[Tensor] = []

        def of_the_first(grad: Tensor) -> Gradients:
            full = tape.new(rows, width, dtype, "gradient")
            waiting.clear()
            return (full,)

        def of_the_others(grad: Tensor) -> Gradients:
            waiting.append(tape.new(rows - share, width, dtype, "gradient"))
            return (None,)

        tape.record(first, (x.node,), of_the_first)
        tape.record(other, (x.node,), of_the_others)
    return [first, other]


def tensor_split(x: Tensor, parts: int) -> list[Tensor]:
    """Return views of equal shares of x's rows, whose gradients are each as large as x."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    shares = [rows // parts + (part < rows % parts) for part in range(parts)]
    views = [Tensor(tape, share, width, dtype, x.storage) for share in shares if share]
    if tape.recording and x.node is not None:
        for view in views:
            tape.record(view, (x.node,), lambda grad: (tape.new(rows, width, dtype, "gradient"),))
    return views


def cat(*parts: Tensor) -> Tensor:
    """Concatenate features; the parts' gradients are views of its own."""
    first = parts[0]
    tape, rows, dtype = first.tape, first.rows, first.dtype
    out = tape.new(rows, sum(p.width for p in parts), dtype, "concatenated")
    if tape.recording and any(p.node is not None for p in parts):
        widths = [p.width for p in parts]

        def backward(grad: Tensor) -> Gradients:
            return tuple(Tensor(tape, rows, w, dtype, grad.storage) for w in widths)

        tape.record(out, tuple(p.node for p in parts), backward)
    return out


def contiguous(x: Tensor) -> Tensor:
    """Copy into the order of memory that follows; the gradient passes through as a view."""
    return passes(x.tape.new(x.rows, x.width, x.dtype, "copy"), x)


def repeat_heads(x: Tensor, width: int, head_dim: int) -> Tensor:
    """Repeat key or value heads for their queries (``repeat_kv``); sums their gradients.

    One head is only looked at several times; several have to be copied.
    """
    if x.width == width:
        return x
    if x.width == head_dim:
        return follows(Tensor(x.tape, x.rows, width, x.dtype, x.storage), x)
    return copy_heads(x, width)


def copy_heads(x: Tensor, width: int) -> Tensor:
    """Copy key or value heads, once for each of their queries."""
    return follows(x.tape.new(x.rows, width, x.dtype, "repeated heads"), x)
