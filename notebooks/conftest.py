"""What depends on the machine is no part of what a notebook shows; what it lacks is skipped."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

#: A progress bar, where it is slow.
os.environ["TQDM_DISABLE"] = "1"
#: Where DeepSpeed is installed, what it says of the devices it has found.
os.environ["DS_ACCELERATOR"] = "cpu"

#: The notebook that trains a model, and what that needs.
TRAINS = "in_your_tutorial.ipynb"
NEEDED = ("torch", "transformers", "peft")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        why = f"it trains; not installed: {', '.join(missing)}; pip install '.[trace]'"
        for item in items:
            if item.path.name == TRAINS:
                item.add_marker(pytest.mark.skip(reason=why))
