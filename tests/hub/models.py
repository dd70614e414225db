"""Small models as safetensors files, written by the safetensors library itself."""

from __future__ import annotations

import dataclasses
import json

import numpy
from safetensors.numpy import save

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}


def llama_tensors(layers=4, vocab=64, hidden=16, inner=32, keys=8, tied=False):
    """The tensors of a small Llama, by the names transformers stores them under."""
    half = numpy.float16
    tensors = {"model.embed_tokens.weight": numpy.zeros((vocab, hidden), half)}
    for i in range(layers):
        for name, shape in {
            "input_layernorm.weight": (hidden,),
            "self_attn.q_proj.weight": (hidden, hidden),
            "self_attn.k_proj.weight": (keys, hidden),
            "self_attn.v_proj.weight": (keys, hidden),
            "self_attn.o_proj.weight": (hidden, hidden),
            "post_attention_layernorm.weight": (hidden,),
            "mlp.gate_proj.weight": (inner, hidden),
            "mlp.up_proj.weight": (inner, hidden),
            "mlp.down_proj.weight": (hidden, inner),
        }.items():
            tensors[f"model.layers.{i}.{name}"] = numpy.zeros(shape, half)
    tensors["model.norm.weight"] = numpy.zeros((hidden,), half)
    if not tied:
        tensors["lm_head.weight"] = numpy.zeros((vocab, hidden), half)
    return tensors


def shapes(tensors):
    """What a header should say of numpy tensors."""
    names = {"float16": "F16", "float32": "F32", "int8": "I8", "uint8": "U8", "int32": "I32"}
    return {name: (array.shape, names[array.dtype.name]) for name, array in tensors.items()}


def config_file(**changes):
    return json.dumps({**CONFIG, **changes}).encode()


def single(tensors, **changes):
    """The files of a model in one safetensors file."""
    return {"config.json": config_file(**changes), "model.safetensors": save(tensors)}


def sharded(tensors, count, total=None, **changes):
    """The files of a model in so many safetensors files, with their index."""
    names = list(tensors)
    size = -(-len(names) // count)
    parts = [names[i : i + size] for i in range(0, len(names), size)]
    files, weight_map = {"config.json": config_file(**changes)}, {}
    for i, part in enumerate(parts, 1):
        file = f"model-{i:05}-of-{len(parts):05}.safetensors"
        files[file] = save({name: tensors[name] for name in part})
        weight_map |= dict.fromkeys(part, file)
    size = sum(array.nbytes for array in tensors.values())
    index = {"metadata": {"total_size": total or size}, "weight_map": weight_map}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    return files


def said(architecture):
    """All that an architecture says, to compare: two are equal only if they are one."""
    names = [field.name for field in dataclasses.fields(architecture)]
    return {name: getattr(architecture, name) for name in names}
