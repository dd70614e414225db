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
QLoRA is never under the unquantised model, 2N. Two things are corrected: N counts an untied
lm_head, and the frozen base of LoRA and QLoRA, of which every GPU has a replica, is not divided
by G.

The released code (training-hub 0.11.2, ``profiling/memory_estimator.py``) departs from this
published text, and ``formula="released"`` follows it: N has no lm_head; OSFT's parameters are P and
what is not decomposed, its gradients and activations are scaled by `unfreeze_rank_ratio`; LoRA's
adapters are stored in 4 bytes, its base is divided by G, and it adapts what mini-trainer
decomposes, found by the model's name; the bound of QLoRA is 1 byte a parameter, divided by G.

**The rule of thumb** of the common web calculators knows one GPU: 2 bytes a weight (0.55 in NF4),
gradients like the trainable weights, 8 bytes of AdamW a trainable parameter (2 with an 8-bit
optimizer), and activations by batch x length x depth, 85 % less with checkpointing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from ..config import TrainingConfig
from ..config.choices import Method
from ..errors import ConfigError
from ..step.architecture import Architecture
from ..step.methods.methods import check_adapters
from ..step.methods.parameter import Shape
from ..step.methods.targets import osft_target, target
from ..step.settings import Settings

#: Which of Training Hub's formulas: that of its text, or that of its released code.
Source = Literal["published", "released"]

#: Bytes of the components on one GPU: parameters, optimizer, gradients, activations, outputs, and
#: anything else. Their sum, before any margin, comes first.
Subtotal = tuple[float, float, float, float, float, float, float]

#: Low, expected and high.
Figures = tuple[int, int, int]

#: What each figure goes beyond the sum.
Overhead = tuple[float, float, float]

#: What the formulas count, in the order of `Subtotal`.
COMPONENTS = ("parameters", "optimizer", "gradients", "activations", "outputs", "buffers")

#: What mini-trainer decomposes in most models (``MODEL_CONFIGS`` in its osft_utils.py, 0.9).
USUAL = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)

#: The same, by what a model is called: the first name that is in its path counts.
PATTERNS: dict[str, tuple[str, ...]] = {
    "phi-3": ("self_attn.o_proj", "self_attn.qkv_proj", "mlp.gate_up_proj", "mlp.down_proj"),
    "llama": USUAL,
    "gpt2": ("attn.c_proj", "attn.c_attn", "mlp.c_fc", "mlp.c_proj"),
    "mistral": USUAL,
    "gpt-j": (
        *("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj"),
        *("mlp.fc_in", "mlp.fc_out"),
    ),
    "gpt-neo": (
        *("attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"),
        *("attn.attention.out_proj", "mlp.c_fc", "mlp.c_proj"),
    ),
    "opt": (
        *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
        *("fc1", "fc2"),
    ),
    "qwen": USUAL,
    "gemma": USUAL,
    "phi3": ("self_attn.o_proj", "self_attn.qkv_proj", "mlp.gate_up_proj", "mlp.down_proj"),
    "granite": USUAL,
    "gpt-oss": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
}

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
        return FORMULAS[config.training_method](architecture, config, config.tokens).total()
    if config.memory_model == "rule_of_thumb":
        return rule_of_thumb(architecture, config)
    raise ConfigError(
        f"memory_model must be training_hub or rule_of_thumb here, not {config.memory_model!r}."
    )


class Formula:
    """Training Hub's formula for full fine-tuning, its numbers named as its own estimator's are.

    Parameters
    ----------
    architecture : Architecture
        The model.
    config : TrainingConfig
        The method, and what it is set to.
    tokens : float
        Tokens on one GPU in one pass; a batch that does not divide evenly leaves a fraction.
    formula : str
        ``"published"`` or ``"released"``.

    Attributes
    ----------
    num_params, num_trainable_params, num_layers, hidden_size, vocab_size : int
        The model's.
    num_gpus : int
        All GPUs of the run.
    tokens_per_gpu : float
        Tokens on one GPU in one pass.
    use_liger : bool
        Whether no logits are made.
    main_dtype_bytes, opt_params, output_constant : float
        Bytes of a number, numbers of the optimizer for each that trains, and the factor on the
        logits.
    LOW_MULTIPLIER, MEDIUM_MULTIPLIER, HIGH_MULTIPLIER : float
        What the sum is multiplied with.
    """

    LOW_MULTIPLIER = 1.0
    MEDIUM_MULTIPLIER = 1.1
    HIGH_MULTIPLIER = 1.3
    output_constant: float = 8 / 3
    main_dtype_bytes: float = 4
    opt_params: float = 2

    num_gpus: int
    tokens_per_gpu: float

    def __init__(
        self,
        architecture: Architecture,
        config: TrainingConfig,
        tokens: float,
        formula: Source = "published",
    ) -> None:
        self.num_gpus, self.tokens_per_gpu = config.num_gpus, tokens
        self._measure(architecture, config, formula)

    def _measure(self, architecture: Architecture, config: TrainingConfig, formula: Source) -> None:
        """Take the numbers of a model."""
        self.architecture, self.formula = architecture, formula
        self.model_path: str = config.model_path
        self.num_params = architecture.num_parameters
        if formula == "released":  # it loads the model without its head
            head = f"{architecture.lm_head_name}."
            outside = architecture.outside.items()
            self.num_params -= sum(prod(shape) for name, shape in outside if name.startswith(head))
        self.num_trainable_params = self.num_params
        self.num_layers = architecture.num_hidden_layers
        self.hidden_size = architecture.hidden_size
        self.vocab_size = architecture.vocab_size
        self.use_liger = has_liger_loss(config)

    def _find_valid_layers(self) -> Sequence[str]:
        """Return what the names of the weights have in them that the released code counts."""
        path = self.model_path.lower()
        return next((terms for name, terms in PATTERNS.items() if name in path), USUAL)

    def _calc_model_params(self) -> float:
        """Return the bytes of the weights on one GPU."""
        return self.num_params * self.main_dtype_bytes / self.num_gpus

    def _calc_optimizer(self) -> float:
        """Return the bytes of the optimizer's states on one GPU."""
        trained = self.main_dtype_bytes * self.num_trainable_params
        return trained * self.opt_params / self.num_gpus

    def _calc_gradients(self) -> float:
        """Return the bytes of the gradients on one GPU."""
        return self.main_dtype_bytes * self.num_trainable_params / self.num_gpus

    def _calc_intermediate_activations(self) -> float:
        """Return the bytes of the activations saved on one GPU."""
        return self.tokens_per_gpu * self.main_dtype_bytes * self.num_layers * self.hidden_size

    def _calc_outputs(self) -> float:
        """Return the bytes of the logits and the loss on one GPU."""
        if self.use_liger:
            return 0
        logits = self.tokens_per_gpu * self.main_dtype_bytes * self.vocab_size
        return logits * self.output_constant

    def _calc_additional(self) -> float:
        """Return the bytes of anything else on one GPU."""
        return 0

    def _calc_subtotal(self) -> Subtotal:
        """Return the sum of the components, before any margin, and each of them."""
        parts = (
            self._calc_model_params(),
            self._calc_optimizer(),
            self._calc_gradients(),
            self._calc_intermediate_activations(),
            self._calc_outputs(),
            self._calc_additional(),
        )
        return sum(parts), *parts

    def _apply_overhead(self, subtotal: float) -> tuple[Figures, Overhead]:
        """Return the low, expected and high figure, and what each goes beyond the sum."""
        low = int(self.LOW_MULTIPLIER * subtotal)
        expected = int(self.MEDIUM_MULTIPLIER * subtotal)
        high = int(self.HIGH_MULTIPLIER * subtotal)
        overhead = (max(low - subtotal, 0), expected - subtotal, high - subtotal)
        return (low, expected, high), overhead

    def total(self) -> Published:
        """Return what the formula says of one GPU."""
        subtotal, *parts = self._calc_subtotal()
        figures, _ = self._apply_overhead(subtotal)
        is_bound = not any(parts[1:])  # by loading: nothing but weights counts
        components = _with_overhead(dict(zip(COMPONENTS, parts, strict=True)), figures[1])
        return Published(components, *figures, "load" if is_bound else "backward")


class LoRA(Formula):
    """Training Hub's formula for LoRA.

    Attributes
    ----------
    model_bytes : float
        Bytes of a weight of the frozen base.
    AB_params : int
        The parameters of the adapters.
    """

    LOW_MULTIPLIER = 0.95
    HIGH_MULTIPLIER = 1.2
    output_constant = 2
    main_dtype_bytes = 2
    model_bytes: float = 2

    def _measure(self, architecture: Architecture, config: TrainingConfig, formula: Source) -> None:
        super()._measure(architecture, config, formula)
        if formula == "published":
            self.AB_params = lora_parameters(architecture, config)
        else:
            self.weight_size_total = self._calc_weight_size(self._find_valid_layers())
            self.AB_params = self.weight_size_total * int(config.lora_r)

    def _calc_weight_size(self, target_terms: Sequence[str]) -> int:
        """Return the rows and columns of every weight that has one of the terms in its name."""
        return sum(
            sum(shape[:2])
            for name, shape in self.architecture.weights()
            for term in target_terms
            if len(shape) > 1 and "weight" in name and term in name
        )

    def _calc_model_params(self) -> float:
        base = self.num_params * self.model_bytes
        if self.formula == "released":
            return (base + self.AB_params * 4) / self.num_gpus
        return base + 2 * self.AB_params / self.num_gpus

    def _calc_optimizer(self) -> float:
        return self.main_dtype_bytes * self.AB_params * self.opt_params / self.num_gpus

    def _calc_gradients(self) -> float:
        return self.main_dtype_bytes * self.AB_params / self.num_gpus

    def _calc_subtotal(self) -> Subtotal:
        _, model, optimizer, gradients, activations, outputs, additional = super()._calc_subtotal()
        if gradients > outputs:
            outputs = 0
        else:
            gradients = 0
        parts = (model, optimizer, gradients, activations, outputs, additional)
        return sum(parts), *parts


class QLoRA(LoRA):
    """Training Hub's formula for QLoRA: the model must fit before it is quantised."""

    HIGH_MULTIPLIER = 1.3
    model_bytes = 0.5

    def _calc_subtotal(self) -> Subtotal:
        counted = super()._calc_subtotal()
        unquantised: float = 2 * self.num_params
        if self.formula == "released":
            unquantised = self.num_params
        if counted[0] >= unquantised:
            return counted
        if self.formula == "released":
            unquantised /= self.num_gpus
        return unquantised, unquantised, 0, 0, 0, 0, 0


class OSFT(Formula):
    """Training Hub's formula for OSFT.

    Attributes
    ----------
    osft_params : int
        Bytes of the weights, those that train by their singular vectors and values.
    """

    output_constant = 7 / 3

    def _measure(self, architecture: Architecture, config: TrainingConfig, formula: Source) -> None:
        super()._measure(architecture, config, formula)
        self.unfreeze_rank_ratio: float = config.unfreeze_rank_ratio
        self.osft_params = self._calc_osft_params()

    def _calc_osft_params(self) -> int:
        """Return the bytes of the weights on all GPUs."""
        if self.formula == "published":
            return 4 * (self.num_params + osft_parameters(self.architecture))
        terms = self._find_valid_layers()
        numbers = self.num_params
        for name, shape in self.architecture.weights():
            if len(shape) > 1 and "weight" in name and any(term in name for term in terms):
                numbers += _singular(shape[:2]) - prod(shape)
        return 4 * numbers

    def _calc_model_params(self) -> float:
        return self.osft_params / self.num_gpus

    def _calc_gradients(self) -> float:
        if self.formula == "published":
            return super()._calc_gradients()
        trained = self.num_trainable_params * self.main_dtype_bytes
        return trained * self.unfreeze_rank_ratio / self.num_gpus

    def _calc_intermediate_activations(self) -> float:
        saved = super()._calc_intermediate_activations()
        return saved * self.unfreeze_rank_ratio if self.formula == "released" else saved


#: Training Hub's formula for each method.
FORMULAS: dict[Method, type[Formula]] = {"sft": Formula, "lora": LoRA, "qlora": QLoRA, "osft": OSFT}


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
            _singular(shape)
            for name, shape in group.weights.items()
            if decomposed(name.removesuffix(".weight"))
        )
    return numbers


def _singular(shape: Shape) -> int:
    """Return the numbers in the singular vectors and values of a matrix."""
    return min(shape) * sum(shape) + min(shape)


def has_liger_loss(config: TrainingConfig) -> bool:
    """Return whether Liger's fused linear and cross-entropy makes no logits."""
    return bool(config.use_liger) or config.loss_kernel == "liger"


def _with_overhead(sizes: Mapping[str, float], expected: int) -> dict[str, int]:
    """Return the sizes in whole bytes, with the overhead that brings them to `expected`."""
    rounded = {name: int(size) for name, size in sizes.items()}
    return {**rounded, "overhead": expected - sum(rounded.values())}
