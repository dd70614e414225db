"""Ask other estimators for the published runs that this package is held against.

    pip install accelerate==1.15.0 deepspeed==0.19.8 fitcheck-llm==0.3.1 training_hub==0.11.2
    python tests/reference/make_comparison.py

in an environment that holds this package and its extra `trace`, writes comparison.csv beside this
script and the README's table of it; with ``--table`` only the table, of the committed file. The
runs are those of measured_predicted.csv that count: what was measured is the most bytes that
PyTorch allocated, so each tool's own allowance for the CUDA context and the allocator is left out.
A cell is empty where a tool has nothing to say of the run. Every tool runs its own code; only the
Hub is taken from them: each is given the model from its config.json, on PyTorch's meta device
where it wants one. This package's own figures are those of measured_predicted.csv.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import sys
from collections.abc import Callable
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from reference import make_measured  # noqa: E402
from reference.make_measured import Choices, Row  # noqa: E402

import vram_widget as vw  # noqa: E402
from vram_widget.model.load import load  # noqa: E402
from vram_widget.units import GiB  # noqa: E402

TABLE = HERE / "comparison.csv"
README = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- made by tests/reference/make_comparison.py -->", "<!-- end of comparison -->"

#: Each tool of the table: its name, and what of a run it counts.
TOOLS = {
    "this_package": ("this package", "every tensor of the step, over time"),
    "rule_of_thumb": ("the web calculators' rule of thumb", "weights, states, a share by tokens"),
    "training_hub": ("Training Hub 0.11.2, `memory_estimator`", "weights, states, tokens, logits"),
    "fitcheck_llm": ("fitcheck-llm 0.3.1", "weights, states, tokens, logits, checkpointing"),
    "accelerate": (
        "accelerate 1.15.0, `estimate-memory`",
        "weights and states of full fine-tuning",
    ),
    "deepspeed": ("DeepSpeed 0.19.8, ZeRO-2 estimator", "weights and states of full fine-tuning"),
}


def meta_model(model_path: str) -> Any:
    """Return transformers' model without its head, on the meta device: what those tools load."""
    import torch
    from transformers import AutoConfig, AutoModel

    config = dict(load(model_path).config)
    with torch.device("meta"):
        return AutoModel.from_config(AutoConfig.for_model(config.pop("model_type"), **config))


def by_rule_of_thumb(run: Choices) -> float:
    """The common web calculator's rule."""
    return vw.estimate(**run, memory_model="rule_of_thumb").allocated


def by_training_hub(run: Choices) -> float:
    """The released memory_estimator, before it multiplies by its allowances."""
    module = released_memory_estimator()
    kind = {"sft": "BasicEstimator", "lora": "LoRAEstimator", "qlora": "QLoRAEstimator"}
    rank = {"lora_r": run["lora_r"]} if run["training_method"] != "sft" else {}
    estimator = getattr(module, kind[run["training_method"]])(
        num_gpus=run["num_gpus"],
        model_path=run["model_path"],
        batch_size=run["micro_batch_size"] * run["num_gpus"],
        max_seq_len=run["max_seq_len"],
        use_liger=run["loss_kernel"] == "liger",
        verbose=0,
        **rank,
    )
    return float(estimator._calc_subtotal()[0])


def released_memory_estimator() -> Any:
    """Return Training Hub's module, which is read by itself: the package starts its trainers."""
    if "memory_estimator" not in sys.modules:
        found = importlib.util.find_spec("training_hub")
        assert found is not None
        assert found.origin is not None
        path = Path(found.origin).parent / "profiling" / "memory_estimator.py"
        spec = importlib.util.spec_from_file_location("memory_estimator", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.AutoModel.from_pretrained = lambda path, **_: meta_model(path)
        sys.modules["memory_estimator"] = module
    return sys.modules["memory_estimator"]


def by_fitcheck_llm(run: Choices) -> float | None:
    """fitcheck's total without its overhead, the parameters counted as they are."""
    if run["num_gpus"] > 1:
        return None
    import fitcheck

    model = load(run["model_path"])
    config = model.config
    heads = config["num_attention_heads"]
    names = (name.rsplit(".", 2)[-2] for layer in model.layers for name in layer.weights)
    linears = [name for name in dict.fromkeys(names) if name.endswith("_proj")]
    targets = [name for name in linears if name in run.get("target_modules", linears)]
    report = fitcheck.estimate(
        fitcheck.ModelConfig(
            name=run["model_path"],
            num_params=model.num_parameters,
            hidden_size=config["hidden_size"],
            num_layers=config["num_hidden_layers"],
            num_attention_heads=heads,
            num_kv_heads=config.get("num_key_value_heads", heads),
            intermediate_size=config["intermediate_size"],
            vocab_size=config["vocab_size"],
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            tie_word_embeddings=config.get("tie_word_embeddings", False),
        ),
        fitcheck.TrainingConfig(
            precision="bf16",
            quantization="nf4" if run["training_method"] == "qlora" else "none",
            double_quant=run["training_method"] == "qlora",
            optimizer="adamw",
            optimizer_dtype="bf16" if run["training_method"] == "sft" else "fp32",
            batch_size=run["micro_batch_size"],
            seq_len=run["max_seq_len"],
            lora_rank=run.get("lora_r"),
            lora_targets=targets,
            grad_checkpoint=run["gradient_checkpointing"],
            flash_attn=True,
        ),
        fitcheck.get_gpu("a100-80"),
    )
    return (report.total_mib - report.overhead_mib) * 1024**2


def by_accelerate(run: Choices) -> float | None:
    """What `accelerate estimate-memory` prints as "Training using Adam", in half precision."""
    if run["training_method"] != "sft":
        return None
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes

    total, _ = calculate_maximum_sizes(meta_model(run["model_path"]).float())
    return float(max(estimate_training_usage(total, "float16").values()))


def by_deepspeed(run: Choices) -> float | None:
    """ZeRO's estimate of what the model's states need on one GPU."""
    if run["training_method"] != "sft":
        return None
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    parameters = load(run["model_path"]).num_parameters
    _, gpu = estimate_zero2_model_states_mem_needs(parameters, run["num_gpus"], cpu_offload=False)
    return float(gpu)


ASK: dict[str, Callable[[Choices], float | None]] = {
    "rule_of_thumb": by_rule_of_thumb,
    "training_hub": by_training_hub,
    "fitcheck_llm": by_fitcheck_llm,
    "accelerate": by_accelerate,
    "deepspeed": by_deepspeed,
}


def predicted() -> dict[str, str]:
    """Return this package's own figures for the published runs that count, by their ids."""
    with make_measured.TABLE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["counts"] == "yes"]
    return {row["id"]: row["predicted_gib"] for row in rows}


def rows() -> list[Row]:
    """Return the published runs that count, as measured_public.csv has them."""
    counting = predicted()
    with (HERE / "measured_public.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["id"] in counting]


def compare(row: Row) -> Row:
    """Return a run with what each tool says of it, in GiB on each GPU."""
    run = make_measured.choices(row)
    said = {name: ask(run) for name, ask in ASK.items()}
    figures = {name: "" if b is None else f"{b / GiB:.2f}" for name, b in said.items()}
    return {
        **{name: row[name] for name in ("id", "model_id", "method")},
        "measured_gib": row["measured_gib_per_gpu"],
        **figures,
    }


def committed() -> list[Row]:
    """Return the table as it is committed, with this package's own figures beside it."""
    own = predicted()
    with TABLE.open(newline="") as file:
        return [{**row, "this_package": own[row["id"]]} for row in csv.DictReader(file)]


def errors(table: list[Row], tool: str) -> list[float]:
    """Return a tool's relative error in every run that it speaks about."""
    return [float(row[tool]) / float(row["measured_gib"]) - 1 for row in table if row[tool]]


def summary(table: list[Row]) -> str:
    """Return the README's table."""
    lines = [
        "| estimator | what it counts | runs | median error | from | to |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for tool, (name, knows) in TOOLS.items():
        found = errors(table, tool)
        size = ceil(1000 * median(map(abs, found))) / 10
        low, high = (signed(end) for end in (min(found), max(found)))
        lines.append(f"| {name} | {knows} | {len(found)} | {size:.1f} % | {low} | {high} |")
    return "\n".join(lines)


def signed(error: float) -> str:
    """Return a relative error in whole per cent, with its sign."""
    size = round(100 * error)
    return f"{'−' if size < 0 else '+' if size else ''}{abs(size)} %"


if __name__ == "__main__":
    if "--table" not in sys.argv:
        table = [compare(row) for row in rows()]
        with TABLE.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
    text = README.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n{summary(committed())}\n\n{END}{after}", "utf-8")
