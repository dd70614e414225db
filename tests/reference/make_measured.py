"""Predict every published run of measured_public.csv, and say how far off each prediction is.

    python tests/reference/make_measured.py

writes measured_predicted.csv beside it and the figure notebooks/images/accuracy.png. A run counts
where its source measured what this package predicts (the most bytes allocated by PyTorch in
training) and its settings can be expressed; the others are listed with the reason.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import vram_widget as vw
from vram_widget.units import GiB

HERE = Path(__file__).parent
TABLE = HERE / "measured_predicted.csv"
FIGURE = HERE.parents[1] / "notebooks" / "images" / "accuracy.png"

Row = dict[str, str]
Choices = dict[str, Any]

#: Published models that the catalogue does not hold: the same dimensions, or a config beside this.
MODELS = {
    "mistralai/Mistral-7B-v0.2": "mistralai/Mistral-7B-v0.1",
    "01-ai/Yi-34B": str(HERE / "configs" / "yi-34b.json"),
}
LINEARS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "output_proj": "o_proj"}

#: transformers 4.48 against the same runs under 4.45 (fms257 and on), which agree within 2.2 %.
LOGITS_IN_4_48 = "transformers 4.48 held 2 bytes a logit more than 4.45 does in the same run"
#: Why a row lies off, by the beginning of its id.
CAUSES = dict.fromkeys(
    ("fms033", "fms035", "fms037", "fms039", "fms077", "fms079", "fms081", "fms083"),
    LOGITS_IN_4_48,
)
#: Rows of torchtune's ladder that were compiled, which fuses norms, SwiGLU and the loss.
COMPILED = {f"torchtune-flags-{n}" for n in range(3, 11)}
#: Metrics that are not the most bytes allocated in training, and what they are.
OTHER_METRICS = {
    "max_reserved": "reserved, not allocated: held against est.reserved",
    "reserved_after_model_wrap": "reserved after loading, not in training",
    "max_allocated after model init": "after loading, not in training",
    "allocated_after_optimizer_step": "a mean after the step, not a peak",
}


def choices(row: Row) -> Choices:
    """Return the fields that a row's settings are."""
    chosen: Choices = {
        "model_path": MODELS.get(row["model_id"], row["model_id"]),
        "trainer": "unsloth",  # whose defaults hold nothing that a row does not name
        "prepare_model_for_kbit_training": "framework_config=baseline-peft-bnb" in row["notes"],
        "training_method": {"full": "sft"}.get(row["method"], row["method"]),
        "param_dtype": "bfloat16",
        "mixed_precision": "bf16" if row["compute_dtype"].startswith("amp") else "no",
        "optim": "adamw_8bit" if row["optimizer"].startswith("8-bit") else "adamw_torch",
        "optimizer_in_backward": row["id"] in [f"torchtune-flags-{n}" for n in (6, 7, 8)],
        "micro_batch_size": int(row["micro_batch"]),
        "max_seq_len": int(row["seq_len"]),
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": row["grad_checkpointing"].startswith("true"),
        # transformers before 5 leaves it to PyTorch, whose default it is; torchtune says no
        "use_reentrant": not row["id"].startswith("torchtune"),
        "offload_activations": "activations" in row["offload"],
        "attn_implementation": "flash_attention_2",
        "loss_kernel": loss_kernel(row["fused_ce"]),
        "padded": False,
        "num_gpus": int(row["num_gpus"]),
        "sharding": "fsdp" if row["sharding"].startswith("fsdp") else "ddp",
        "cpu_offload": "all" if "params" in row["offload"] else "none",
        "gpu": "A100-80GB",
    }
    if row["lora_r"]:
        of_peft = row["id"].startswith("fms")
        chosen |= {
            "lora_r": int(float(row["lora_r"])),
            "lora_dropout": 0.1 if of_peft else 0.0,
            "lora_dtype": "float32" if of_peft else "bfloat16",
            "target_modules": list(targets(row["lora_targets"])),
        }
    return chosen


def loss_kernel(text: str) -> str:
    """Return the loss kernel that a row's words mean."""
    words = {"liger": "liger", "triton": "fused", "chunked": "chunked"}
    return next((kernel for word, kernel in words.items() if word in text.lower()), "eager")


def targets(text: str) -> Iterator[str]:
    """Yield PEFT's names of a row's LoRA targets."""
    for name in (part.strip() for part in text.split(",")):
        if name == "mlp":
            yield from ("gate_proj", "up_proj", "down_proj")
        else:
            yield LINEARS.get(name, name)


def reason_not_to_count(row: Row) -> str:
    """Return why a row is not held against the prediction, or nothing."""
    if row["id"] in COMPILED:
        return "torch.compile, which is not modelled"
    for metric, reason in OTHER_METRICS.items():
        if row["metric"].startswith(metric):
            return reason
    return ""


def predict(row: Row) -> Row:
    """Return a row's line of the table."""
    reason = reason_not_to_count(row)
    line = {name: row[name] for name in ("id", "model_id", "method", "gpu", "metric")}
    line["measured_gib"] = row["measured_gib_per_gpu"]
    line |= dict.fromkeys(("predicted_gib", "error_percent", "verdict", "reserved_gib"), "")
    line |= {"reserved_error_percent": "", "counts": ""}
    if not (row["micro_batch"].isdigit() and row["seq_len"].isdigit()):
        return {**line, "counts": "no", "remark": reason}
    est = vw.estimate(**choices(row))
    predicted = est.allocated / GiB
    error = 100 * (predicted / float(row["measured_gib_per_gpu"]) - 1)
    if row["metric"] == "max_reserved":
        reserved = est.reserved.steady / GiB
        off = 100 * (reserved / float(row["measured_gib_per_gpu"]) - 1)
        line |= {"reserved_gib": f"{reserved:.2f}", "reserved_error_percent": f"{off:+.1f}"}
    cause = next((cause for start, cause in CAUSES.items() if row["id"].startswith(start)), "")
    return {
        **line,
        "predicted_gib": f"{predicted:.2f}",
        "error_percent": f"{error:+.1f}",
        "verdict": est.verdict,
        "counts": "no" if reason else "yes",
        "remark": "; ".join(filter(None, (reason, cause))),
    }


def draw(table: list[Row]) -> None:
    """Draw predicted against measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for method, colour in (("full", "#4477AA"), ("lora", "#EE6677"), ("qlora", "#228833")):
        rows = [r for r in table if r["counts"] == "yes" and r["method"] == method]
        axes.scatter(
            [float(r["measured_gib"]) for r in rows],
            [float(r["predicted_gib"]) for r in rows],
            s=22,
            color=colour,
            alpha=0.75,
            label={"full": "SFT", "lora": "LoRA", "qlora": "QLoRA"}[method],
        )
    line = [0, 80]
    axes.plot(line, line, color="#888888", linewidth=1, zorder=0)
    axes.fill_between(
        line, [0, 80 * 0.92], [0, 80 * 1.08], color="#BBBBBB", alpha=0.3, linewidth=0, label="±8 %"
    )
    axes.set(
        xlim=line,
        ylim=line,
        xlabel="measured peak, GiB allocated",
        ylabel="predicted peak, GiB allocated",
        aspect="equal",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=140)


def main() -> None:
    """Write the table and the figure, and print what they come to."""
    with (HERE / "measured_public.csv").open(newline="") as file:
        table = [predict(row) for row in csv.DictReader(file)]
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    draw(table)
    for what, column in (("allocated", "error_percent"), ("reserved", "reserved_error_percent")):
        counted = [row for row in table if row["counts"] == "yes" or what == "reserved"]
        errors = [abs(float(row[column])) for row in counted if row[column]]
        print(
            json.dumps(
                {
                    what: len(errors),
                    "median error, %": round(median(errors), 1),
                    "nine in ten within, %": round(quantiles(errors, n=10)[-1], 1),
                    "worst, %": max(errors),
                }
            )
        )


if __name__ == "__main__":
    main()
