"""What a model is trained on: the GPU catalogue, and the cards in this machine."""

from .catalogue import GPU, alternatives, lookup, names
from .chosen import resolve
from .discover import discover_gpus

__all__ = ["GPU", "alternatives", "discover_gpus", "lookup", "names", "resolve"]
