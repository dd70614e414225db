"""The published closed formulas, to lay beside the replay: Training Hub's, and the rule of thumb.

Each adds up component maxima, as if everything lived at once, and gives one figure for a whole run.

**Training Hub's** memory estimator, per GPU, over ``G = num_gpus`` GPUs, for ``T`` tokens on each,
with ``N`` parameters, ``L`` layers, ``h`` hidden and ``V`` vocabulary (bytes):

======  ============  =========  =========  ===========  =============  ==================
method  parameters    optimizer  gradients  activations  outputs        low/expected/high
======  ============  =========  =========  ===========  =============  ==================
sft     4N / G        8N / G     4N / G     4 L T h      4 T V 8/3      1.0 / 1.1 / 1.3
osft    4(N + P) / G  8N / G     4N / G     4 L T h      4 T V 7/3      1.0 / 1.1 / 1.3
lora    2N + 2A / G   4A / G     2A / G     2 L T h      2 T V 2        0.95 / 1.1 / 1.2
qlora   N/2 + 2A / G  4A / G     2A / G     2 L T h      2 T V 2        0.95 / 1.1 / 1.3
======  ============  =========  =========  ===========  =============  ==================

where ``P`` counts the singular vectors and values of OSFT's targets, ``A`` the adapters. Liger
makes ``outputs`` nothing. LoRA and QLoRA count the larger of ``gradients`` and ``outputs``, and
QLoRA is never under the unquantised model, 2N.

The released code (training-hub 0.11.2, ``profiling/memory_estimator.py``) departs from this
published text: OSFT's parameters are P alone, its gradients and activations are scaled by
`unfreeze_rank_ratio`; LoRA's adapters are stored in 4 bytes; the bound of QLoRA is 1 byte a
parameter, divided by G. The text is followed here, with two corrections: N counts an untied
lm_head, and the frozen base of LoRA and QLoRA, of which every GPU has a replica, is not divided
by G.

**The rule of thumb** of the common web calculators knows one GPU: 2 bytes a weight (0.55 in NF4),
gradients like the trainable weights, 8 bytes of AdamW a trainable parameter (2 with an 8-bit
optimizer), and activations by batch x length x depth, 85 % less with checkpointing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..config import TrainingConfig
from ..errors import ConfigError
from ..step.architecture import Architecture
from ..step.methods.methods import check_adapters
from ..step.methods.targets import osft_target, target
from ..step.settings import Settings

#: What Training Hub multiplies the sum with: low, expected, high.
MARGINS = {
    "sft": (1.0, 1.1, 1.3),
    "osft": (1.0, 1.1, 1.3),
    "lora": (0.95, 1.1, 1.2),
    "qlora": (0.95, 1.1, 1.3),
}

#: Training Hub's factor on the logits.
LOGITS = {"sft": 8 / 3, "osft": 7 / 3, "lora": 2.0, "qlora": 2.0}

#: Bytes saved per token, layer and hidden unit by a 16-bit block that never makes the attention
#: matrix: Korthikanti et al. 2022, "Reducing Activation Recomputation", equation 1 less its 5as/h.
#: The calculators say what activations scale with, not by how much.
RULE_OF_THUMB_ACTIVATIONS = 34

#: What checkpointing leaves, by the same calculators.
RULE_OF_THUMB_CHECKPOINTING = 0.15


@dataclass(frozen=True)
class Published:
    """What a closed formula says of one GPU, in bytes.

    Attributes
    ----------
    components : dict of str to int
        Bytes by component; they sum to `expected`.
    low, expected, high : int
        The bounds and the expected figure.
    peak_phase : str
        When the formula has its peak: ``"load"`` where loading bounds it, else ``"backward"``,
        where everything it adds would be alive.
    """

    components: dict[str, int]
    low: int
    expected: int
    high: int
    peak_phase: str


def estimate(architecture: Architecture, config: TrainingConfig) -> Published:
    """Return what the published formula that `config.memory_model` names says.

    Raises
    ------
    ConfigError
        If `memory_model` names no published formula, or one that does not know the method.

    Examples
    --------
    >>> from vram_widget.model.load import load
    >>> config = TrainingConfig("ibm-granite/granite-3.3-2b-instruct", num_gpus=2,
    ...     max_tokens_per_gpu=8192, memory_model="training_hub")
    >>> round(estimate(load(config.model_path), config).expected / 1024**3, 1)
    27.9
    """
    if config.memory_model == "training_hub":
        sizes = hub_components(architecture, config, config.tokens)
        return hub_total(architecture, config.training_method, sizes)
    if config.memory_model == "rule_of_thumb":
        return rule_of_thumb(architecture, config)
    raise ConfigError(
        f"memory_model must be training_hub or rule_of_thumb here, not {config.memory_model!r}."
    )


def hub_components(
    architecture: Architecture, config: TrainingConfig, tokens: float
) -> dict[str, float]:
    """Return every component of Training Hub's published formula, in bytes on one GPU.

    Parameters
    ----------
    architecture : Architecture
        The model.
    config : TrainingConfig
        The method, and what it is set to.
    tokens : float
        Tokens on one GPU in one pass; a batch that does not divide evenly leaves a fraction.
    """
    method, gpus = config.training_method, config.num_gpus
    everything = architecture.num_parameters
    width = 2 if config.adapts else 4
    if method == "sft":
        parameters, trainable = 4 * everything / gpus, everything
    elif method == "osft":
        parameters = 4 * (everything + osft_parameters(architecture)) / gpus
        trainable = everything
    else:
        trainable = lora_parameters(architecture, config)
        stored = 0.5 if method == "qlora" else 2
        parameters = stored * everything + 2 * trainable / gpus
    logits = 0 if has_liger_loss(config) else width * tokens * architecture.vocab_size
    return {
        "parameters": parameters,
        "optimizer": 2 * width * trainable / gpus,
        "gradients": width * trainable / gpus,
        "activations": width * tokens * architecture.num_hidden_layers * architecture.hidden_size,
        "outputs": logits * LOGITS[method],
    }


def hub_total(architecture: Architecture, method: str, sizes: Mapping[str, float]) -> Published:
    """Return Training Hub's total of `sizes`: its alternatives, its bound and its margins."""
    sizes, phase = dict(sizes), "backward"
    if method in ("lora", "qlora"):
        sizes[min("gradients", "outputs", key=lambda name: sizes[name])] = 0
    unquantised = 2 * architecture.num_parameters
    if method == "qlora" and sum(sizes.values()) < unquantised:
        sizes, phase = {**dict.fromkeys(sizes, 0), "parameters": unquantised}, "load"
    total = sum(sizes.values())
    low, expected, high = (int(margin * total) for margin in MARGINS[method])
    return Published(_with_overhead(sizes, expected), low, expected, high, phase)


def rule_of_thumb(architecture: Architecture, config: TrainingConfig) -> Published:
    """Return what the common web calculators say of one GPU; they give one figure, and no band.

    Raises
    ------
    ConfigError
        For OSFT, which no such calculator knows.
    """
    if config.training_method == "osft":
        raise ConfigError(
            "The rule of thumb does not know OSFT; "
            "take memory_model='replay' or memory_model='training_hub'."
        )
    weights: float = 2 * architecture.num_parameters
    trainable = architecture.num_parameters
    if config.adapts:
        trainable = lora_parameters(architecture, config)
        base = 0.55 if config.training_method == "qlora" else 2
        weights = base * architecture.num_parameters + 2 * trainable
    depth = architecture.num_hidden_layers * architecture.hidden_size
    left = RULE_OF_THUMB_CHECKPOINTING if config.gradient_checkpointing else 1
    sizes = {
        "parameters": weights,
        "optimizer": (2 if "8bit" in config.optim else 8) * trainable,
        "gradients": 2 * trainable,
        "activations": RULE_OF_THUMB_ACTIVATIONS * config.tokens * depth * left,
        "outputs": 0,
    }
    total = int(sum(sizes.values()))
    return Published(_with_overhead(sizes, total), total, total, total, "backward")


def lora_parameters(architecture: Architecture, config: TrainingConfig) -> int:
    """Return the parameters of the adapters: rank x (rows + columns) of every targeted linear.

    Raises
    ------
    ConfigError
        If no linear is targeted, or the rank is larger than every one that is.
    """
    settings = Settings.of(config, architecture.model_type)
    check_adapters(architecture, settings)
    edges = 0
    for group in architecture.layers:
        targeted = target(settings, architecture, group)
        edges += group.count * sum(
            sum(shape)
            for name, shape in group.weights.items()
            if targeted(name.removesuffix(".weight"))
        )
    return int(config.lora_r) * edges


def osft_parameters(architecture: Architecture) -> int:
    """Return the numbers in U, S and V of every weight that OSFT decomposes."""
    numbers = 0
    for group in architecture.layers:
        decomposed = osft_target(architecture, group)
        numbers += group.count * sum(
            min(shape) * sum(shape) + min(shape)
            for name, shape in group.weights.items()
            if decomposed(name.removesuffix(".weight"))
        )
    return numbers


def has_liger_loss(config: TrainingConfig) -> bool:
    """Return whether Liger's fused linear and cross-entropy makes no logits."""
    return bool(config.use_liger) or config.loss_kernel == "liger"


def _with_overhead(sizes: Mapping[str, float], expected: int) -> dict[str, int]:
    """Return the sizes in whole bytes, with the overhead that brings them to `expected`."""
    rounded = {name: int(size) for name, size in sizes.items()}
    return {**rounded, "overhead": expected - sum(rounded.values())}
