"""The notebooks as they are committed: what a reader without a kernel sees. nbval runs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

#: A place on the machine that ran a notebook: home and temporary folders, a kernel's own files.
OF_A_MACHINE = re.compile(r"/(tmp|root|home|Users|var|work)/|ipykernel_|site-packages|[A-Z]:\\")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> NotebookNode:
    return nbformat.read(request.param, as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook: NotebookNode) -> Iterator[str]:
    """Yield every text among the outputs."""
    for cell in code(notebook):
        for output in cell.outputs:
            yield output.get("text", "")
            yield from (text for kind, text in output.get("data", {}).items() if "text" in kind)


def test_there_is_a_notebook_for_each_thing_to_learn():
    assert {path.stem for path in NOTEBOOKS} >= {
        "quickstart",
        "where_memory_goes",
        "methods_compared",
        "make_it_fit",
        "openshift_ai",
        "from_training_hub",
        "from_your_file",
        "in_your_tutorial",
        "accuracy",
    }


def test_a_notebook_was_run_once_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_a_notebook_shows_pictures_and_values_and_no_noise(notebook):
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any(text.strip() for text in texts(notebook))
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


def test_a_notebook_carries_nothing_of_the_kernel_or_machine_that_ran_it(notebook):
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata.language_info) == {"name"}
    for cell in code(notebook):
        for output in cell.outputs:
            assert not [kind for kind in output.get("data", {}) if "widget" in kind]
    assert not [text for text in texts(notebook) if OF_A_MACHINE.search(text)]
