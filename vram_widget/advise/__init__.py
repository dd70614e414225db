"""From an estimate to a decision: how far it goes, what to change, what else fits."""

from .compare import Comparison, compare, methods
from .largest import Limit, largest, limit
from .recommend import Recommendation, recommend
from .suggest import suggest
from .suggestion import Suggestion, Suggestions
from .sweep import Sweep, sweep

__all__ = [
    "Comparison",
    "Limit",
    "Recommendation",
    "Suggestion",
    "Suggestions",
    "Sweep",
    "compare",
    "largest",
    "limit",
    "methods",
    "recommend",
    "suggest",
    "sweep",
]
