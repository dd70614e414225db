"""A slow machine's progress bars are no part of what a notebook shows."""

import os

#: As in tests/: it holds no doctests.
collect_ignore = ["conftest.py"]

os.environ["TQDM_DISABLE"] = "1"
