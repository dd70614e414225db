"""Feed-forward networks."""

from __future__ import annotations

from ...step import ops
from ...step.layer import Layer
from ...step.tape import FLOAT32, Tensor
from .weights import Config, Weights, linear


def gated_mlp_weights(name: str, hidden: int, inner: int, bias: bool = False) -> Weights:
    """Return the gate, up and down projections of a SwiGLU-like MLP."""
    return {
        **linear(f"{name}.gate_proj", hidden, inner, bias),
        **linear(f"{name}.up_proj", hidden, inner, bias),
        **linear(f"{name}.down_proj", inner, hidden, bias),
    }


def plain_mlp_weights(
    names: tuple[str, str], hidden: int, inner: int, bias: bool = True
) -> Weights:
    """Return the two projections of an MLP without a gate."""
    up, down = names
    return {**linear(up, hidden, inner, bias), **linear(down, inner, hidden, bias)}


def fused_mlp_weights(config: Config) -> Weights:
    """Return an MLP whose gate and up are two halves of one projection."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return {
        **linear("mlp.gate_up_proj", hidden, 2 * inner),
        **linear("mlp.down_proj", inner, hidden),
    }


def gated_mlp(layer: Layer, x: Tensor, name: str = "mlp") -> Tensor:
    """down(act(gate(x)) * up(x)): SwiGLU, GeGLU."""
    layer.begin(name)
    if layer.liger:
        gate, up = layer.linear(f"{name}.gate_proj", x), layer.linear(f"{name}.up_proj", x)
        return layer.linear(f"{name}.down_proj", ops.liger_gated(gate, up))
    gate = ops.activation(layer.linear(f"{name}.gate_proj", x), "act(gate)")
    product = ops.mul(gate, layer.linear(f"{name}.up_proj", x), "act(gate) * up")
    del gate
    return layer.linear(f"{name}.down_proj", product)


def fused_gated_mlp(
    layer: Layer, x: Tensor, first: str = "mlp.gate_up_proj", second: str = "mlp.down_proj"
) -> Tensor:
    """Phi-3's: gate and up are two halves of one projection."""
    layer.begin(first.rsplit(".", 1)[0])
    both = layer.linear(first, x)
    gate, up = ops.split(both, 2)
    if layer.liger:
        return layer.linear(second, ops.liger_gated(gate, up))
    up = ops.mul(up, ops.activation(gate, "act(gate)"), "act(gate) * up")
    return layer.linear(second, up)


def plain_mlp(layer: Layer, x: Tensor, first: str, second: str, act: str = "gelu") -> Tensor:
    """second(act(first(x))); `act` is the config's hidden_act."""
    layer.begin(first.rsplit(".", 1)[0])
    x = layer.linear(first, x)
    x = new_gelu(x) if act == "gelu_new" else ops.activation(x, "act")
    return layer.linear(second, x)


def new_gelu(x: Tensor) -> Tensor:
    """GELU's first approximation, which transformers computes operator by operator.

    0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3))); autocast takes the power in
    float32.
    """
    wide = FLOAT32 if x.tape.autocast else x.dtype
    return ops.mul(
        ops.scale(x, "half of the input"),
        ops.scale(
            ops.tanh(ops.scale(ops.add(x, ops.scale(ops.square(ops.to(x, wide)))))), "1 + tanh"
        ),
        "act",
    )


def relu2_mlp(layer: Layer, x: Tensor, name: str) -> Tensor:
    """An MLP without a gate whose activation is squared."""
    x = layer.linear(f"{name}.up_proj", x)
    layer.begin(name)
    x = relu2(x)
    return layer.linear(f"{name}.down_proj", x)


def relu2(x: Tensor) -> Tensor:
    """Square what is above zero; the square keeps that, and so does the ReLU."""
    return ops.square(ops.relu(x))
