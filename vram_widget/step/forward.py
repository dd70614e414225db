"""A model's forward pass: embedding, layers, last norm, lm_head and loss.

It reads like transformers' ForCausalLM.forward, and holds on to the same tensors for as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import losses, ops
from .blocks import Context
from .tape import BOOL, INT64, Tensor

if TYPE_CHECKING:
    from .replay import Pass

#: Families that scale the embeddings (Granite's embedding_multiplier, Gemma's sqrt(hidden)).
SCALED_EMBEDDING = {"granite", "granitemoe", "granitemoehybrid"}
#: Families that scale the logits (Granite's logits_scaling).
SCALED_LOGITS = {"granite", "granitemoe", "granitemoehybrid"}


def forward(step: Pass) -> Tensor:
    """Run the model on a micro-batch and return the loss."""
    tape, config, architecture = step.tape, step.config, step.architecture
    tape.operator = "batch"
    tokens = tape.new(config.tokens, 1, INT64, "input_ids")
    labels = tape.new(config.tokens, 1, INT64, "labels")
    step.keep(tokens, labels)
    x = base_model(step, tokens)
    step.cut("forward")
    tape.operator, tape.component = architecture.lm_head_name, "outputs"
    lm_head = step.outside.weights.get(
        f"{architecture.lm_head_name}.weight",
        step.outside.weights[f"{architecture.embedding_name}.weight"],
    )

    def head(x: Tensor) -> Tensor:
        tape.operator = architecture.lm_head_name
        logits = ops.linear(x, lm_head, what="logits")
        if architecture.model_type in SCALED_LOGITS:
            logits = ops.scale(logits)
        tape.operator = "loss"
        return logits

    if config.loss_kernel == "liger" or config.use_liger:
        loss = losses.liger(x, lm_head)
    else:
        loss = losses.OVER_LOGITS[config.loss_kernel](x, labels, head)
    tape.component = "activations"
    return loss


def base_model(step: Pass, tokens: Tensor) -> Tensor:
    """Run the embedding, the layers and the last norm."""
    tape, config, architecture = step.tape, step.config, step.architecture
    tape.operator = architecture.embedding_name
    x = ops.embedding(tokens, step.outside.weights[f"{architecture.embedding_name}.weight"])
    leaf = None
    if x.node is None and config.gradient_checkpointing:
        ops.require_grad(x)  # PEFT's enable_input_require_grads
        leaf = x
    if architecture.model_type in SCALED_EMBEDDING:
        x = ops.scale(x, "hidden state")
    else:
        leaf = None  # it is the first layer's input, which that layer holds
    length = min(config.max_seq_len, config.tokens)
    tape.operator = "rotary positions"
    head_dim = architecture.config["head_dim"]
    cos = tape.new(length, head_dim, x.dtype, "cos")
    sin = tape.new(length, head_dim, x.dtype, "sin")
    mask = tape.new(config.tokens, length, BOOL, "mask") if config.padded else None
    context = Context(architecture.config, length, config.attn_implementation, cos, sin, mask)
    step.keep(context, leaf)  # the layers share them; the graph holds a leaf that wants a gradient
    handed_over = [x]  # who holds on to the hidden state keeps its memory: only the layers do
    del x, leaf
    x = step.run_layers(context, handed_over)
    return step.outside.rms_norm(architecture.norm_name, x)
