"""Know the GPU memory of an LLM fine-tune before it is launched, in the notebook that launches it.

>>> import vram_widget as vw
>>> low, expected, high = vw.estimate("meta-llama/Llama-3.1-8B", training_method="qlora", gpu="T4")
"""

from .advise import compare, largest, recommend, suggest, sweep
from .config import TrainingConfig
from .errors import ConfigError, GPUError, ModelError, UnknownFieldError, VRAMWidgetError
from .estimate.estimate import MemoryEstimate, estimate
from .estimate.run_time import run_time
from .export import (
    export,
    from_axolotl,
    from_deepspeed,
    from_file,
    from_llamafactory,
    from_torchtune,
    from_training_hub,
    from_trainjob,
    from_trl,
    from_unsloth,
)
from .gpu import discover_gpus
from .trace import trace
from .widget import VRAMWidget

__all__ = [
    "ConfigError",
    "GPUError",
    "MemoryEstimate",
    "ModelError",
    "TrainingConfig",
    "UnknownFieldError",
    "VRAMWidget",
    "VRAMWidgetError",
    "compare",
    "discover_gpus",
    "estimate",
    "export",
    "from_axolotl",
    "from_deepspeed",
    "from_file",
    "from_llamafactory",
    "from_torchtune",
    "from_training_hub",
    "from_trainjob",
    "from_trl",
    "from_unsloth",
    "largest",
    "recommend",
    "run_time",
    "suggest",
    "sweep",
    "trace",
]


def __dir__() -> list[str]:
    """Return what a person imports, and what every module has."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
