"""Pictures of the widget in JupyterLab, for people to look at.

    python tests/browser/screenshots.py FOLDER [NAME ...]

writes one PNG for each state in `STATES`, in light and dark, at every width of `WIDTHS`.

    python tests/browser/screenshots.py --readme

writes those that the README shows.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab import CHROMIUM, FLAGS, Notebook, open_notebook, running_lab
from playwright.sync_api import sync_playwright

MODEL = "ibm-granite/granite-3.3-2b-instruct"


def hover(notebook: Notebook) -> None:
    """Read a moment out in the middle of the chart."""
    box = notebook.widget.locator(".vw-chart").bounding_box()
    assert box
    notebook.page.mouse.move(box["x"] + box["width"] * 0.62, box["y"] + box["height"] / 2)


def search(notebook: Notebook) -> None:
    """Open the list of models."""
    notebook.row("model_path").locator("input").fill("qwen")


def unknown_model(notebook: Notebook) -> None:
    """Name a model that there is not."""
    box = notebook.row("model_path").locator("input")
    box.fill("<img src=x onerror=alert(1)>/model")
    box.press("Enter")
    notebook.widget.locator(".vw-error:not([hidden])").wait_for()


def looked_up(notebook: Notebook) -> None:
    """Be in the middle of a look-up on the Hub."""
    shown = {"model_path": "someone/a-new-model", "done": 3, "total": 12}
    shown["file"] = "model-00003-of-00011.safetensors"
    notebook.run(f"w.set_trait('lookup', {shown})")
    notebook.widget.locator(".vw-lookup").wait_for()


def bad_number(notebook: Notebook) -> None:
    """Type something that is no number."""
    box = notebook.row("max_seq_len").locator("input[type=text]")
    box.fill("a lot")
    box.press("Enter")
    notebook.widget.locator(".vw-error:not([hidden])").wait_for()


def all_settings(notebook: Notebook) -> None:
    """Show every setting."""
    notebook.widget.locator(".vw-all").click()


def export(notebook: Notebook) -> None:
    """Open the export for TRL."""
    opened = notebook.widget.locator(".vw-export[open]")
    if not opened.count():
        notebook.widget.locator(".vw-export summary").click()
    notebook.widget.get_by_role("tab", name="TRL").click()


#: Settings of which some are not counted, and settings that are of another kind of run.
AXOLOTL = """base_model: Qwen/Qwen3-8B
adapter: qlora
load_in_4bit: true
lora_r: 32
lora_target_linear: true
sequence_len: 4096
micro_batch_size: 2
sample_packing: true
gradient_checkpointing: true
bf16: true
lisa_n_layers: 4
lora_modules_to_sav: [lm_head]
"""
PREFERENCES = AXOLOTL + "rl: dpo\n"


def importing(text: str) -> Callable[[Notebook], None]:
    """Read settings in the panel."""

    def act(notebook: Notebook) -> None:
        panel = notebook.widget.locator(".vw-import")
        if panel.get_attribute("open") is None:
            panel.locator("summary").click()
        box = panel.get_by_role("textbox")
        box.fill(text)
        if text:
            box.press("Control+Enter")
            panel.locator(".vw-found:not([hidden]), .vw-error:not([hidden])").first.wait_for()

    return act


def put(notebook: Notebook) -> None:
    """Put settings into the controls, and follow the mark to what is not counted."""
    if notebook.python("w.report['uncounted'] is None"):
        importing(AXOLOTL)(notebook)
        notebook.widget.get_by_role("button", name="Put into the controls").click()
        notebook.becomes("w.report['uncounted'] is not None", True)
        notebook.drawn()
    notebook.widget.locator(".vw-uncounted").click()


def focus(notebook: Notebook) -> None:
    """Focus the chart by keyboard and walk along it."""
    notebook.widget.locator(".vw-chart").focus()
    for _ in range(5):
        notebook.page.keyboard.press("PageDown")


def reading(name: str) -> Callable[[Notebook], None]:
    """Open another reading of the chart."""

    def act(notebook: Notebook) -> None:
        notebook.widget.get_by_role("tab", name=name).click()
        notebook.widget.locator(".vw-waiting:empty").wait_for(state="attached")

    return act


def read_out(name: str, keys: int) -> Callable[[Notebook], None]:
    """Open another reading and walk along it by keyboard."""

    def act(notebook: Notebook) -> None:
        reading(name)(notebook)
        notebook.widget.locator(".vw-chart").focus()
        for _ in range(keys):
            notebook.page.keyboard.press("ArrowRight")

    return act


def pinned(notebook: Notebook) -> None:
    """Pin the configuration and change it."""
    if notebook.python("w.pinned is None"):
        notebook.widget.get_by_role("button", name="Pin", exact=True).click()
        notebook.becomes("w.pinned is not None", True)
        notebook.run("w.max_seq_len = 8192; w.use_liger = True; w.micro_batch_size = 2")
        notebook.drawn()


def pinned_along(name: str) -> Callable[[Notebook], None]:
    """Pin the configuration, change it, and open another reading."""

    def act(notebook: Notebook) -> None:
        pinned(notebook)
        reading(name)(notebook)

    return act


def verified(notebook: Notebook) -> None:
    """Lay PyTorch's own step over the chart."""
    line = notebook.widget.locator(".vw-PyTorch-line")
    if not line.is_visible():
        notebook.widget.get_by_role("button", name="Verify with PyTorch").click()
    line.wait_for(timeout=120_000)


def verifying(notebook: Notebook) -> None:
    """Be in the middle of running PyTorch's own step."""
    shown = {"state": "running", "words": "Running two training steps", "line": None}
    notebook.run(f"w.set_trait('verification', {shown | {'current': True}})")
    notebook.widget.get_by_role("button", name="Cancel").wait_for()


SHORT, LLAMA = f'"{MODEL}"', '"meta-llama/Llama-3.1-8B"'

#: What the widget is made with, and what is then done to it.
STATES = {
    "sft": (f"{SHORT}, gpu='L40S'", None),
    "lora": (f"{LLAMA}, training_method='lora', gpu='A100-80GB'", None),
    "qlora": (f"{LLAMA}, training_method='qlora', gpu='RTX 4090'", all_settings),
    "osft": (f"{SHORT}, training_method='osft', gpu='H100', num_gpus=8", None),
    "too-large": (f"{LLAMA}, gpu='RTX 4090'", None),
    "small": ("'HuggingFaceTB/SmolLM2-135M', gpu='H100'", None),
    "long": (
        f"{LLAMA}, training_method='lora', gpu='H100', max_seq_len=16384, "
        "gradient_checkpointing=False",
        None,
    ),
    "hover": (f"{SHORT}, gpu='A100-80GB', micro_batch_size=4", hover),
    "focus": (f"{SHORT}, gpu='A100-80GB', micro_batch_size=4", focus),
    "search": (f"{SHORT}, gpu='L40S'", search),
    "unknown-model": (f"{SHORT}, gpu='L40S'", unknown_model),
    "looked-up": (f"{SHORT}, gpu='L40S'", looked_up),
    "verified": ("'HuggingFaceTB/SmolLM2-135M', gpu='T4', micro_batch_size=4", verified),
    "verifying": (f"{SHORT}, gpu='L40S'", verifying),
    "bad-number": (f"{SHORT}, gpu='L40S'", bad_number),
    "export": (f"{LLAMA}, training_method='lora', gpu='L40S', loss_kernel='fused'", export),
    "import": (f"{LLAMA}, training_method='lora', gpu='L40S'", importing("")),
    "imported": (f"{LLAMA}, training_method='lora', gpu='L40S'", importing(AXOLOTL)),
    "import-refused": (f"{LLAMA}, training_method='lora', gpu='L40S'", importing(PREFERENCES)),
    "uncounted": (f"{LLAMA}, training_method='lora', gpu='L40S'", put),
    "sharded": (
        f"{LLAMA}, gpu='H100', trainer='trl', num_gpus=8, sharding='zero3', uncounted=["
        "{'text': 'tiled_mlp: True is not counted: the figure is too low without it.', "
        "'effect': 'too_little'}]",
        all_settings,
    ),
    "tutorial": (f"{LLAMA}, gpu='H200', controls=['max_seq_len', 'training_method']", None),
    "length": (f"{LLAMA}, training_method='lora', gpu='L40S'", reading("Length")),
    "length-typed": (
        f"{LLAMA}, training_method='qlora', gpu='RTX 4090', max_seq_len=3000",
        read_out("Length", 3),
    ),
    "batch": (f"{SHORT}, training_method='osft', gpu='H100'", reading("Micro-batch")),
    "batch-too-large": (f"{LLAMA}, gpu='RTX 4090'", reading("Micro-batch")),
    "methods": (f"{SHORT}, gpu='L40S'", reading("Methods")),
    "methods-trl": (
        f"{LLAMA}, training_method='lora', trainer='trl', gpu='L40S'",
        read_out("Methods", 2),
    ),
    "methods-large": (
        "'meta-llama/Llama-3.1-70B', training_method='lora', gpu='H100'",
        reading("Methods"),
    ),
    "pinned": (f"{SHORT}, training_method='lora', gpu='L40S'", pinned),
    "pinned-length": (
        f"{SHORT}, training_method='lora', gpu='L40S'",
        pinned_along("Length"),
    ),
    "pinned-methods": (f"{SHORT}, training_method='lora', gpu='L40S'", pinned_along("Methods")),
    "tutorial-length": (
        f"{LLAMA}, gpu='H200', training_method='lora', controls=['max_seq_len']",
        reading("Length"),
    ),
    "formula": (f"{SHORT}, gpu='L40S', memory_model='training_hub'", None),
}

#: The README's pictures: which state, in which theme, at which width.
README = {
    "widget.png": ("sft", "light", 1200),
    "widget-length.png": ("length", "light", 1200),
    "widget-methods.png": ("methods", "dark", 1200),
}
IMAGES = Path(__file__).parents[2] / "notebooks" / "images"

WIDTHS = (1400, 1200, 900, 600)


def main(folder: Path, names: list[str]) -> None:
    """Write the pictures of the named states, or of all."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as work,
        running_lab(Path(work)) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name in names or STATES:
            choices, act = STATES[name]
            code = f"from vram_widget.widget import VRAMWidget\nw = VRAMWidget({choices})\nw"
            for theme in ("light", "dark"):
                with open_notebook(browser, address, Path(work), code, theme=theme) as notebook:
                    for width in WIDTHS:
                        notebook.page.set_viewport_size({"width": width + 104, "height": 1900})
                        notebook.page.wait_for_timeout(400)
                        if "controls" not in choices:
                            notebook.widget.locator(".vw-advice:not(.vw-stale)").wait_for()
                        if act:
                            act(notebook)
                        notebook.page.wait_for_timeout(200)
                        notebook.widget.screenshot(path=folder / f"{name}-{theme}-{width}.png")
                    for error in notebook.errors:
                        print(f"{name} {theme}: {error}", file=sys.stderr)


def readme() -> None:
    """Write the pictures of the README."""
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder), [state for state, _, _ in README.values()])
        for name, (state, theme, width) in README.items():
            shutil.copyfile(Path(folder) / f"{state}-{theme}-{width}.png", IMAGES / name)


if __name__ == "__main__":
    if sys.argv[1:] == ["--readme"]:
        readme()
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
