"""Replays one training step of one GPU and writes down every allocation.

A run of identical layers is executed once and stands for all of them: what one of them adds to
memory, the others add too, so the cost of a replay does not grow with the number of layers.
"""

from __future__ import annotations

from functools import partial

from ..config import TrainingConfig
from ..gpu import GPU
from ..model.architecture import Architecture
from . import losses, ops
from .blocks import BLOCKS, Context
from .methods import Layer, Parameter, method_for
from .optimizers import STATES
from .record import Record, Segment
from .tape import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT64, Allocation, Boundary, DType, Event, Tape, Tensor, rounded

AUTOCAST = {"no": None, "bf16": BFLOAT16, "fp16": FLOAT16}


class Step:
    """One forward, loss, backward and optimizer step, recorded on a tape."""

    def __init__(self, architecture: Architecture, config: TrainingConfig, gpu: GPU) -> None:
        self.architecture = architecture
        self.config = config
        self.tape = Tape(gpu.bf16_flops, gpu.bandwidth, AUTOCAST[config.mixed_precision])
        self.segments: list[Segment] = []
        self._opened = 0
        self._since = 0.0
        method = method_for(config, architecture, None)
        self.outside = Layer(self.tape, method, architecture.outside)
        self.layers: list[tuple[int, Layer]] = []

    def run(self) -> None:
        """Replay the step."""
        config, tape = self.config, self.tape
        tokens = tape.new(config.tokens, 1, INT64, "input_ids")
        labels = tape.new(config.tokens, 1, INT64, "labels")
        loss = self.forward(tokens, labels)
        tape.casts.clear()
        self.cut("loss")
        loss.node.accumulate(tape.new(1, 1, FLOAT32, "gradient"))
        del loss
        tape.backward()
        del tokens, labels
        self.cut("backward")

    def cut(self, phase: str, count: int = 1, handed_on: Tensor | None = None) -> None:
        """End the segment of the log that began at the last cut; it happens `count` times.

        `handed_on` is what a layer hands to the next one, which releases it: there is one, however
        many layers there are.
        """
        events = self.tape.log[self._opened :]
        if count > 1:
            for nbytes, allocation in events:
                if nbytes > 0:
                    allocation.copies = count
            if handed_on is not None:
                handed_on.storage.allocation.copies = 1
        self.segments.append(Segment(phase, events, self.tape.clock - self._since, count))
        self._opened += len(events)
        self._since = self.tape.clock

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Run the model as transformers' ForCausalLM.forward does; return the loss."""
        x = self.base_model(tokens)
        tape = self.tape
        self.cut("forward")
        tape.operator, tape.component = "lm_head", "outputs"
        logits = ops.linear(x, self.lm_head, what="logits")
        if self.architecture.model_type == "granite":
            logits = ops.scale(logits)
        tape.operator = "loss"
        loss = losses.eager(logits, labels)
        tape.component = "activations"
        return loss

    @property
    def lm_head(self) -> Tensor:
        weights = self.outside.weights
        return weights.get("lm_head.weight", weights["model.embed_tokens.weight"])

    def base_model(self, tokens: Tensor) -> Tensor:
        """Run the embedding, the layers and the last norm."""
        tape, config = self.tape, self.architecture.config
        tape.operator = "model.embed_tokens"
        x = ops.embedding(tokens, self.outside.weights["model.embed_tokens.weight"])
        leaf = None
        if x.node is None and self.config.gradient_checkpointing:
            ops.require_grad(x)  # PEFT's enable_input_require_grads
            leaf = x  # the graph holds a leaf that wants a gradient
        if self.architecture.model_type == "granite":
            x = ops.scale(x, "hidden state")
        else:
            leaf = None  # it is the first layer's input, which that layer holds
        length = min(self.config.max_seq_len, tokens.rows)
        tape.operator = "model.rotary_emb"
        cos = tape.new(length, config["head_dim"], x.dtype, "cos")
        sin = tape.new(length, config["head_dim"], x.dtype, "sin")
        mask = tape.new(tokens.rows, length, BOOL, "mask") if self.config.padded else None
        context = Context(config, length, self.config.attn_implementation, cos, sin, mask)
        # rotary positions are shared by all layers: they go after the first layer's backward
        Boundary(tape, partial(self.cut, "backward"), keeps=(context, leaf))
        for run in self.architecture.layers:
            # the first layer stands for itself alone where its input has no gradient
            alone = 1 if x.node is None else 0
            for count in filter(None, (alone, run.count - alone)):
                self.cut("forward")
                Boundary(tape, partial(self.cut, "backward", count))
                layer = Layer(tape, method_for(self.config, self.architecture, run), run.weights)
                self.layers.append((count, layer))
                block = partial(BLOCKS[run.block], context, layer)
                x = ops.checkpoint(block, x) if self.config.gradient_checkpointing else block(x)
                self.cut("forward", count, handed_on=x)
                Boundary(tape, partial(self.cut, "backward"))
        return self.outside.rms_norm("model.norm", x)


def _load(layers: list[tuple[int, Layer]]) -> list[Event]:
    """Return the allocations of the weights, as the method stores them."""
    return [
        _event("parameters", parameter.name, "weight", parameter, parameter.dtype, count)
        for count, layer in layers
        for parameter in layer.parameters
    ]


def _states(layers: list[tuple[int, Layer]], optim: str) -> list[Event]:
    """Return the allocations of the optimizer's states."""
    states = STATES[optim]
    return [
        _event("optimizer", parameter.name, state.what, parameter._replace(rows=1, width=state.elements), state.dtype, count)
        for count, layer in layers
        for parameter in layer.parameters
        if parameter.trainable
        for state in states(parameter)
    ]


def _event(
    component: str, operator: str, what: str, shape: Parameter, dtype: DType, copies: int
) -> Event:
    nbytes = rounded(shape.rows * shape.width * dtype.itemsize)
    allocation = Allocation(component, operator, what, shape.rows, shape.width, dtype, nbytes)
    allocation.copies = copies
    return nbytes, allocation


def replay(architecture: Architecture, config: TrainingConfig, gpu: GPU) -> Record:
    """Return the record of loading the model and taking two training steps."""
    step = Step(architecture, config, gpu)
    step.run()
    layers = [(1, step.outside), *step.layers]
    load = Segment("load", _load(layers), 1.0)
    states = _states(layers, config.optim)
    scratch: list[Event] = []
    if config.optim == "adamw_torch":
        for count, layer in layers:
            for p in layer.parameters:
                if p.trainable:
                    scratch.append(_event("optimizer", p.name, "temporary", p, p.dtype, count))
        scratch += [(-n, a) for n, a in scratch]
    gradients = [
        (-leaf.grad.storage.allocation.nbytes, leaf.grad.storage.allocation)
        for _, layer in layers
        for weight in layer.weights.values()
        if (leaf := weight.node) is not None
    ]
    body = step.segments
    first = Segment("optimizer_step", [*states, *scratch, *gradients], 0.1)
    second = Segment("optimizer_step", [*scratch, *gradients], 0.1)
    return Record([(0, [load]), (1, [*body, first]), (2, [*body, second])])
