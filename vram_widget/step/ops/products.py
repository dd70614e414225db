"""Matrix products: linears and look-ups."""

from __future__ import annotations

from ..tape import FLOAT16, FLOAT32, INT8, INT32, DType, Gradients, Leaf, Tensor
from .elementwise import to, wider
from .recorded import detach


def cast_weight(weight: Tensor) -> Tensor:
    """Return a weight in autocast's dtype; the copy of a trainable one is made once a pass.

    That of a view is not saved, nor that of what is itself made of weights (``cached_cast`` in
    aten/src/ATen/autocast_mode.cpp).
    """
    tape, dtype = weight.tape, weight.tape.autocast
    if dtype is None or weight.dtype is dtype:
        return weight
    copy = tape.casts.get(id(weight))
    if copy is not None:
        return copy
    rows, width, before = weight.rows, weight.width, weight.dtype
    copy = tape.new(rows, width, dtype, "weight in the compute dtype", "buffers")
    if weight.node is not None:
        if isinstance(weight.node, Leaf) and not weight.is_view:
            tape.casts[id(weight)] = copy
        if tape.recording:

            def backward(grad: Tensor) -> Gradients:
                return (tape.new(rows, width, before, "gradient", "gradients"),)

            tape.record(copy, (weight.node,), backward)
    return copy


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, what: str = "output") -> Tensor:
    """``x @ weight.T + bias``; keeps x for the weight's gradient, the weight for x's."""
    tape = x.tape
    if tape.autocast is not None:
        x = to(x, tape.autocast, "input in the compute dtype")
        weight = cast_weight(weight)
        bias = cast_weight(bias) if bias is not None else None
    rows, inputs, outputs, dtype = x.rows, weight.width, weight.rows, x.dtype
    out = tape.new(rows, outputs, dtype, what)
    flops = 2.0 * rows * inputs * outputs
    tape.work(flops)
    bias_node = bias.node if bias is not None else None
    if tape.recording and not (x.node is weight.node is bias_node is None):
        saved_x = x if weight.node is not None else None
        saved_weight = weight if x.node is not None else None

        def backward(grad: Tensor) -> Gradients:
            to_x = to_weight = to_bias = None
            if bias_node is not None:
                to_bias = tape.new(1, outputs, dtype, "gradient", "gradients")
            if saved_weight is not None:
                tape.work(flops)
                to_x = tape.new(rows, inputs, dtype, "gradient")
            if saved_x is not None:
                tape.work(flops)
                to_weight = tape.new(outputs, inputs, dtype, "gradient", "gradients")
                to_weight.is_view = True
            return to_x, to_weight, to_bias

        tape.record(out, (x.node, weight.node, bias_node), backward)
    return out


def adapted_weight(weight: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """A weight with its adapter added (PEFT's ParamWrapper); saves copies of the adapter.

    What uses it gives it a gradient as large as itself.
    """
    tape, dtype = weight.tape, weight.dtype
    down, up = (_adapter_in(dtype, part) for part in (down, up))
    out = tape.new(weight.rows, weight.width, dtype, "weight with its adapter")
    if tape.recording:
        saved = down, up
        shapes = [(part.rows, part.width) for part in saved]

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            gradients = []
            for shape in shapes:  # each a product, then scaled
                product = tape.new(*shape, dtype, "product", "gradients")
                gradients.append(tape.new(*shape, dtype, "gradient", "gradients"))
                del product
            return tuple(gradients)

        tape.record(out, (down.node, up.node), backward)
    return out


def _adapter_in(dtype: DType, part: Tensor) -> Tensor:
    if part.dtype is dtype:
        return part
    tape, rows, width, before = part.tape, part.rows, part.width, part.dtype
    copy = tape.new(rows, width, dtype, "adapter in the weight's dtype", "buffers")
    if tape.recording:

        def backward(grad: Tensor) -> Gradients:
            return (tape.new(rows, width, before, "gradient", "gradients"),)

        tape.record(copy, (part.node,), backward)
    return copy


def quantized_linear(x: Tensor, outputs: int, inputs: int) -> Tensor:
    """Run a frozen linear on its dequantised weight; backward dequantises it again."""
    tape, rows, dtype = x.tape, x.rows, x.dtype
    weight = tape.new(outputs, inputs, dtype, "dequantised weight", "buffers")
    out = tape.new(rows, outputs, dtype, "output")
    del weight
    flops = 2.0 * rows * inputs * outputs
    tape.work(flops)
    _record_dequantised(x, out, flops)
    return out


def int8_linear(x: Tensor, outputs: int, inputs: int) -> Tensor:
    """LLM.int8: x is quantised as it comes and saved as it came; backward dequantises the weight.

    bitsandbytes keeps x beside what autograd saves (``ctx.tensors`` in its autograd/_functions.py):
    a checkpoint does not give it up, nor backward before the whole graph goes. Outliers, which are
    multiplied by themselves, depend on the data and are left out.
    """
    tape, rows, dtype = x.tape, x.rows, x.dtype
    half = to(detach(x), FLOAT16, "input in float16")
    scales = tape.new(rows, 1, FLOAT32, "scales")
    quantized = tape.new(rows, inputs, INT8, "quantised input")
    del half
    total = tape.new(rows, outputs, INT32, "product")
    out = tape.new(rows, outputs, dtype, "output")
    del scales, quantized, total
    flops = 2.0 * rows * inputs * outputs
    tape.work(flops)
    if tape.outlasting is not None and (x.node is not None or not tape.recording):
        tape.outlasting.append(detach(x))
    _record_dequantised(x, out, flops)
    return out


def _record_dequantised(x: Tensor, out: Tensor, flops: float) -> None:
    """Record a product with a packed weight: backward dequantises the weight once more."""
    tape, node = x.tape, x.node
    rows, inputs, outputs, dtype = x.rows, x.width, out.width, out.dtype
    if not tape.recording or node is None:
        return

    def backward(grad: Tensor) -> Gradients:
        weight = tape.new(outputs, inputs, dtype, "dequantised weight", "buffers")
        tape.work(flops)
        to_x = tape.new(rows, inputs, dtype, "gradient")
        del weight
        return (to_x,)

    tape.record(out, (node,), backward)


def add_bias(x: Tensor, bias: Tensor) -> Tensor:
    """Add a bias to every row; keeps nothing."""
    tape, rows, width, dtype, bias_dtype = x.tape, x.rows, x.width, x.dtype, bias.dtype
    out = tape.new(rows, width, wider(dtype, bias_dtype), "output")
    if tape.recording and not (x.node is bias.node is None):
        trains = bias.node is not None

        def backward(grad: Tensor) -> Gradients:
            to_bias = tape.new(1, width, bias_dtype, "gradient", "gradients") if trains else None
            to_x = grad if grad.dtype is dtype else tape.new(rows, width, dtype, "gradient")
            return to_x, to_bias

        tape.record(out, (x.node, bias.node), backward)
    return out


def embedding(tokens: Tensor, weight: Tensor) -> Tensor:
    """Look up rows of `weight`; keeps the tokens, its gradient is as large as the table.

    Backward sums the gradients of each token in float32 first (``embedding_dense_backward_cuda``
    and ``embedding_backward_cuda_kernel``, aten/src/ATen/native/cuda).
    """
    tape, rows, width, dtype = tokens.tape, tokens.rows, weight.width, weight.dtype
    out = tape.new(rows, width, dtype, "hidden state")
    if tape.recording and weight.node is not None:
        saved, table = tokens, weight.rows

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            to_weight = tape.new(table, width, dtype, "gradient", "gradients")
            sums = embedding_sums(rows, table)
            scratch = tape.new(sums, width, FLOAT32, "sums of tokens") if sums else None
            del scratch
            return (to_weight,)

        tape.record(out, (weight.node,), backward)
    return out


def embedding_sums(tokens: int, table: int) -> int:
    """Return how many rows CUDA makes room for to sum gradients of an embedding in; 0 for few.

    There is one for each ten tokens and one more for each kind of token that there may be:
    ``max_partial_segment`` in aten/src/ATen/native/cuda/EmbeddingBackwardKernel.cu.

    Examples
    --------
    >>> embedding_sums(3072, 32000), embedding_sums(4096, 32000)
    (0, 4505)
    """
    return 0 if tokens <= 3072 else tokens // 10 + min(tokens, table)


def index_copy(weight: Tensor, rows: Tensor) -> Tensor:
    """Return a copy of a frozen table with some of its rows replaced; keeps those, in its dtype."""
    rows = _adapter_in(weight.dtype, rows)
    tape, count, width, dtype = weight.tape, rows.rows, rows.width, rows.dtype
    out = tape.new(weight.rows, width, dtype, "table with trained rows")
    if tape.recording and rows.node is not None:
        saved = rows

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            return (tape.new(count, width, dtype, "gradient", "gradients"),)

        tape.record(out, (rows.node,), backward)
    return out


def matmul(a: Tensor, b: Tensor, rows: int, width: int) -> Tensor:
    """Batched product of two activations, `rows` x `width` altogether; keeps both."""
    tape = a.tape
    if tape.autocast is not None:
        a, b = to(a, tape.autocast), to(b, tape.autocast)
    out = tape.new(rows, width, a.dtype, "product")
    flops = 2.0 * a.rows * a.width * width
    tape.work(flops)
    if tape.recording and (a.node is not None or b.node is not None):
        saved = a, b
        a_rows, a_width, b_rows, b_width, dtype = a.rows, a.width, b.rows, b.width, a.dtype

        def backward(grad: Tensor) -> Gradients:
            _ = saved
            tape.work(2 * flops)
            return (
                tape.new(a_rows, a_width, dtype, "gradient"),
                tape.new(b_rows, b_width, dtype, "gradient"),
            )

        tape.record(out, (a.node, b.node), backward)
    return out
