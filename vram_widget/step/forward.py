"""A model's forward pass: embedding, layers, last norm, lm_head and loss.

It reads like transformers' ForCausalLM.forward, and holds on to the same tensors for as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..families.blocks import gemma4, nemotron
from . import losses, ops
from .context import Context
from .norms import (
    Norm,
    float32_rms_norm,
    gemma_rms_norm,
    layer_norm,
    mean_centred_norm,
    per_head,
    rms_norm,
)
from .tape import BOOL, FLOAT32, INT64, Boundary, Node, Tensor

if TYPE_CHECKING:
    from .passes import Pass

#: Families that rotate nothing: their positions are learned, or no attention sees any.
WITHOUT_ROTATION = {"gpt2", "gpt_bigcode", "nemotron_h"}

#: Families that have one cosine for each pair of features, not one for each feature.
HALF_TABLES = {"gpt_oss"}

#: The share of a head that families rotate unless config.json says.
PARTIAL = {"glm": 0.5, "glm4": 0.5, "qwen3_5_text": 0.25, "qwen3_5_moe_text": 0.25}

#: Families that transformers runs eager where others run sdpa (``_supports_sdpa``).
WITHOUT_SDPA = {"gemma2", "gpt_oss"}

#: Families that make sdpa a mask even where no token is padding.
MASKED = {"falcon", "deepseek_v32"}


class Outside(NamedTuple):
    """What a family does before and behind its layers.

    Attributes
    ----------
    norm : callable
        Its last norm.
    embedding_scales : bool
        Gemma's embedding multiplies by the square root of the hidden size itself.
    scales_embedding : bool
        Granite's embedding_multiplier, behind the embedding.
    scales_output : bool
        MiniCPM 3's logits_scaling, by which what goes into the lm_head is divided.
    scales_logits : bool
        Granite's logits_scaling.
    position_tables : int
        Kinds of rotary positions; Gemma 3 has one for layers that slide and one for the others.
    """

    norm: Norm = rms_norm
    embedding_scales: bool = False
    scales_embedding: bool = False
    scales_output: bool = False
    scales_logits: bool = False
    position_tables: int = 1


GRANITE = Outside(scales_embedding=True, scales_logits=True)
GEMMA = Outside(gemma_rms_norm, embedding_scales=True)
GEMMA4 = Outside(gemma4.norm, embedding_scales=True, position_tables=2)
LAYER_NORM = Outside(layer_norm)
COHERE = Outside(mean_centred_norm, scales_logits=True)
#: model_type -> what lies outside its layers; the others are like Llama.
OUTSIDE = {
    "granite": GRANITE,
    "granitemoe": GRANITE,
    "granitemoeshared": GRANITE,
    "granitemoehybrid": GRANITE,
    "cohere": COHERE,
    "cohere2": COHERE,
    "gemma": GEMMA,
    "gemma2": GEMMA,
    "gemma4_text": GEMMA4,
    "gemma3": GEMMA._replace(position_tables=2),
    "gemma3_text": GEMMA._replace(position_tables=2),
    "olmo2": Outside(float32_rms_norm),
    "gpt_oss": Outside(float32_rms_norm),
    "qwen3_5_text": Outside(gemma_rms_norm),
    "qwen3_5_moe_text": Outside(gemma_rms_norm),
    "phi": LAYER_NORM,
    "stablelm": LAYER_NORM,
    "gpt_neox": LAYER_NORM,
    "gpt2": LAYER_NORM,
    "gpt_bigcode": LAYER_NORM,
    "starcoder2": LAYER_NORM,
    "falcon": LAYER_NORM,
    "falcon_h1": GRANITE,
    "nemotron_h": Outside(nemotron.norm),
    "minicpm3": Outside(embedding_scales=True, scales_output=True),
}


def forward(step: Pass) -> Tensor:
    """Run the model on a micro-batch and return the loss."""
    tape, settings, architecture = step.tape, step.settings, step.architecture
    outside = OUTSIDE.get(architecture.model_type, Outside())
    step.communication.pre_forward(step.outside)
    tape.operator = "batch"
    tokens = tape.new(settings.tokens, 1, INT64, "input_ids")
    labels = tape.new(settings.tokens, 1, INT64, "labels")
    step.keep(tokens, labels)
    outputs = base_model(step, tokens)  # held until the loss is there
    x = ops.scale(outputs) if outside.scales_output else outputs
    step.cut("forward")
    tape.operator, tape.component = architecture.lm_head_name, "outputs"
    lm_head = step.outside.weights.get(
        f"{architecture.lm_head_name}.weight",
        step.outside.weights[f"{architecture.embedding_name}.weight"],
    )
    bias = step.outside.weights.get(f"{architecture.lm_head_name}.bias")

    def head(x: Tensor) -> Tensor:
        tape.operator = architecture.lm_head_name
        logits = ops.linear(x, lm_head, bias, what="logits")
        if outside.scales_logits:
            logits = ops.scale(logits)
        if architecture.config.get("final_logit_softcapping"):
            logits = ops.scale(logits)
            logits = ops.tanh(logits)
            logits = ops.scale(logits)
        tape.operator = "loss"
        if settings.keeps_outputs:
            step.held.append(logits)
        return logits

    if settings.loss_kernel == "liger":
        loss = losses.liger(x, lm_head)
    else:
        loss = losses.OVER_LOGITS[settings.loss_kernel](x, labels, head)
    tape.component = "activations"
    return loss


def base_model(step: Pass, tokens: Tensor) -> Tensor:
    """Run the embedding, the layers and the last norm."""
    tape, settings, architecture = step.tape, step.settings, step.architecture
    outside = OUTSIDE.get(architecture.model_type, Outside())
    tape.operator = architecture.embedding_name
    x = ops.embedding(tokens, step.outside.weights[f"{architecture.embedding_name}.weight"])
    if outside.embedding_scales:
        x = ops.scale(x, "hidden state")
    leaf = None
    if x.node is None and settings.gradient_checkpointing:
        ops.require_grad(x)  # PEFT's enable_input_require_grads
        leaf = x
    if outside.scales_embedding:
        x = ops.scale(x, "hidden state")
    elif not architecture.positions_name and not architecture.config.get("embedding_dropout"):
        leaf = None  # it is the first layer's input, which that layer holds
    length = min(settings.max_seq_len, settings.tokens)
    embedded: tuple[Tensor, ...] = ()
    if architecture.positions_name:
        embedded = x, *learned_positions(step, length)
        x = ops.add(x, embedded[-1])
        if architecture.config.get("embd_pdrop"):
            x = ops.dropout(x)
    if architecture.config.get("embedding_dropout"):
        embedded = (x,)
        x = ops.dropout(x)
    cos, sin = rotary_positions(step, length, x)
    new = tape.new
    attention = settings.attn_implementation
    if attention == "sdpa" and architecture.model_type in WITHOUT_SDPA:
        attention = "eager"
    tape.operator = "attention mask"
    mask = sliding_mask = None
    windows = {run.sliding_window for run in architecture.layers}
    eager_masks = []
    if attention == "eager":  # a mask of numbers for each distance that attention reaches back
        eager_masks = [new(settings.tokens, length, x.dtype, "mask") for _ in windows]
    else:
        # flash attention takes padding out of its inputs, and has no use for a mask
        masked = attention == "sdpa" and (settings.padded or architecture.model_type in MASKED)
        mask = new(settings.tokens, length, BOOL, "mask") if masked else None
        slides = attention == "sdpa" and any(length >= window for window in windows if window)
        sliding_mask = new(length, length, BOOL, "mask") if slides else None
    by_layer = per_layer_inputs(step, tokens, x)
    context = Context(
        architecture.config, length, attention, x.dtype, cos, sin, mask, sliding_mask, by_layer
    )
    # the layers share them; the graph holds a leaf that wants a gradient, a checkpoint its masks
    masks = (*eager_masks, mask, sliding_mask) if settings.gradient_checkpointing else ()
    others = [rotary_positions(step, length, x) for _ in range(1, outside.position_tables)]
    step.keep(cos, sin, others, leaf, masks, by_layer)
    # the model's forward holds what goes into the first layer, which that layer may keep itself
    kept = settings.gradient_checkpointing and not settings.offload_activations
    norm_keeps = x.dtype is FLOAT32 or outside.norm is layer_norm or settings.use_liger
    kept = kept or (norm_keeps and x.node is not None)
    # a projection that trains keeps it too, long after that layer is done with it
    projected = by_layer is not None and not settings.adapts
    tape.operator = architecture.embedding_name
    inputs_embeds = (
        None if kept or projected or embedded else new(x.rows, x.width, x.dtype, "hidden state")
    )
    handed_over = [x]  # who holds on to the hidden state keeps its memory: only the layers do
    del x, leaf
    x = step.run_layers(context, handed_over, first_differs=projected)
    if by_layer is not None and isinstance(by_layer.node, Node):
        # one gradient for the inputs of all layers, to which each layer adds its own
        Boundary(tape, partial(_start_gradient, by_layer.node, by_layer))
    x = outside.norm(step.outside, architecture.norm_name, x)
    del inputs_embeds, embedded
    return x


def learned_positions(step: Pass, length: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of the positions, and their rows of a table."""
    name = step.architecture.positions_name
    step.tape.operator = name
    positions = step.tape.new(length, 1, INT64, "positions")
    return positions, ops.embedding(positions, step.outside.weights[f"{name}.weight"])


def per_layer_inputs(step: Pass, tokens: Tensor, x: Tensor) -> Tensor | None:
    """Return Gemma 4's inputs by layer (E2B, E4B): a table's rows and a projection, normed."""
    weights = step.outside.weights
    stem = step.architecture.embedding_name.rpartition(".")[0]
    table = weights.get(f"{stem}.embed_tokens_per_layer.weight")
    if table is None:
        return None
    step.tape.operator = f"{stem}.embed_tokens_per_layer"
    rows = ops.scale(ops.embedding(tokens, table))
    projected = ops.scale(step.outside.linear(f"{stem}.per_layer_model_projection", x))
    width = int(step.architecture.config["hidden_size_per_layer_input"])
    projected = per_head(
        gemma4.norm, step.outside, f"{stem}.per_layer_projection_norm", projected, width
    )
    return ops.scale(ops.add(projected, rows), "inputs by layer")


def _start_gradient(node: Node, of: Tensor) -> None:
    node.accumulate(of.tape.new(of.rows, of.width, of.dtype, "gradient"))


def rotary_positions(step: Pass, length: int, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return the cosines and sines of the positions, which all layers share."""
    width = rotated_features(step.architecture.config)
    if not width:
        return None, None
    step.tape.operator = "rotary positions"
    new = step.tape.new
    return new(length, width, x.dtype, "cos"), new(length, width, x.dtype, "sin")


def rotated_features(config: Mapping[str, Any]) -> int:
    """Return how many features of a head are rotated; none where positions are learned."""
    family = config["model_type"]
    if family in WITHOUT_ROTATION:
        return 0
    if family == "granitemoehybrid" and config.get("position_embedding_type") != "rope":
        return 0
    rope = config.get("rope_parameters") or {}
    share = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor")
    share = share or config.get("rotary_pct") or PARTIAL.get(family, 1.0)
    if family in HALF_TABLES:
        share /= 2
    return int(config.get("qk_rope_head_dim") or config["head_dim"] * share)
