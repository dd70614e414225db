"""Training Hub's memory estimator by its own signatures: a notebook changes one import."""

from .estimators import (
    BasicEstimator,
    LoRAEstimator,
    OSFTEstimator,
    OSFTEstimatorExperimental,
    QLoRAEstimator,
    estimate,
)

__all__ = [
    "BasicEstimator",
    "LoRAEstimator",
    "OSFTEstimator",
    "OSFTEstimatorExperimental",
    "QLoRAEstimator",
    "estimate",
]
