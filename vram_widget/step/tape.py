"""The tape: tensors that have a size but no values, and the autograd that keeps them alive.

This is PyTorch's autograd in miniature. Code written against it (`ops`, the layers in `families`)
reads like the model's own; running it allocates nothing, but every allocation and release that
PyTorch would make is written to a log, in order. A tensor is released when Python drops the last
reference to it, exactly as PyTorch's is: so what a local variable, a graph node or a closure holds
is held here for the same time as it is there, and no operator has to say what it frees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: The CUDA caching allocator hands out multiples of 512 bytes (c10/cuda/CUDACachingAllocator).
BLOCK = 512


class DType(NamedTuple):
    """A type of number, by PyTorch's name: its bytes, and how many share them if it is packed."""

    name: str
    itemsize: int
    packed: int = 1


FLOAT64 = DType("float64", 8)
FLOAT32 = DType("float32", 4)
BFLOAT16 = DType("bfloat16", 2)
FLOAT16 = DType("float16", 2)
INT64 = DType("int64", 8)
INT32 = DType("int32", 4)
BOOL = DType("bool", 1)
UINT8 = DType("uint8", 1)
INT8 = DType("int8", 1)
FP8 = DType("float8", 1)
NF4 = DType("nf4", 1, packed=2)
INT4 = DType("int4", 1, packed=2)
MXFP4 = DType("mxfp4", 1, packed=2)
DTYPES = {dtype.name: dtype for dtype in (FLOAT32, BFLOAT16, FLOAT16)}


def rounded(nbytes: int) -> int:
    """Return `nbytes` as the allocator hands it out."""
    return -(-nbytes // BLOCK) * BLOCK


class Allocation:
    """One allocation of the log: what it was for. It outlives the tensor.

    `stream` is the CUDA stream that it is made in, by which the allocator keeps free blocks apart:
    none is the one that the model runs in.
    """

    __slots__ = (
        "component",
        "copies",
        "dtype",
        "nbytes",
        "operator",
        "rows",
        "stream",
        "what",
        "width",
    )

    def __init__(
        self,
        component: str,
        operator: str,
        what: str,
        rows: int,
        width: int,
        dtype: DType,
        nbytes: int,
    ) -> None:
        self.component = component
        self.operator = operator
        self.what = what
        self.rows = rows
        self.width = width
        self.dtype = dtype
        self.nbytes = nbytes
        self.stream = ""
        self.copies = 1  # how many layers the one that made it stands for

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and width; the width alone of a single row."""
        return (self.rows, self.width) if self.rows > 1 else (self.width,)


class Storage:
    """The bytes behind one or more tensors; releases itself when the last of them goes."""

    __slots__ = ("allocation", "log")

    def __init__(self, log: list[Event], allocation: Allocation) -> None:
        self.log = log
        self.allocation = allocation
        log.append((allocation.nbytes, allocation))

    @classmethod
    def taken_over(cls, log: list[Event], allocation: Allocation) -> Storage:
        """Return the bytes that another tape allocated, to be released on this one's log."""
        storage = cls.__new__(cls)
        storage.log, storage.allocation = log, allocation
        return storage

    def __del__(self) -> None:
        allocation = self.allocation
        self.log.append((-allocation.nbytes, allocation))


#: Bytes taken (positive) or given back (negative), and what they were for.
Event = tuple[int, Allocation]


class Tensor:
    """A tensor of `rows` x `width` elements: rows are tokens (times heads), width is features."""

    __slots__ = ("dtype", "is_view", "node", "rows", "storage", "tape", "width")

    def __init__(
        self,
        tape: Tape,
        rows: int,
        width: int,
        dtype: DType,
        storage: Storage | None,
        node: Node | Leaf | None = None,
    ) -> None:
        self.tape = tape
        self.rows = rows
        self.width = width
        self.dtype = dtype
        self.storage = storage
        self.node = node
        self.is_view = False


class Node:
    """One operator of the graph: it holds what it needs for backward until it has run."""

    __slots__ = ("backward", "component", "edges", "grad", "logged", "operator")

    def __init__(self, tape: Tape, edges: tuple[Node | Leaf | None, ...], backward: Backward):
        self.edges = edges
        self.backward = backward
        self.logged = len(tape.log)
        self.operator = tape.operator
        self.component = tape.component
        self.grad: Tensor | None = None
        tape.nodes.append(self)
        for edge in edges:
            if isinstance(edge, Leaf):
                edge.uses += 1

    def accumulate(self, grad: Tensor) -> None:
        """Take a gradient; a second one is added in place, as autograd's input buffer does.

        It adds to a tensor that nobody else holds, and makes the sum anew where somebody does
        (``InputBuffer::add``).
        """
        if self.grad is None:
            self.grad = grad
            return
        held = grad.tape.held_gradient
        if held is not None and self.grad.storage is held.storage:
            self.grad = grad.tape.new(grad.rows, grad.width, grad.dtype, "gradient")

    @property
    def keeps(self) -> bool:
        """Whether the operator keeps tensors: whether its backward function refers to any."""
        closure = getattr(self.backward, "__closure__", None) or ()
        return any(_holds_tensor(cell.cell_contents) for cell in closure)


def _holds_tensor(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_holds_tensor, value))
    return isinstance(value, Tensor)


Gradients = tuple[Tensor | None, ...]
Backward = Callable[[Tensor], Gradients]


class Boundary:
    """A place between two operators: what happens when backward gets there, and what is saved."""

    __slots__ = ("keeps", "reached")

    def __init__(self, tape: Tape, reached: Callable[[], None], keeps: object = None) -> None:
        self.reached = reached
        self.keeps = keeps
        tape.nodes.append(self)


class Leaf:
    """Where a trainable weight's gradient arrives (autograd's AccumulateGrad).

    It sums the gradients of all uses of the weight and hands the sum to `take`, which who shards
    gradients, or updates weights in backward, overrides.

    Attributes
    ----------
    uses : int
        Gradients that are still to come.
    grad : Tensor or None
        The gradient, until the optimizer steps.
    reached : bool
        Whether a gradient ever came: the optimizer passes over a weight that gets none.
    """

    __slots__ = ("arrived", "grad", "reached", "uses")

    #: Whether the gradient that comes first has bytes of its own, to which another can be added.
    owns_first = False

    def __init__(self) -> None:
        self.uses = 0
        self.arrived: Tensor | None = None
        self.grad: Tensor | None = None
        self.reached = False

    def accumulate(self, grad: Tensor) -> None:
        """Sum the gradients of all uses; take the sum when the last is there."""
        self.uses -= 1
        if self.arrived is None:
            self.arrived = grad
        elif self.arrived.is_view and not self.owns_first:
            # A tied weight: autograd adds in place only where it owns the first gradient's bytes.
            # A linear's is the transpose of a product, so the sum is a third tensor (seen in the
            # CPU allocator's own counts, PyTorch 2.13); autocast's cast makes one of its own.
            self.arrived = grad.tape.new(grad.rows, grad.width, grad.dtype, "gradient", "gradients")
        if self.uses == 0:
            self.reached = True
            self.take(self.arrived)
            self.arrived = None

    def take(self, grad: Tensor) -> None:
        """Keep the gradient, or add it in place to the one that an earlier pass left."""
        if self.grad is None:
            self.grad = grad

    def accumulate_onto(self, earlier: Leaf, weight: Tensor) -> None:
        """Add to the gradient of an earlier pass, whose bytes that pass has counted."""
        self.grad = Tensor(weight.tape, 1, 1, FLOAT32, None)


class Tape:
    """The log of one GPU's memory, and the graph that is being recorded.

    Attributes
    ----------
    log : list of (int, Allocation)
        Every allocation (positive bytes) and release (negative), in order.
    clock : float
        Seconds so far: nominal, from the FLOPs and the bytes moved.
    recording : bool
        Whether operators are recorded for backward (``torch.no_grad`` turns it off).
    rerunning : bool
        Whether backward is in what a checkpoint has run again.
    autocast : DType or None
        The dtype that matrix products are cast to, where autocast is on.
    post_accumulate_grad : list of (callable, Tensor)
        Hooks to run, each with its gradient, once autograd itself holds that no longer.
    outlasting : list of Tensor or None
        What operators keep until the whole graph goes; None where that is not kept.
    held_gradient : Tensor or None
        The gradient that a re-entrant checkpoint's backward was called with.
    """

    def __init__(self, flops: float, bandwidth: float, autocast: DType | None = None) -> None:
        self.log: list[Event] = []
        self.nodes: list[Node | Boundary] = []
        self.recording = True
        self.rerunning = False
        self.outlasting: list[Tensor] | None = []
        self.held_gradient: Tensor | None = None
        self.autocast = autocast
        self.casts: dict[int, Tensor] = {}
        self.post_accumulate_grad: list[tuple[Callable[[Tensor], None], Tensor]] = []
        self.operator = ""
        self.component = "activations"
        self.clock = 0.0
        self._seconds_per_flop = 1 / flops
        self._seconds_per_byte = 3 / bandwidth  # an elementwise operator reads two and writes one

    def new(
        self,
        rows: int,
        width: int,
        dtype: DType,
        what: str,
        component: str | None = None,
    ) -> Tensor:
        """Allocate a tensor."""
        nbytes = (rows * width * dtype.itemsize + BLOCK - 1) & -BLOCK  # BLOCK is a power of two
        self.clock += nbytes * self._seconds_per_byte
        allocation = Allocation(
            component or self.component, self.operator, what, rows, width, dtype, nbytes
        )
        return Tensor(self, rows, width, dtype, Storage(self.log, allocation))

    def work(self, flops: float) -> None:
        """Let the clock run for `flops` floating-point operations."""
        self.clock += flops * self._seconds_per_flop

    def record(
        self, out: Tensor, edges: tuple[Node | Leaf | None, ...], backward: Backward
    ) -> None:
        """Make `out` the result of an operator whose inputs came from `edges`."""
        out.node = Node(self, edges, backward)

    def backward(self, down_to: int = 0) -> None:
        """Run the recorded operators backwards, newest first, down to a mark in `nodes`."""
        nodes = self.nodes
        while len(nodes) > down_to:
            self._step_back(nodes.pop())

    def backward_of_rerun(self, first: int, start: int) -> None:
        """Run backward over what a checkpoint has just run again, from node `first` on.

        The run again begins only when an operator asks for a tensor that it saved: those behind the
        last such operator have run backwards by then, and never run forwards again (``early_stop``
        in torch/utils/checkpoint.py). So the log from `start` on is put in that order.
        """
        nodes, log, end = self.nodes, self.log, len(self.log)
        last = next((n for n in reversed(nodes[first:]) if isinstance(n, Node) and n.keeps), None)
        stopped = last.logged - 1 if last else start  # it stops before it makes its result
        while len(nodes) > first and nodes[-1] is not last:
            self._step_back(nodes.pop())
        behind = log[stopped:end]
        released = {allocation for nbytes, allocation in behind if nbytes < 0}
        never = {allocation for nbytes, allocation in behind if nbytes > 0} & released
        rerun = log[start:stopped] + [event for event in behind if event[1] not in never]
        log[start:] = log[end:] + rerun
        self.rerunning = True
        self.backward(down_to=first)
        self.rerunning = False

    def _step_back(self, node: Node | Boundary) -> None:
        if isinstance(node, Boundary):
            node.reached()
            return
        grad, node.grad = node.grad, None
        if grad is None:
            return
        self.operator, self.component = node.operator, node.component
        results = node.backward(grad)
        del grad, node.backward  # the engine releases both before it hands the results on
        for edge, result in zip(node.edges, results, strict=True):
            if edge is not None and result is not None:
                edge.accumulate(result)
        if self.post_accumulate_grad:
            del results, result
            while self.post_accumulate_grad:
                hook, gradient = self.post_accumulate_grad.pop(0)
                hook(gradient)
                del gradient
