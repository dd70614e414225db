"""What a model is trained on: the GPU catalogue, and the cards in this machine."""

from .catalogue import GPU, alternatives, lookup, names
from .device import resolve
from .discovery import discover_gpus

__all__ = ["GPU", "alternatives", "discover_gpus", "lookup", "names", "resolve"]
