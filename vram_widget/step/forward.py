"""A model's forward pass: embedding, layers, last norm, lm_head and loss.

It reads like transformers' ForCausalLM.forward, and holds on to the same tensors for as long.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from . import losses, ops
from .context import Context
from .norms import layer_norm
from .tape import BOOL, DTYPES, FLOAT32, INT64, Boundary, DType, Node, Tensor

if TYPE_CHECKING:
    from .passes import Pass


def forward(step: Pass) -> Tensor:
    """Run the model on a micro-batch and return the loss."""
    tape, settings, architecture = step.tape, step.settings, step.architecture
    family = architecture.family
    step.communication.pre_forward(step.outside)
    tape.operator = "batch"
    tokens = tape.new(settings.tokens, 1, INT64, "input_ids")
    labels = tape.new(settings.tokens, 1, INT64, "labels")
    step.keep(tokens, labels)
    outputs = base_model(step, tokens)  # held until the loss is there
    if not step.run.has_lm_head:
        return outputs  # another card goes on with it
    x = ops.scale(outputs) if family.scaled_hidden_state else outputs
    step.cut("forward")
    lm_head = lm_head_weight(step)
    tape.operator, tape.component = architecture.lm_head_name, "outputs"
    bias = step.outside.weights.get(f"{architecture.lm_head_name}.bias")
    adapted = f"{architecture.lm_head_name}.lora_A" in step.outside.weights

    def head(x: Tensor) -> Tensor:
        tape.operator = architecture.lm_head_name
        if adapted:
            logits = adapted_lm_head(step, lm_head, x)
        else:
            logits = ops.linear(x, lm_head, bias, what="logits")
        Boundary(tape, step.communication.lm_head_pre_backward)
        if family.logits_scaling:
            logits = ops.scale(logits)
        if architecture.config.get("final_logit_softcapping"):
            logits = ops.scale(logits)
            logits = ops.tanh(logits)
            logits = ops.scale(logits)
        tape.operator = "loss"
        if settings.keeps_outputs:
            step.held.append(logits)
        return logits

    if settings.loss_kernel in losses.OVER_HIDDEN_STATES:
        loss = losses.OVER_HIDDEN_STATES[settings.loss_kernel](x, lm_head)
    else:
        loss = losses.OVER_LOGITS[settings.loss_kernel](x, labels, head)
    tape.component = "activations"
    return loss


def lm_head_weight(step: Pass) -> Tensor:
    """Return the lm_head's weight: its own, or where it is tied, the embedding's.

    A copy of the embedding that trains in its place is not tied.
    """
    architecture, outside = step.architecture, step.outside
    own, embedding = f"{architecture.lm_head_name}.weight", architecture.embedding_name
    if own in outside.weights:
        return outside.weights[own]
    original = outside.weights.get(f"{embedding}.original_module.weight")
    if original is None or step.settings.ensure_weight_tying:
        return outside.weight(f"{embedding}.weight")
    return original


def adapted_lm_head(step: Pass, lm_head: Tensor, x: Tensor) -> Tensor:
    """Return the logits of an lm_head that has an adapter."""
    name, tape = step.architecture.lm_head_name, step.tape
    outer, tape.component = tape.component, "activations"
    logits = step.outside.method.linear(
        {**step.outside.weights, f"{name}.weight": lm_head}, name, x
    )
    tape.component = outer
    assert logits.storage
    logits.storage.allocation.component, logits.storage.allocation.what = outer, "logits"
    return logits


def base_model(step: Pass, tokens: Tensor) -> Tensor:
    """Run the embedding, the layers and the last norm."""
    settings, architecture = step.settings, step.architecture
    family = architecture.family
    length = min(settings.max_seq_len, settings.tokens)
    if step.run.has_embedding:
        x, embedded, leaf = embeddings(step, tokens, length)
    else:
        x, embedded, leaf = from_another_card(step), (), None
    cos, sin = rotary_positions(step, length, x)
    attention = attn_implementation(step)
    eager_masks, mask, sliding_mask = attention_masks(step, attention, length, x.dtype)
    by_layer = None
    if family.per_layer_inputs:
        by_layer = family.per_layer_inputs(architecture, step.outside, tokens, x)
    context = Context(
        architecture.config,
        family.float32_softmax,
        length,
        attention,
        x.dtype,
        cos,
        sin,
        mask,
        sliding_mask,
        by_layer,
    )
    # the layers share them; the graph holds a leaf that wants a gradient, a checkpoint its masks
    masks = (*eager_masks, mask, sliding_mask) if settings.gradient_checkpointing else ()
    others = [rotary_positions(step, length, x) for _ in range(1, family.position_tables)]
    step.keep(cos, sin, others, leaf, masks, by_layer)
    # Gemma 4's projection of the first layer's input keeps that input where it trains
    projected = by_layer is not None and not settings.adapts
    held = embedded or inputs_embeds(step, x, projected)
    handed_over = [x]  # who holds on to the hidden state keeps its memory: only the layers do
    del x, leaf
    x = step.run_layers(context, handed_over, first_differs=projected)
    if by_layer is not None and isinstance(by_layer.node, Node):
        # one gradient for the inputs of all layers, to which each layer adds its own
        Boundary(step.tape, partial(_start_gradient, by_layer.node, by_layer))
    if step.run.has_lm_head:
        x = family.norm(step.outside, architecture.norm_name, x)
    del held, embedded
    return x


def embeddings(
    step: Pass, tokens: Tensor, length: int
) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
    """Return the hidden state, what the model's forward holds beside it, and a leaf.

    The leaf wants a gradient for the sake of checkpoints; the graph holds it, unless it is the
    hidden state itself, which the first layer holds.
    """
    architecture = step.architecture
    family = architecture.family
    x = step.outside.embedding(architecture.embedding_name, tokens)
    step.tape.operator = architecture.embedding_name
    if family.scaled_word_embedding:
        x = ops.scale(x, "hidden state")
    leaf = None
    if x.node is None and step.settings.gradient_checkpointing:
        ops.require_grad(x)  # transformers' enable_input_require_grads
        leaf = x
    if family.embedding_multiplier:
        x = ops.scale(x, "hidden state")
    held: tuple[Tensor, ...] = ()
    if architecture.positions_name:
        held = x, *learned_positions(step, length)
        x = ops.add(x, held[-1])
        if architecture.config.get("embd_pdrop"):
            x = ops.dropout(x)
    if architecture.config.get("embedding_dropout"):
        held = (x,)
        x = ops.dropout(x)
    return x, held, None if leaf is x else leaf


def from_another_card(step: Pass) -> Tensor:
    """Return the hidden state that the layers before these have left on another card."""
    settings = step.settings
    dtype = FLOAT32 if "embedding" in settings.float32_modules else DTYPES[settings.param_dtype]
    x = step.tape.new(settings.tokens, step.architecture.hidden_size, dtype, "hidden state")
    ops.require_grad(x)
    return x


def learned_positions(step: Pass, length: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of the positions, and their rows of a table."""
    name = step.architecture.positions_name
    step.tape.operator = name
    positions = step.tape.new(length, 1, INT64, "positions")
    return positions, ops.embedding(positions, step.outside.weights[f"{name}.weight"])


def attn_implementation(step: Pass) -> str:
    """Return the chosen attention, or eager where it is sdpa, which the family does not have."""
    chosen = step.settings.attn_implementation
    if chosen == "sdpa" and not step.architecture.family.supports_sdpa:
        return "eager"
    return chosen


def attention_masks(
    step: Pass, attention: str, length: int, dtype: DType
) -> tuple[list[Tensor], Tensor | None, Tensor | None]:
    """Return eager attention's masks, and sdpa's mask and its mask of layers that slide.

    Flash attention takes padding out of its inputs, and has no use for a mask.
    """
    settings, new = step.settings, step.tape.new
    windows = {group.sliding_window for group in step.architecture.layers}
    step.tape.operator = "attention mask"
    if attention == "eager":  # a mask of numbers for each distance that attention reaches back
        return [new(settings.tokens, length, dtype, "mask") for _ in windows], None, None
    mask = sliding_mask = None
    if attention == "sdpa":
        if settings.padded or step.architecture.family.always_masked:
            mask = new(settings.tokens, length, BOOL, "mask")
        if any(length >= window for window in windows if window):
            sliding_mask = new(length, length, BOOL, "mask")
    return [], mask, sliding_mask


def inputs_embeds(step: Pass, x: Tensor, projected: bool) -> tuple[Tensor, ...]:
    """Return the first layer's input, as the model's forward holds it; nothing if others hold it.

    A checkpoint keeps it, and so do most norms; a projection of it that trains (`projected`) does
    for longer than the layer.
    """
    settings, architecture = step.settings, step.architecture
    step.tape.operator = architecture.embedding_name
    checkpointed = settings.gradient_checkpointing and not settings.offload_activations
    norm_keeps = x.dtype is FLOAT32 or architecture.family.norm is layer_norm or settings.use_liger
    if projected or checkpointed or (norm_keeps and x.node is not None):
        return ()
    return (step.tape.new(x.rows, x.width, x.dtype, "hidden state"),)


def _start_gradient(node: Node, of: Tensor) -> None:
    node.accumulate(of.tape.new(of.rows, of.width, of.dtype, "gradient"))


def rotary_positions(step: Pass, length: int, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return the cosines and sines of the positions, which all layers share."""
    architecture = step.architecture
    width = architecture.family.rotary_features(architecture.config)
    if not width:
        return None, None
    step.tape.operator = "rotary positions"
    new = step.tape.new
    return new(length, width, x.dtype, "cos"), new(length, width, x.dtype, "sin")
