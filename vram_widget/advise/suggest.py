"""What to change so that it fits, the gentlest change first; or what to spend the room on."""

from __future__ import annotations

from ..config import AnyConfig
from ..estimate.estimate import estimate
from .ladders.spending import spending
from .saving import saving
from .search import Search
from .suggestion import Suggestions


def suggest(config: AnyConfig) -> Suggestions:
    """Return what to change so that a fine-tune fits, or what to spend its room on.

    Parameters
    ----------
    config : TrainingConfig, mapping or str
        The choices, or only the model.

    Returns
    -------
    Suggestions
        A list of `Suggestion`. Where it does not surely fit: first what makes it fit, the
        gentlest first, single changes and one combination of several of which none can be left
        out; then what saves memory but not enough, the gentlest first. Where it fits: what the
        room allows. Nothing that the chosen trainer has no setting for.

    Raises
    ------
    ConfigError, ModelError, GPUError
        If there is no estimate for `config` itself.

    Examples
    --------
    >>> config = {"model_path": "meta-llama/Llama-3.1-8B", "training_method": "lora",
    ...     "trainer": "trl", "gpu": "L4", "max_seq_len": 4096}
    >>> for suggestion in suggest(config)[:2]:
    ...     print(suggestion.changes, suggestion.fits)
    {'micro_batch_size': 2, 'gradient_accumulation_steps': 4, 'param_dtype': 'bfloat16'} True
    {'gpu': 'RTX PRO 5000 72GB'} True
    """
    search = Search(estimate(config))
    return Suggestions(spending(search) if search.now.fits else saving(search))
