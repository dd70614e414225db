"""What other programs' settings say, as a configuration: one file a program."""

from __future__ import annotations

from .axolotl import from_axolotl
from .deepspeed import from_deepspeed
from .files import from_file
from .llamafactory import from_llamafactory
from .reading import ReadingWarning
from .torchtune import from_torchtune
from .training_hub import from_training_hub
from .trainjob import from_trainjob
from .trl import from_trl
from .unsloth import from_unsloth

__all__ = [
    "ReadingWarning",
    "from_axolotl",
    "from_deepspeed",
    "from_file",
    "from_llamafactory",
    "from_torchtune",
    "from_training_hub",
    "from_trainjob",
    "from_trl",
    "from_unsloth",
]
