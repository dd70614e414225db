"""Run notebooks from top to bottom and keep what a reader without a kernel needs.

    python notebooks/execute.py                 # all of them
    python notebooks/execute.py accuracy        # some

What is kept of an output is text, tables and pictures: no widget state, no time, nothing of the
machine. A notebook that raises, or writes to stderr, is left as it was.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent

#: Seconds that one cell may take.
TIMEOUT = 300

#: A live view that means nothing once its kernel is gone; the picture and the text beside it stay.
VIEW = "application/vnd.jupyter.widget-view+json"

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> None:
    """Run a notebook in its own folder, and write it back as it is to be committed."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources=resources,
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                raise SystemExit(f"{path.name} wrote to stderr:\n{output.text}")
            if "data" in output:
                output.data.pop(VIEW, None)
                output.metadata = {}
    notebook.metadata = METADATA
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def main(names: list[str]) -> None:
    """Run the named notebooks, or all."""
    os.environ["TQDM_DISABLE"] = "1"  # a progress bar is shown on slow machines only
    os.environ["DS_ACCELERATOR"] = "cpu"  # DeepSpeed says the time at which it found no GPU
    paths = [HERE / f"{name}.ipynb" for name in names] or sorted(HERE.glob("*.ipynb"))
    for path in paths:
        execute(path)
        print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
