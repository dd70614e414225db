"""Operators: what each makes, what each keeps for backward, and its scratch space.

Each is PyTorch's operator of the same name, with the backward of its derivative formula
(tools/autograd/derivatives.yaml, torch/csrc/autograd/FunctionsManual.cpp): the tensors that a
backward function refers to are the ones PyTorch saves, and the ones it makes are its temporaries.
"""

from .checkpoint import checkpoint
from .elementwise import (
    activation,
    add,
    add_mask,
    divide,
    dropout,
    log_softmax,
    mean,
    mul,
    neg,
    nll_loss,
    rsqrt,
    scale,
    sigmoid,
    softmax,
    square,
    sub,
    tanh,
    to,
    wider,
)
from .kernels import layer_norm, liger_gated, liger_rms_norm, liger_rotate
from .products import (
    add_bias,
    cast_weight,
    embedding,
    fused_attention,
    linear,
    matmul,
    quantized_linear,
)
from .recorded import detach, follows, passes, require_grad
from .views import cat, contiguous, first_rows, part, repeat_heads, reshape, split, split_widths

__all__ = [
    "activation",
    "add",
    "add_bias",
    "add_mask",
    "cast_weight",
    "cat",
    "checkpoint",
    "contiguous",
    "detach",
    "divide",
    "dropout",
    "embedding",
    "first_rows",
    "follows",
    "fused_attention",
    "layer_norm",
    "liger_gated",
    "liger_rms_norm",
    "liger_rotate",
    "linear",
    "log_softmax",
    "matmul",
    "mean",
    "mul",
    "neg",
    "nll_loss",
    "part",
    "passes",
    "quantized_linear",
    "repeat_heads",
    "require_grad",
    "reshape",
    "rsqrt",
    "scale",
    "sigmoid",
    "softmax",
    "split",
    "split_widths",
    "square",
    "sub",
    "tanh",
    "to",
    "wider",
]
