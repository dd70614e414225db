"""Know the GPU memory of an LLM fine-tune before it is launched."""

from .config import TrainingConfig

__all__ = ["TrainingConfig"]
