"""DeepSeek V3.2's indexer: which tokens each token attends to."""

from __future__ import annotations

from ...step import ops
from ...step.context import Context
from ...step.layer import Layer
from ...step.norms import layer_norm
from ...step.ops import experts as mixture
from ...step.tape import BOOL, FLOAT32, INT32, INT64, Tensor
from .attention import rotary
from .weights import Config, Weights, linear, norm

NAME = "self_attn.indexer"


def indexer_weights(config: Config) -> Weights:
    """Return DeepSeek V3.2's indexer, which picks the tokens each query attends to."""
    hidden, heads, head = config["hidden_size"], config["index_n_heads"], config["index_head_dim"]
    return {
        **linear("self_attn.indexer.wq_b", config["q_lora_rank"], heads * head),
        **linear("self_attn.indexer.wk", hidden, head),
        **norm("self_attn.indexer.k_norm", head, bias=True),
        **linear("self_attn.indexer.weights_proj", hidden, heads),
    }


def sparse_mask(
    context: Context, layer: Layer, x: Tensor, latent: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Score all tokens for each token; return the best ones, a mask of them, and that of all.

    It trains nothing, and without its own kernel it makes all scores of all its heads at once.
    """
    tape = x.tape
    recording, tape.recording = tape.recording, False
    best = chosen_tokens(context, layer, x, latent)
    tape.recording = recording
    layer.begin("self_attn")
    ones = tape.new(x.rows, context.length, BOOL, "ones")
    wide = ops.to(best, INT64)
    mask = tape.new(x.rows, context.length, BOOL, "tokens left out")
    del ones, wide
    inverse = tape.new(x.rows, context.length, BOOL, "chosen tokens")
    combined = tape.new(x.rows, context.length, BOOL, "mask")
    del inverse
    return best, mask, combined


def chosen_tokens(context: Context, layer: Layer, x: Tensor, latent: Tensor) -> Tensor:
    """Return the tokens with the highest scores, which every head of its own adds to."""
    tape, config, length = x.tape, context.config, context.length
    heads, width = config["index_n_heads"], config["index_head_dim"]
    turned = config["qk_rope_head_dim"]
    q = layer.linear(f"{NAME}.wq_b", latent)
    k = layer_norm(layer, f"{NAME}.k_norm", layer.linear(f"{NAME}.wk", x))
    layer.begin(NAME)
    q_rot, q_pass = ops.split_widths(q, heads * turned, heads * (width - turned))
    k_rot, k_pass = ops.split_widths(k, turned, width - turned)
    q_rot, k_rot = rotary(layer, context, q_rot), rotary(layer, context, k_rot)
    q, k = ops.cat(q_rot, q_pass), ops.cat(k_rot, k_pass)
    scores = ops.scale(head_scores(context, ops.to(q, FLOAT32), ops.to(k, FLOAT32)), "scores")
    scores = ops.relu(scores)
    weights = layer.linear(f"{NAME}.weights_proj", x)
    layer.begin(NAME)
    weights = ops.scale(ops.to(weights, FLOAT32))
    total = ops.matmul(weights, scores, x.rows, length)
    inverse = tape.new(x.rows, length, BOOL, "not to be seen")
    total = ops.to(total, FLOAT32)
    masked = tape.new(x.rows, length, FLOAT32, "masked scores")
    del inverse, total
    _, best = mixture.top_k(masked, min(config.get("index_topk", 2048), length))
    return tape.new(best.rows, best.width, INT32, "chosen tokens")


def head_scores(context: Context, q: Tensor, k: Tensor) -> Tensor:
    """Multiply each query's heads by all keys, which are copied for each query anew."""
    tape, heads = q.tape, context.config["index_n_heads"]
    if tape.autocast is not None:
        q, k = ops.to(q, tape.autocast), ops.to(k, tape.autocast)
    copied = tape.new(q.rows * k.width, context.length, k.dtype, "keys, for each query anew")
    scores = tape.new(q.rows * heads, context.length, k.dtype, "scores of every head")
    del copied
    return scores
