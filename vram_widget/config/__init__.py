"""The choices of a fine-tune, and their kinds."""

from .config import AnyConfig, TrainingConfig

__all__ = ["AnyConfig", "TrainingConfig"]
