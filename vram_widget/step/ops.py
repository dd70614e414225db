"""Operators: what each makes, what each keeps for backward, and its scratch space.

Each is PyTorch's operator of the same name, with the backward of its derivative formula
(tools/autograd/derivatives.yaml, torch/csrc/autograd/FunctionsManual.cpp): the tensors that a
backward function refers to are the ones PyTorch saves, and the ones it makes are its temporaries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .tape import BOOL, FLOAT32, DType, Gradients, Leaf, Node, Tensor


def wider(a: DType, b: DType) -> DType:
    """Return the dtype that an operator on both gives (type promotion)."""
    return a if a.itemsize >= b.itemsize else b


def detach(x: Tensor) -> Tensor:
    """Return the same tensor with no history."""
    return Tensor(x.tape, x.rows, x.width, x.dtype, x.storage)


def require_grad(x: Tensor) -> None:
    """Make x a leaf that wants a gradient, which nobody reads."""
    x.tape.record(x, (), lambda grad: ())


def to(x: Tensor, dtype: DType, what: str = "copy") -> Tensor:
    """Convert; the tensor itself if it has that dtype already."""
    if x.dtype is dtype:
        return x
    tape, rows, width, before = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, what)
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            return (tape.new(rows, width, before, "gradient"),)

        tape.record(out, (x.node,), backward)
    return out


def add(a: Tensor, b: Tensor) -> Tensor:
    """Add; keeps nothing, and hands the same gradient to both."""
    tape = a.tape
    out = tape.new(a.rows, a.width, wider(a.dtype, b.dtype), "sum")
    if tape.recording and (a.node is not None or b.node is not None):
        rows, width, a_dtype, b_dtype = a.rows, a.width, a.dtype, b.dtype

        def backward(grad: Tensor) -> Gradients:
            # a gradient has the dtype of its input: the engine casts it where they differ
            to_a = grad if grad.dtype is a_dtype else tape.new(rows, width, a_dtype, "gradient")
            to_b = grad if grad.dtype is b_dtype else tape.new(rows, width, b_dtype, "gradient")
            return to_a, to_b

        tape.record(out, (a.node, b.node), backward)
    return out


def sub(a: Tensor, b: Tensor) -> Tensor:
    """Subtract; keeps nothing, the gradient of `b` is negated."""
    tape, rows, width = a.tape, a.rows, a.width
    out = tape.new(rows, width, wider(a.dtype, b.dtype), "difference")
    if tape.recording and (a.node is not None or b.node is not None):
        negates, dtype = b.node is not None, b.dtype

        def backward(grad: Tensor) -> Gradients:
            return grad, tape.new(rows, width, dtype, "gradient") if negates else None

        tape.record(out, (a.node, b.node), backward)
    return out


def mul(a: Tensor, b: Tensor, what: str = "product") -> Tensor:
    """Multiply, `b` broadcast to `a` if it is smaller; keeps what the other's gradient needs."""
    tape, dtype = a.tape, wider(a.dtype, b.dtype)
    out = tape.new(a.rows, a.width, dtype, what)
    if tape.recording and (a.node is not None or b.node is not None):
        kept_a = a if b.node is not None else None
        kept_b = b if a.node is not None else None
        rows, width, a_dtype = a.rows, a.width, a.dtype
        b_rows, b_width, b_dtype = b.rows, b.width, b.dtype
        b_component = "gradients" if isinstance(b.node, Leaf) else None

        def backward(grad: Tensor) -> Gradients:
            # both gradients in full, and then each brought to its input's shape and dtype
            to_a = tape.new(rows, width, dtype, "gradient") if kept_b is not None else None
            to_b = tape.new(rows, width, dtype, "gradient") if kept_a is not None else None
            if to_a is not None and dtype is not a_dtype:
                to_a = tape.new(rows, width, a_dtype, "gradient")
            if to_b is not None and (b_rows, b_width, b_dtype) != (rows, width, dtype):
                to_b = tape.new(b_rows, b_width, b_dtype, "gradient", b_component)
            return to_a, to_b

        tape.record(out, (a.node, b.node), backward)
    return out


def scale(x: Tensor, what: str = "scaled") -> Tensor:
    """Multiply or divide by a number; keeps nothing."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, what)
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            return (tape.new(rows, width, dtype, "gradient"),)

        tape.record(out, (x.node,), backward)
    return out


neg = scale


def add_mask(scores: Tensor) -> Tensor:
    """Add an attention mask that trains nothing: a new tensor, the gradient passes through."""
    tape = scores.tape
    out = tape.new(scores.rows, scores.width, scores.dtype, "masked scores")
    if tape.recording and scores.node is not None:
        tape.record(out, (scores.node,), lambda grad: (grad,))
    return out


def contiguous(x: Tensor) -> Tensor:
    """Copy into the order of memory that follows; the gradient passes through as a view."""
    tape = x.tape
    out = tape.new(x.rows, x.width, x.dtype, "copy")
    if tape.recording and x.node is not None:
        tape.record(out, (x.node,), lambda grad: (grad,))
    return out


def square(x: Tensor) -> Tensor:
    """``x.pow(2)``; keeps x."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, "square")
    if tape.recording and x.node is not None:
        kept = x

        def backward(grad: Tensor) -> Gradients:
            _ = kept
            power = tape.new(rows, width, dtype, "power")
            double = tape.new(rows, width, dtype, "power")
            result = tape.new(rows, width, dtype, "gradient")
            del power, double
            return (result,)

        tape.record(out, (x.node,), backward)
    return out


def mean(x: Tensor) -> Tensor:
    """Mean over the features; keeps nothing, its gradient is spread over a whole tensor."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, 1, dtype, "mean")
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            return (tape.new(rows, width, dtype, "gradient"),)

        tape.record(out, (x.node,), backward)
    return out


def rsqrt(x: Tensor) -> Tensor:
    """One over the square root; keeps its result."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, "rstd")
    if tape.recording and x.node is not None:
        kept = detach(out)

        def backward(grad: Tensor) -> Gradients:
            _ = kept
            return (tape.new(rows, width, dtype, "gradient"),)

        tape.record(out, (x.node,), backward)
    return out


def activation(x: Tensor, what: str) -> Tensor:
    """SiLU, GELU, ReLU: one fused operator that keeps its input."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, what)
    if tape.recording and x.node is not None:
        kept = x

        def backward(grad: Tensor) -> Gradients:
            _ = kept
            return (tape.new(rows, width, dtype, "gradient"),)

        tape.record(out, (x.node,), backward)
    return out


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent; keeps its result."""
    return _keeps_result(x, x.dtype, "tanh")


def sigmoid(x: Tensor) -> Tensor:
    """Logistic sigmoid; keeps its result."""
    return _keeps_result(x, x.dtype, "sigmoid")


def softmax(x: Tensor, dtype: DType) -> Tensor:
    """Softmax computed in `dtype`; keeps its result."""
    return _keeps_result(to(x, dtype), dtype, "softmax")


def _keeps_result(x: Tensor, dtype: DType, what: str) -> Tensor:
    tape, rows, width = x.tape, x.rows, x.width
    out = tape.new(rows, width, dtype, what)
    if tape.recording and x.node is not None:
        kept = detach(out)

        def backward(grad: Tensor) -> Gradients:
            _ = kept
            return (tape.new(rows, width, dtype, "gradient"),)

        tape.record(out, (x.node,), backward)
    return out


def dropout(x: Tensor) -> Tensor:
    """Drop some elements (p > 0); keeps a one-byte mask."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, "dropped")
    mask = tape.new(rows, width, BOOL, "mask")
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            _ = mask
            return (tape.new(rows, width, dtype, "gradient"),)

        tape.record(out, (x.node,), backward)
    return out


def part(x: Tensor, width: int) -> Tensor:
    """A view of some of x's features; its gradient is x's size, zero elsewhere."""
    tape, rows, whole, dtype = x.tape, x.rows, x.width, x.dtype
    view = Tensor(tape, rows, width, dtype, x.storage)
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            return (tape.new(rows, whole, dtype, "gradient"),)

        tape.record(view, (x.node,), backward)
    return view


def reshape(x: Tensor, rows: int, width: int) -> Tensor:
    """The same tensor seen in another shape."""
    return Tensor(x.tape, rows, width, x.dtype, x.storage, x.node)


def first_rows(x: Tensor, parts: int) -> list[Tensor]:
    """Views of the first two of equal shares of x's rows, which stand for all of them.

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
            whole = tape.new(rows, width, dtype, "gradient")
            waiting.clear()
            return (whole,)

        def of_the_others(grad: Tensor) -> Gradients:
            waiting.append(tape.new(rows - share, width, dtype, "gradient"))
            return (None,)

        tape.record(first, (x.node,), of_the_first)
        tape.record(other, (x.node,), of_the_others)
    return [first, other]


def split(x: Tensor, parts: int) -> list[Tensor]:
    """Views of equal shares of x's features; their gradients are put together again."""
    return _views(x, [x.width // parts] * parts)


def split_widths(x: Tensor, *widths: int) -> list[Tensor]:
    """Views of shares of x's features; their gradients are put together again."""
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
                whole = tape.new(rows, width, dtype, "gradient")
                held.clear()
                return (whole,)

            tape.record(view, (x.node,), backward)
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


def matmul(a: Tensor, b: Tensor, rows: int, width: int) -> Tensor:
    """Batched product of two activations, `rows` x `width` altogether; keeps both."""
    tape = a.tape
    if tape.autocast is not None:
        a, b = to(a, tape.autocast), to(b, tape.autocast)
    out = tape.new(rows, width, a.dtype, "product")
    flops = 2.0 * a.rows * a.width * width
    tape.work(flops)
    if tape.recording and (a.node is not None or b.node is not None):
        kept = a, b
        a_rows, a_width, b_rows, b_width, dtype = a.rows, a.width, b.rows, b.width, a.dtype

        def backward(grad: Tensor) -> Gradients:
            _ = kept
            tape.work(2 * flops)
            return (
                tape.new(a_rows, a_width, dtype, "gradient"),
                tape.new(b_rows, b_width, dtype, "gradient"),
            )

        tape.record(out, (a.node, b.node), backward)
    return out


def cast_weight(weight: Tensor) -> Tensor:
    """Return a weight in autocast's dtype; the copy of a trainable one is made once a pass."""
    tape, dtype = weight.tape, weight.tape.autocast
    if dtype is None or weight.dtype is dtype:
        return weight
    copy = tape.casts.get(id(weight))
    if copy is not None:
        return copy
    rows, width, before = weight.rows, weight.width, weight.dtype
    copy = tape.new(rows, width, dtype, "weight in the compute dtype", "buffers")
    if weight.node is not None:
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
        kept_x = x if weight.node is not None else None
        kept_weight = weight if x.node is not None else None

        def backward(grad: Tensor) -> Gradients:
            to_x = to_weight = to_bias = None
            if bias_node is not None:
                to_bias = tape.new(1, outputs, dtype, "gradient", "gradients")
            if kept_weight is not None:
                tape.work(flops)
                to_x = tape.new(rows, inputs, dtype, "gradient")
            if kept_x is not None:
                tape.work(flops)
                to_weight = tape.new(outputs, inputs, dtype, "gradient", "gradients")
                to_weight.is_view = True
            return to_x, to_weight, to_bias

        tape.record(out, (x.node, weight.node, bias_node), backward)
    return out


def quantized_linear(x: Tensor, outputs: int, inputs: int) -> Tensor:
    """Run a frozen linear on a whole copy of its weight; backward makes the copy again."""
    tape, rows, dtype = x.tape, x.rows, x.dtype
    whole = tape.new(outputs, inputs, dtype, "dequantised weight", "buffers")
    out = tape.new(rows, outputs, dtype, "output")
    del whole
    flops = 2.0 * rows * inputs * outputs
    tape.work(flops)
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            whole = tape.new(outputs, inputs, dtype, "dequantised weight", "buffers")
            tape.work(flops)
            to_x = tape.new(rows, inputs, dtype, "gradient")
            del whole
            return (to_x,)

        tape.record(out, (x.node,), backward)
    return out


def add_bias(x: Tensor, bias: Tensor) -> Tensor:
    """Add a bias to every row; keeps nothing."""
    tape, width, dtype = x.tape, x.width, bias.dtype
    out = tape.new(x.rows, width, x.dtype, "output")
    if tape.recording and not (x.node is bias.node is None):
        trains = bias.node is not None

        def backward(grad: Tensor) -> Gradients:
            return grad, tape.new(1, width, dtype, "gradient", "gradients") if trains else None

        tape.record(out, (x.node, bias.node), backward)
    return out


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Divide by a tensor that needs no gradient; keeps it."""
    return mul(a, b, "quotient")


def embedding(tokens: Tensor, weight: Tensor) -> Tensor:
    """Look up rows of `weight`; keeps the tokens, its gradient is as large as the table."""
    tape, rows, width, dtype = tokens.tape, tokens.rows, weight.width, weight.dtype
    out = tape.new(rows, width, dtype, "hidden state")
    if tape.recording and weight.node is not None:
        kept, table = tokens, weight.rows

        def backward(grad: Tensor) -> Gradients:
            _ = kept
            return (tape.new(table, width, dtype, "gradient", "gradients"),)

        tape.record(out, (weight.node,), backward)
    return out


def repeat_heads(x: Tensor, width: int, head_dim: int) -> Tensor:
    """Repeat key or value heads for their queries (``repeat_kv``); sums their gradients.

    One head is only looked at several times; several have to be copied.
    """
    if x.width == width:
        return x
    tape, rows, narrow, dtype = x.tape, x.rows, x.width, x.dtype
    if narrow == head_dim:
        out = Tensor(tape, rows, width, dtype, x.storage)
    else:
        out = tape.new(rows, width, dtype, "repeated heads")
    if tape.recording and x.node is not None:

        def backward(grad: Tensor) -> Gradients:
            return (tape.new(rows, narrow, dtype, "gradient"),)

        tape.record(out, (x.node,), backward)
    return out


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, length: int, mask: Tensor | None = None
) -> Tensor:
    """Flash or memory-efficient attention: never makes the length x length scores.

    Keeps q, k, v, out, the logsumexp of each row, and the mask as numbers where there is one.
    """
    tape = q.tape
    if tape.autocast is not None:
        q, k, v = (to(x, tape.autocast, "in the compute dtype") for x in (q, k, v))
    dtype = q.dtype
    bias = None if mask is None else tape.new(q.rows, length, dtype, "mask as numbers")
    out_width = heads * (v.width // (k.width // (q.width // heads)))
    out = tape.new(q.rows, out_width, dtype, "attention")
    logsumexp = tape.new(q.rows, heads, FLOAT32, "logsumexp")
    flops = 2.0 * q.rows * length * q.width  # two products, half of each masked away
    tape.work(flops)
    if tape.recording and not (q.node is k.node is v.node is None):
        kept = q, k, v, detach(out), logsumexp, bias

        def backward(grad: Tensor) -> Gradients:
            tape.work(2.5 * flops)
            return tuple(
                tape.new(x.rows, x.width, dtype, "gradient") for x in (kept[0], kept[1], kept[2])
            )

        tape.record(out, (q.node, k.node, v.node), backward)
    return out


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """LayerNorm in one kernel; keeps x, and the mean and rstd of each row in float32."""
    tape = x.tape
    if tape.autocast is not None:
        x = to(x, FLOAT32, "input in float32")
    rows, width, dtype = x.rows, x.width, x.dtype
    out = tape.new(rows, width, dtype, "output")
    statistics = tape.new(rows, 1, FLOAT32, "mean"), tape.new(rows, 1, FLOAT32, "rstd")
    nodes = (x.node, weight.node, bias.node if bias is not None else None)
    if tape.recording and any(node is not None for node in nodes):
        kept = detach(x), statistics

        def backward(grad: Tensor) -> Gradients:
            _ = kept
            to_x = tape.new(rows, width, dtype, "gradient") if nodes[0] is not None else None
            return to_x, *(
                tape.new(1, width, dtype, "gradient", "gradients") if node is not None else None
                for node in nodes[1:]
            )

        tape.record(out, nodes, backward)
    return out


def log_softmax(x: Tensor) -> Tensor:
    """Log-softmax; keeps its result."""
    return _keeps_result(x, x.dtype, "log-softmax")


def nll_loss(x: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of the labels; keeps x and the labels."""
    tape, rows, width, dtype = x.tape, x.rows, x.width, x.dtype
    out = tape.new(1, 1, dtype, "loss")
    total_weight = tape.new(1, 1, dtype, "loss")
    if tape.recording and x.node is not None:
        kept = x, labels, total_weight

        def backward(grad: Tensor) -> Gradients:
            _ = kept
            return (tape.new(rows, width, dtype, "gradient"),)

        tape.record(out, (x.node,), backward)
    return out


def checkpoint(run: Callable[[Tensor], Tensor], x: Tensor, offload: bool = False) -> Tensor:
    """Run a block keeping only its input; backward runs it again (non-reentrant checkpointing).

    With `offload` the input waits in the host's memory and comes back when it is needed.
    """
    tape = x.tape
    tape.recording = False
    out = run(x)
    tape.recording = True
    kept = None if offload else detach(x)
    rows, width, dtype, wants_gradient = x.rows, x.width, x.dtype, x.node is not None

    def backward(grad: Tensor) -> Gradients:
        outer, tape.casts = tape.casts, {}
        first, start = len(tape.nodes), len(tape.log)
        again = detach(kept) if kept else tape.new(rows, width, dtype, "input, from the host")
        again.node = entry = Node(tape, (), lambda grad: ()) if wants_gradient else None
        result = run(again)
        tape.casts = outer
        assert isinstance(result.node, Node)
        result.node.accumulate(grad)
        del again, result, grad
        tape.backward_of_rerun(first + (entry is not None), start)
        if entry is None:
            return (None,)
        tape.nodes.pop()
        return (entry.grad,)

    tape.record(out, (x.node,), backward)
    return out


def liger_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Liger's RMSNorm: one kernel; keeps x itself and rstd, and writes x's gradient in place."""
    tape, width = x.tape, x.width
    out = tape.new(x.rows, width, x.dtype, "output")
    rstd = tape.new(x.rows, 1, FLOAT32, "rstd")
    if tape.recording and not (x.node is weight.node is None):
        kept, trains, dtype = (detach(x), rstd), weight.node is not None, weight.dtype

        def backward(grad: Tensor) -> Gradients:
            _ = kept
            return grad, tape.new(1, width, dtype, "gradient", "gradients") if trains else None

        tape.record(out, (x.node, weight.node), backward)
    return out


def liger_gated(gate: Tensor, up: Tensor) -> Tensor:
    """Liger's SwiGLU or GeGLU: keeps both inputs, and writes their gradients over them."""
    tape = gate.tape
    out = tape.new(gate.rows, gate.width, gate.dtype, "gated")
    if tape.recording and not (gate.node is up.node is None):
        kept = detach(gate), detach(up)
        tape.record(out, (gate.node, up.node), lambda grad: kept)
    return out


def liger_rotate(x: Tensor) -> Tensor:
    """Liger's rotary embedding: rotates in place, forwards and backwards."""
    out = detach(x)
    if x.tape.recording and x.node is not None:
        x.tape.record(out, (x.node,), lambda grad: (grad,))
    return out
