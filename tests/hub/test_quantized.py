"""Quantised checkpoints by their headers, laid out as their published files are."""

import json

import pytest
from models import CONFIG, llama_tensors, said, shapes

from vram_widget.families import from_config
from vram_widget.model.checkpoint import Checkpoint
from vram_widget.model.quantized import logical, recognise
from vram_widget.model.reconcile import reconcile

# Headers as published for layers of Llama-3.1-8B (q_proj 4096 x 4096, down_proj 4096 x 14336),
# DeepSeek-V3 and gpt-oss-20b.
HEADERS = {
    "nf4": {
        "q_proj.weight": ((8388608, 1), "U8"),
        "q_proj.weight.absmax": ((262144,), "U8"),
        "q_proj.weight.nested_absmax": ((1024,), "F32"),
        "q_proj.weight.nested_quant_map": ((256,), "F32"),
        "q_proj.weight.quant_map": ((16,), "F32"),
        "q_proj.weight.quant_state.bitsandbytes__nf4": ((136,), "U8"),
        "norm.weight": ((4096,), "BF16"),
    },
    "int8": {
        "q_proj.weight": ((4096, 4096), "I8"),
        "q_proj.SCB": ((4096,), "F32"),
        "q_proj.weight_format": ((), "U8"),
        "norm.weight": ((4096,), "F16"),
    },
    "gptq": {
        "down_proj.qweight": ((1792, 4096), "I32"),
        "down_proj.qzeros": ((112, 512), "I32"),
        "down_proj.scales": ((112, 4096), "F16"),
        "down_proj.g_idx": ((14336,), "I32"),
        "norm.weight": ((4096,), "F16"),
    },
    "awq": {
        "down_proj.qweight": ((14336, 512), "I32"),
        "down_proj.qzeros": ((112, 512), "I32"),
        "down_proj.scales": ((112, 4096), "F16"),
        "norm.weight": ((4096,), "F16"),
    },
    "fp8": {
        "q_a_proj.weight": ((1536, 7168), "F8_E4M3"),
        "q_a_proj.weight_scale_inv": ((12, 56), "F32"),
        "norm.weight": ((7168,), "BF16"),
    },
    "mxfp4": {
        "mlp.experts.gate_up_proj_blocks": ((32, 5760, 90, 16), "U8"),
        "mlp.experts.gate_up_proj_scales": ((32, 5760, 90), "U8"),
        "mlp.experts.gate_up_proj_bias": ((32, 5760), "BF16"),
        "mlp.experts.down_proj_blocks": ((32, 2880, 90, 16), "U8"),
        "mlp.experts.down_proj_scales": ((32, 2880, 90), "U8"),
    },
}

#: What those tensors stand for.
WEIGHTS = {
    "nf4": {"q_proj.weight": 4096 * 4096, "norm.weight": (4096,)},
    "int8": {"q_proj.weight": (4096, 4096), "norm.weight": (4096,)},
    "gptq": {"down_proj.weight": (4096, 14336), "norm.weight": (4096,)},
    "awq": {"down_proj.weight": (4096, 14336), "norm.weight": (4096,)},
    "fp8": {"q_a_proj.weight": (1536, 7168), "norm.weight": (7168,)},
    "mxfp4": {
        "mlp.experts.gate_up_proj": (32, 2880, 5760),
        "mlp.experts.gate_up_proj_bias": (32, 5760),
        "mlp.experts.down_proj": (32, 2880, 2880),
    },
}


@pytest.mark.parametrize("kind", HEADERS)
def test_recognised_by_the_header_alone(kind):
    assert recognise({}, HEADERS[kind]) == (kind, None)
    assert logical(HEADERS[kind], kind, {}) == WEIGHTS[kind]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "nf4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq"}, "awq"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
    ],
)
def test_recognised_by_config_json_where_there_are_no_headers(said, kind):
    assert recognise({"quantization_config": said}, {}) == (kind, None)


def test_not_quantised_and_not_known():
    assert recognise(CONFIG, shapes(llama_tensors())) == (None, None)
    kind, notice = recognise({"quantization_config": {"quant_method": "hqq"}}, {})
    assert kind is None
    assert "hqq" in notice


def quantise(kind, name, shape):
    """Store one linear weight as `kind` does; the sizes are those of the formats' papers."""
    rows, columns = shape
    stem = name.removesuffix(".weight")
    return {
        "nf4": {
            name: ((rows * columns // 2, 1), "U8"),
            f"{name}.absmax": ((rows * columns // 64,), "F32"),
            f"{name}.quant_map": ((16,), "F32"),
            f"{name}.quant_state.bitsandbytes__nf4": ((90,), "U8"),
        },
        "int8": {name: (shape, "I8"), f"{stem}.SCB": ((rows,), "F32")},
        "gptq": {
            f"{stem}.qweight": ((columns // 8, rows), "I32"),
            f"{stem}.qzeros": ((1, rows // 8), "I32"),
            f"{stem}.scales": ((1, rows), "F16"),
            f"{stem}.g_idx": ((columns,), "I32"),
        },
        "awq": {
            f"{stem}.qweight": ((columns, rows // 8), "I32"),
            f"{stem}.qzeros": ((1, rows // 8), "I32"),
            f"{stem}.scales": ((1, rows), "F16"),
        },
        "fp8": {name: (shape, "F8_E4M3"), f"{name}_scale_inv": ((1, 1), "F32")},
    }[kind]


@pytest.mark.parametrize("kind", ["nf4", "int8", "gptq", "awq", "fp8"])
def test_a_quantised_llama_keeps_its_shapes(kind):
    """As these formats do, all but embedding, head and norms is packed."""
    stored = {}
    for name, tensor in shapes(llama_tensors()).items():
        stored |= quantise(kind, name, tensor[0]) if "_proj" in name else {name: tensor}
    found, notice = recognise(CONFIG, stored)
    assert (found, notice) == (kind, None)
    implied = from_config(CONFIG)
    assert said(reconcile(implied, Checkpoint(CONFIG, stored, quantization=found))) == said(implied)


def test_gpt_oss_keeps_its_shapes():
    config = {
        "model_type": "gpt_oss",
        "architectures": ["GptOssForCausalLM"],
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "vocab_size": 128,
    }
    implied = from_config(json.loads(json.dumps(config)))
    stored = {}
    for name, shape in implied.weights():
        if name.endswith(("gate_up_proj", "down_proj")):
            experts, inputs, outputs = shape
            stored[f"{name}_blocks"] = ((experts, outputs, inputs // 32, 16), "U8")
            stored[f"{name}_scales"] = ((experts, outputs, inputs // 32), "U8")
        else:
            stored[name] = (shape, "BF16")
    found, _ = recognise(config, stored)
    assert found == "mxfp4"
    assert said(reconcile(implied, Checkpoint(config, stored, quantization=found))) == said(implied)
