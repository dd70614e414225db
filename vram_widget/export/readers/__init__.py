"""What other programs' settings say, as a configuration: one file a program."""

from __future__ import annotations

from .axolotl import from_axolotl
from .deepspeed import from_deepspeed
from .training_hub import from_training_hub
from .trl import from_trl

__all__ = ["from_axolotl", "from_deepspeed", "from_training_hub", "from_trl"]
