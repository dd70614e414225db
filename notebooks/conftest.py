"""A slow machine's progress bars are no part of what a notebook shows."""

import os

os.environ["TQDM_DISABLE"] = "1"
