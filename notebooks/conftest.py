"""What depends on the machine is no part of what a notebook shows."""

import os

#: As in tests/: it holds no doctests.
collect_ignore = ["conftest.py"]

#: A progress bar, where it is slow.
os.environ["TQDM_DISABLE"] = "1"
#: Where DeepSpeed is installed, what it says of the devices it has found.
os.environ["DS_ACCELERATOR"] = "cpu"
