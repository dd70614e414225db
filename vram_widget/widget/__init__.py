"""The widget: what the front end shows of an estimate, and what Python and it say to each other."""

from .widget import VRAMWidget

__all__ = ["VRAMWidget"]
