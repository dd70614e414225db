"""What an optimizer keeps, held to what its own package made on a CPU."""

from __future__ import annotations

import pytest

from vram_widget.step.methods.optimizers import STATES
from vram_widget.step.methods.parameter import Parameter
from vram_widget.step.tape import BFLOAT16, FLOAT32, DType

#: Bytes of exp_avg and exp_avg_sq after a step of torchao 0.18's AdamW8bit and AdamW4bit, for a
#: parameter's shape and dtype: codes, scales and code books, or what was too small or uneven.
TORCHAO = [
    (1024, 1024, BFLOAT16, 2 * (1024 * 1024 + 4 * 4096 + 4 * 256), 2 * (524_288 + 4 * 8192 + 64)),
    (1024, 1024, FLOAT32, 2 * (1024 * 1024 + 4 * 4096 + 4 * 256), 2 * (524_288 + 4 * 8192 + 64)),
    (16, 256, BFLOAT16, 2 * (4096 + 4 * 16 + 4 * 256), 2 * (2048 + 4 * 32 + 64)),
    (100, 41, BFLOAT16, 2 * 4100 * 2, 2 * 4100 * 2),  # goes up in no blocks
    (3, 1000, FLOAT32, 2 * 3000 * 4, 2 * 3000 * 4),  # has fewer than 4,096 values
    (1, 50_000, FLOAT32, 2 * 50_000 * 4, 2 * 50_000 * 4),
]


@pytest.mark.parametrize(("rows", "width", "dtype", "eight", "four"), TORCHAO)
def test_torchao_quantises_what_goes_up_in_blocks(
    rows: int, width: int, dtype: DType, eight: int, four: int
) -> None:
    parameter = Parameter("model.embed_tokens.weight", rows, width, dtype, True)
    for optim, expected in (("adamw_torch_8bit", eight), ("adamw_torch_4bit", four)):
        moments = [state for state in STATES[optim](parameter) if state.what != "step"]
        made = sum(state.elements * state.dtype.itemsize // state.dtype.packed for state in moments)
        assert made == expected


def test_bitsandbytes_keeps_the_states_of_an_embedding_in_32_bits() -> None:
    """transformers' Trainer asks so of the weights of ``nn.Embedding``, adapters of it not."""
    table = Parameter("model.embed_tokens.weight", 32_000, 64, BFLOAT16, True)
    adapter = Parameter("model.embed_tokens.lora_embedding_A", 64, 32_000, FLOAT32, True)
    assert {state.dtype for state in STATES["adamw_8bit"](table)} == {FLOAT32}
    assert sum(state.elements for state in STATES["adamw_8bit"](adapter)) > 2 * 64 * 32_000
