"""Operators: what each makes, what each keeps for backward, and its scratch space.

Each is PyTorch's operator of the same name, with the backward of its derivative formula
(tools/autograd/derivatives.yaml, torch/csrc/autograd/FunctionsManual.cpp): the tensors that a
backward function refers to are the ones PyTorch saves, and the ones it makes are its temporaries.

Memory that CUDA's own code takes and gives back within one call is counted where it is large:
softmax's backward, flash and memory-efficient attention, embedding's backward. Left out, as each is
under a thousandth of a usual step (PyTorch's aten/src/ATen/native/cuda unless said):

- LayerNorm's backward (layer_norm_kernel.cu) and Liger's norms (ops/rms_norm.py, layer_norm.py of
  0.8.5): sums of the weight's gradient, a row for each multiprocessor, in float32.
- log-softmax and nll_loss, forwards and backwards (SoftMax.cu, Loss.cu), SiLU and GELU, dropout,
  Liger's SwiGLU, GeGLU and rotary embedding: none.
- index_put (Indexing.cu), sort, cumsum and top-k of a mixture's routing: some numbers a choice.
- bitsandbytes' 4-bit dequantisation with scales quantised too (functional.dequantize_4bit): scales
  in float32, 1/32 of the dequantised weight in 16 bits.
- Fused and foreach AdamW beyond the optimizer's temporaries, and the norms of clip_grad_norm_
  (ForeachReduceOp.cu): a number for each 65,536 elements.

Of these, Liger's kernels, softmax and attention were gone through line by line. Not looked into:
cuDNN's attention, which newer versions take on Hopper, and convolutions' workspaces.
"""

from .attention import fused_attention
from .checkpoint import checkpoint, reentrant_checkpoint
from .elementwise import (
    activation,
    add,
    add_in_place,
    add_mask,
    clamp,
    divide,
    dropout,
    log_softmax,
    mean,
    mul,
    neg,
    nll_loss,
    relu,
    rsqrt,
    scale,
    scale_in_place,
    shift,
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
    adapted_weight,
    add_bias,
    cast_weight,
    embedding,
    index_copy,
    int8_linear,
    linear,
    matmul,
    quantized_linear,
)
from .recorded import detach, follows, passes, require_grad
from .views import (
    cat,
    contiguous,
    copied_part,
    copy_heads,
    first_rows,
    part,
    repeat_heads,
    reshape,
    split,
    split_widths,
    tensor_split,
    transpose,
    view_of,
)

__all__ = [
    "activation",
    "adapted_weight",
    "add",
    "add_bias",
    "add_in_place",
    "add_mask",
    "cast_weight",
    "cat",
    "checkpoint",
    "clamp",
    "contiguous",
    "copied_part",
    "copy_heads",
    "detach",
    "divide",
    "dropout",
    "embedding",
    "first_rows",
    "follows",
    "fused_attention",
    "index_copy",
    "int8_linear",
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
    "reentrant_checkpoint",
    "relu",
    "repeat_heads",
    "require_grad",
    "reshape",
    "rsqrt",
    "scale",
    "scale_in_place",
    "shift",
    "sigmoid",
    "softmax",
    "split",
    "split_widths",
    "square",
    "sub",
    "tanh",
    "tensor_split",
    "to",
    "transpose",
    "view_of",
    "wider",
]
