"""What each optimizer keeps for a trainable tensor, and what it needs while it steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..tape import FLOAT32, INT4, UINT8, DType, Leaf, Tape, Tensor
from .parameter import Parameter

#: bitsandbytes: values that share one scale in a blockwise-quantised state (optim/optimizer.py).
BNB_BLOCK = 256
#: bitsandbytes: tensors with fewer values keep their states in 32 bit (min_8bit_size).
BNB_MIN_8BIT = 4096
#: bitsandbytes: tensors with fewer values are not paged (Optimizer8bit.get_state_buffer).
BNB_MIN_PAGED = 100_000


class State(NamedTuple):
    """A tensor that lives as long as the optimizer."""

    what: str
    elements: int
    dtype: DType


States = Callable[[Parameter], list[State]]


def none(parameter: Parameter) -> list[State]:
    """SGD without momentum keeps nothing."""
    return []


def two_moments(parameter: Parameter) -> list[State]:
    """Adam: two moments in the parameter's own dtype (torch/optim/adam.py)."""
    size = parameter.rows * parameter.width
    return [State("exp_avg", size, parameter.dtype), State("exp_avg_sq", size, parameter.dtype)]


def two_moments_fused(parameter: Parameter) -> list[State]:
    """Fused Adam also keeps its step count on the GPU."""
    return [*two_moments(parameter), State("step", 1, FLOAT32)]


def blockwise(moments: int) -> States:
    """Return 8-bit states of bitsandbytes: a byte a value, a scale a block.

    All parameters share the code books, of 1 KiB each.
    """

    def states(parameter: Parameter) -> list[State]:
        size = parameter.rows * parameter.width
        names = ("state1", "state2")[:moments]
        # transformers' Trainer has those of an embedding's weight kept in 32 bit
        is_table = "embed" in parameter.name and parameter.name.endswith(".weight")
        if size < BNB_MIN_8BIT or is_table:
            return [State(name, size, FLOAT32) for name in names]
        blocks = -(-size // BNB_BLOCK)
        return [
            state
            for name in names
            for state in (
                State(name, size, UINT8),
                State(f"{name} scales", blocks, FLOAT32),
            )
        ]

    return states


def torchao(dtype: DType, block: int) -> States:
    """Return torchao's quantised AdamW states: codes, a scale a block, a code book for each.

    A tensor that does not go up in blocks keeps both in its own dtype (``_new_buffer`` in
    torchao/optim/adam.py, 0.18).
    """
    code_book = {UINT8: 256, INT4: 16}[dtype]

    def states(parameter: Parameter) -> list[State]:
        size = parameter.rows * parameter.width
        moments = two_moments(parameter)
        if size >= BNB_MIN_8BIT and size % block == 0:
            moments = [
                State(f"{name}{what}", elements, kind)
                for name in ("exp_avg", "exp_avg_sq")
                for what, elements, kind in (
                    ("", size, dtype),
                    (" scales", size // block, FLOAT32),
                    (" code book", code_book, FLOAT32),
                )
            ]
        return [*moments, State("step", 1, FLOAT32)]

    return states


def thirty_two_bit(moments: int) -> States:
    """Return 32-bit states of bitsandbytes, whatever the parameter's dtype."""

    def states(parameter: Parameter) -> list[State]:
        size = parameter.rows * parameter.width
        return [State(name, size, FLOAT32) for name in ("state1", "state2")[:moments]]

    return states


def paged(states: States) -> States:
    """Return the states of a paged optimizer: large ones are CUDA managed memory.

    The driver moves those to the host when it must; PyTorch's allocator does not count them, and
    they never make a run fail. Scales are never paged.
    """

    def in_memory(parameter: Parameter) -> list[State]:
        small = parameter.size < BNB_MIN_PAGED
        return [state for state in states(parameter) if small or state.what.endswith("scales")]

    return in_memory


def factored(parameter: Parameter) -> list[State]:
    """Adafactor: a row and a column of second moments for a matrix (transformers' Adafactor)."""
    if parameter.rows == 1:
        return [State("exp_avg_sq", parameter.width, FLOAT32)]
    return [
        State("exp_avg_sq_row", parameter.rows, FLOAT32),
        State("exp_avg_sq_col", parameter.width, FLOAT32),
    ]


#: transformers' OptimizerNames -> its states.
STATES: dict[str, States] = {
    "adamw_torch": two_moments,
    "adamw_torch_fused": two_moments_fused,
    "adamw_8bit": blockwise(2),
    "adamw_bnb_8bit": blockwise(2),
    "adamw_torch_8bit": torchao(UINT8, 256),
    "adamw_torch_4bit": torchao(INT4, 128),
    "paged_adamw_8bit": paged(blockwise(2)),
    "paged_adamw_32bit": paged(thirty_two_bit(2)),
    "lion_8bit": blockwise(1),
    "lion_32bit": thirty_two_bit(1),
    "adafactor": factored,
    "sgd": none,
}

#: What a step makes and drops, in bytes an element: of all parameters at once (foreach AdamW's
#: square root of the second moments) or of one at a time (Adafactor's update, its square, and
#: float32 copies of a 16-bit weight and gradient; transformers/optimization.py).
ALL_AT_ONCE = {"adamw_torch"}
ONE_AT_A_TIME = {"adafactor"}


def temporaries(optim: str, dtype: DType) -> tuple[DType, ...]:
    """Return the dtypes of what a step makes, each of its size, to update a weight of `dtype`."""
    if optim in ALL_AT_ONCE:
        return (dtype,)
    if optim in ONE_AT_A_TIME:
        return (FLOAT32,) * (2 if dtype is FLOAT32 else 4)
    return ()


class UpdatedInBackward(Leaf):
    """A weight that the optimizer updates as soon as its gradient is there, which it then drops.

    Attributes
    ----------
    temporaries : tuple of DType
        What the update makes and drops: tensors of the gradient's size.
    """

    __slots__ = ("temporaries",)

    def __init__(self, temporaries: tuple[DType, ...]) -> None:
        super().__init__()
        self.temporaries = temporaries

    def take(self, grad: Tensor) -> None:
        """Update the weight."""
        update(grad.tape, grad.rows, grad.width, self.temporaries)


def update(tape: Tape, rows: int, width: int, temporaries: tuple[DType, ...]) -> None:
    """Make and drop what the optimizer needs to update one weight of this size."""
    made = [tape.new(rows, width, dtype, "temporary", "optimizer") for dtype in temporaries]
    del made
