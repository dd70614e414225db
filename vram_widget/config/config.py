"""Every choice of a fine-tune, with its label, help, range and default, in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

from traitlets import HasTraits

from .. import trainers
from ..errors import ConfigError, UnknownFieldError, shown
from .alloc_conf import AllocatorSettings
from .choices import Choices
from .fields import (
    Bytes,
    Choice,
    Count,
    Expressions,
    Field,
    Modules,
    Names,
    Number,
    Switch,
    Text,
    nearest,
)
from .uncounted import UncountedSettings
from .zero_optimization import ZeroOptimization

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .choices import (
        AdapterDtype,
        Attention,
        LossKernel,
        MemoryModel,
        Method,
        MixedPrecision,
        Objective,
        Offload,
        Optimizer,
        ParamDtype,
        Quantization,
        QuantStorage,
        Sharding,
    )

#: A class or a function that takes fields by name.
Taker = TypeVar("Taker", bound=Callable[..., Any])

SFT = {"training_method": ["sft"]}
LORA = {"training_method": ["lora", "qlora"]}
QLORA = {"training_method": ["qlora"]}
OSFT = {"training_method": ["osft"]}
SEVERAL_GPUS = {"num_gpus": {"minimum": 2}}


class TrainingConfig(HasTraits):
    """What is trained, how, and on which hardware.

    Every field may be given as a keyword. One that is not given takes the value that the chosen
    `trainer` really runs the chosen `training_method` with, and follows it when those change;
    one that was given stays.

    Parameters
    ----------
    model_path : str or path
        A Hub id, a local folder with a config.json, or a name in the catalogue.
    **choices
        Any other field, by name.

    Raises
    ------
    UnknownFieldError
        For a keyword that names no field (a TypeError that names the nearest one).
    ConfigError
        For a value a field cannot take.

    Examples
    --------
    >>> config = TrainingConfig("meta-llama/Llama-3.1-8B", training_method="lora", lora_r=16)
    >>> config.lora_r, config.micro_batch_size
    (16, 2)
    """

    # -- model ---------------------------------------------------------------------------------
    model_path = Text(
        "ibm-granite/granite-3.3-2b-instruct",
        group="model",
        label="Model",
        help="A Hugging Face id, a local folder with a config.json, or a name in the catalogue.",
    )

    # -- method --------------------------------------------------------------------------------
    training_method: Choice[Method] = Choice(
        "sft",
        {"sft": "SFT", "lora": "LoRA", "qlora": "QLoRA", "osft": "OSFT"},
        group="method",
        label="Method",
        help="SFT trains every weight; LoRA trains small adapters; QLoRA does so on a quantised "
        "base; OSFT trains the low singular directions of each weight.",
    )
    objective: Choice[Objective] = Choice(
        "sft",
        {"sft": "SFT"},
        group="method",
        label="Objective",
        help="What is trained for: SFT, to predict the next token of each sample.",
    )
    trainer = Choice(
        "training_hub",
        {name: each.label for name, each in trainers.TRAINERS.items()},
        group="method",
        label="Trainer",
        help="Whose defaults the other fields start from.",
    )
    lora_r = Count(
        16,
        maximum=65536,
        group="method",
        label="LoRA rank",
        help="Width of each adapter; its memory grows in proportion.",
        slider=[1, 512],
        scale="log",
        shown_when=LORA,
    )
    lora_alpha = Number(
        16.0,
        0.0,
        1e6,
        group="method",
        label="LoRA alpha",
        help="Scales the adapters' output by alpha / r; costs no memory.",
        shown_when=LORA,
    )
    lora_dropout = Number(
        0.0,
        0.0,
        0.99,
        group="method",
        label="LoRA dropout",
        help="Above zero, each adapter keeps a mask and a dropped copy of its input.",
        slider=[0, 0.5],
        shown_when=LORA,
    )
    target_modules: Modules[str | list[str]] = Modules(
        "all-linear",
        group="method",
        label="Target modules",
        help='Which linears get an adapter, as in PEFT: "all-linear", name endings, or a regex.',
        shown_when=LORA,
    )
    target_parameters = Names(
        group="method",
        label="Target parameters",
        help="Parameters that get an adapter beside the linears, by the ends of their names: fused "
        "experts such as experts.gate_up_proj.",
        shown_when=LORA,
    )
    modules_to_save = Names(
        group="method",
        label="Modules to save",
        help="Modules that train in full beside the adapters, each as a copy of its own: "
        "embed_tokens, lm_head.",
        shown_when=LORA,
    )
    trainable_token_indices: Count[int | None] = Count(
        None,
        allow_none=True,
        group="method",
        label="Trainable tokens",
        unit="tokens",
        help="How many rows of the embedding train: those that PEFT's setting of this name lists.",
        shown_when=LORA,
    )
    trainable_parameters = Expressions(
        group="method",
        label="Trainable parameters",
        help="Regular expressions: only parameters whose full name has one in it train. None is "
        "all of them.",
        shown_when=SFT,
    )
    use_dora = Switch(
        False,
        group="method",
        label="DoRA",
        help="Also trains the magnitude of each adapted weight.",
        shown_when=LORA,
    )
    lora_dtype: Choice[AdapterDtype] = Choice(
        "float32",
        {"float32": "float32", "bfloat16": "bfloat16"},
        group="method",
        label="Adapter dtype",
        help="PEFT casts adapters to float32 by default (autocast_adapter_dtype).",
        shown_when=LORA,
    )
    quantization: Choice[Quantization] = Choice(
        "nf4",
        {
            "nf4": "NF4 (4-bit)",
            "int8": "int8",
            "gptq": "GPTQ checkpoint",
            "awq": "AWQ checkpoint",
            "fp8": "FP8 checkpoint",
            "mxfp4": "MXFP4 checkpoint",
        },
        group="method",
        label="Quantisation",
        help="How the frozen base is stored.",
        shown_when=QLORA,
    )
    bnb_4bit_use_double_quant = Switch(
        True,
        group="method",
        label="Double quantisation",
        help="Quantises the NF4 scales too: about 0.4 bits a weight less.",
        shown_when={**QLORA, "quantization": ["nf4"]},
    )
    quantize_moe_experts = Switch(
        False,
        group="method",
        label="Quantise experts",
        help="Also quantises fused experts, which are no linears: Axolotl's setting of this name, "
        "and what Unsloth always does.",
        shown_when={**QLORA, "quantization": ["nf4", "int8"]},
    )
    bnb_4bit_quant_storage: Choice[QuantStorage] = Choice(
        "bfloat16",
        {"bfloat16": "floats", "uint8": "integers"},
        group="method",
        label="4-bit storage",
        help="What 4-bit weights are packed into: FSDP and ZeRO-3 leave integers on each GPU, "
        "unsharded.",
        shown_when={**QLORA, "sharding": ["zero3", "fsdp", "hsdp"]},
    )
    prepare_model_for_kbit_training = Switch(
        False,
        group="method",
        label="k-bit preparation",
        help="PEFT's function of this name, which many scripts call: it casts what is not "
        "quantised to float32.",
        shown_when=QLORA,
    )
    unfreeze_rank_ratio = Number(
        0.25,
        0.0,
        1.0,
        group="method",
        label="Unfreeze rank ratio",
        help="Share of each weight's singular directions that OSFT trains.",
        slider=[0.01, 1],
        shown_when=OSFT,
    )

    # -- batch ---------------------------------------------------------------------------------
    micro_batch_size = Count(
        1,
        group="batch",
        label="Micro-batch",
        help="Sequences on one GPU in one forward and backward pass.",
        slider=[1, 64],
        scale="log",
    )
    max_seq_len = Count(
        2048,
        group="batch",
        label="Sequence length",
        unit="tokens",
        help="Tokens in one sequence.",
        slider=[256, 131072],
        scale="log",
    )
    max_tokens_per_gpu: Count[int | None] = Count(
        None,
        allow_none=True,
        group="batch",
        label="Tokens per GPU",
        unit="tokens",
        help="If set, the packed micro-batch holds this many tokens, in sequences of "
        "the sequence length.",
        slider=[256, 131072],
        scale="log",
    )
    gradient_accumulation_steps = Count(
        1,
        maximum=65536,
        group="batch",
        label="Accumulate",
        unit="passes",
        help="Passes whose gradients are summed before one optimizer step.",
        slider=[1, 128],
        scale="log",
    )
    sync_each_batch = Switch(
        False,
        group="batch",
        label="Sync each pass",
        help="Accelerate's setting of this name: FSDP shards the gradients of each pass as they "
        "come; else all stay on each GPU until the last of the accumulated passes.",
        shown_when={"sharding": ["fsdp", "hsdp"], "trainer": ["trl", "axolotl", "llamafactory"]},
    )
    padded = Switch(
        False,
        group="batch",
        label="Padded batch",
        help="Sequences padded to one length with an attention mask, in place of packing.",
    )

    # -- precision -----------------------------------------------------------------------------
    param_dtype: Choice[ParamDtype] = Choice(
        "bfloat16",
        {"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"},
        group="precision",
        label="Weights",
        help="The dtype the weights are stored in.",
    )
    mixed_precision: Choice[MixedPrecision] = Choice(
        "no",
        {"no": "none", "bf16": "bf16", "fp16": "fp16"},
        group="precision",
        label="Mixed precision",
        help="Autocast: matrix products run in this dtype, weights stay as they are.",
    )
    optim: Choice[Optimizer] = Choice(
        "adamw_torch",
        {
            "adamw_torch": "AdamW",
            "adamw_torch_fused": "AdamW, fused",
            "adamw_8bit": "AdamW, 8-bit",
            "adamw_bnb_8bit": "AdamW, 8-bit (bnb)",
            "adamw_torch_8bit": "AdamW, 8-bit (torchao)",
            "adamw_torch_4bit": "AdamW, 4-bit (torchao)",
            "paged_adamw_8bit": "AdamW, 8-bit, paged",
            "paged_adamw_32bit": "AdamW, paged",
            "adafactor": "Adafactor",
            "lion_32bit": "Lion",
            "lion_8bit": "Lion, 8-bit",
            "sgd": "SGD",
        },
        group="precision",
        label="Optimizer",
        help="Named as in transformers' OptimizerNames.",
    )
    optimizer_in_backward = Switch(
        False,
        group="precision",
        label="Optimizer in backward",
        help="Each weight is updated as soon as its gradient is there; gradients never accumulate.",
    )

    # -- memory savers -------------------------------------------------------------------------
    gradient_checkpointing = Switch(
        False,
        group="memory savers",
        label="Checkpointing",
        help="Keeps only each block's input and runs the block again in backward: "
        "about 30 % more time.",
    )
    use_reentrant = Switch(
        False,
        group="memory savers",
        label="Re-entrant",
        help="PyTorch's older checkpointing: all of a block runs again before its backward, and "
        "forward keeps nothing that an operator would save by itself.",
        shown_when={"gradient_checkpointing": [True]},
    )
    offload_activations = Switch(
        False,
        group="memory savers",
        label="Offload activations",
        help="Keeps the checkpointed inputs in the host's memory.",
        shown_when={"gradient_checkpointing": [True]},
    )
    attn_implementation: Choice[Attention] = Choice(
        "sdpa",
        {"eager": "eager", "sdpa": "sdpa", "flash_attention_2": "flash_attention_2"},
        group="memory savers",
        label="Attention",
        help="eager saves the full length x length matrix; the others never materialise it.",
    )
    loss_kernel: Choice[LossKernel] = Choice(
        "eager",
        {"eager": "eager", "fused": "fused", "chunked": "chunked", "liger": "Liger", "cut": "cut"},
        group="memory savers",
        label="Loss kernel",
        help="How the cross-entropy over the vocabulary is computed.",
    )
    keeps_outputs = Switch(
        False,
        group="memory savers",
        label="Keep outputs",
        help="The loop holds the model's outputs, logits included, during backward: "
        "outputs = model(...); outputs.loss.backward(). The Trainer drops them before.",
    )
    use_liger = Switch(
        False,
        group="memory savers",
        label="Liger kernels",
        help="Liger's fused norms, SwiGLU and loss.",
    )
    pytorch_alloc_conf = AllocatorSettings(
        "",
        group="memory savers",
        label="Allocator",
        help="The environment variable PYTORCH_ALLOC_CONF: expandable_segments:True keeps "
        "PyTorch's allocator from reserving much more than it hands out.",
    )

    # -- hardware ------------------------------------------------------------------------------
    gpu: Text[str | None] = Text(
        None,
        allow_none=True,
        group="hardware",
        label="GPU",
        help="A name in the GPU catalogue; none takes the card found in this machine.",
    )
    gpu_memory: Bytes[int | None] = Bytes(
        None,
        allow_none=True,
        group="hardware",
        label="GPU memory",
        unit="bytes",
        help='The card\'s memory by hand: bytes, or text such as "48GiB".',
    )
    num_gpus = Count(
        1,
        maximum=65536,
        group="hardware",
        label="GPUs",
        help="All GPUs of the run, over all nodes.",
        slider=[1, 64],
        scale="log",
    )
    num_nodes = Count(
        1,
        maximum=8192,
        group="hardware",
        label="Nodes",
        help="Machines the GPUs are spread over.",
        slider=[1, 16],
        scale="log",
        shown_when=SEVERAL_GPUS,
    )
    sharding: Choice[Sharding] = Choice(
        "ddp",
        {
            "ddp": "DDP",
            "zero1": "ZeRO-1",
            "zero2": "ZeRO-2",
            "zero3": "ZeRO-3",
            "fsdp": "FSDP",
            "hsdp": "FSDP, hybrid",
            "device_map": "Model split",
        },
        group="hardware",
        label="Sharding",
        help="What is sharded over the GPUs: nothing (DDP), optimizer states (ZeRO-1), "
        "gradients too (ZeRO-2), everything (ZeRO-3, FSDP), or within a node only (hybrid); or the "
        "layers of one process are spread over its cards, which work in turn (model split).",
        shown_when=SEVERAL_GPUS,
    )
    cpu_offload: Choice[Offload] = Choice(
        "none",
        {
            "none": "none",
            "optimizer": "optimizer",
            "parameters": "weights",
            "all": "optimizer and weights",
        },
        group="hardware",
        label="CPU offload",
        help="What is offloaded to the host's memory.",
    )
    zero_optimization = ZeroOptimization(
        group="",
        label="ZeRO's sizes",
        help="DeepSpeed's buckets and limits by its names for them, in elements. None is its "
        "defaults.",
    )

    # -- run -----------------------------------------------------------------------------------
    num_samples = Count(
        10_000,
        maximum=1 << 40,
        group="run",
        label="Samples",
        help="Training samples in the data set.",
    )
    tokens_per_sample = Count(
        700,
        group="run",
        label="Tokens a sample",
        unit="tokens",
        help="Average length of a sample.",
    )
    num_epochs = Number(
        3.0, 0.001, 10_000.0, group="run", label="Epochs", help="Passes over the data set."
    )
    gpu_hour_price: Number[float | None] = Number(
        None,
        0.0,
        1e6,
        allow_none=True,
        group="run",
        label="GPU-hour price",
        help="In any currency; none leaves the cost out.",
    )

    # -- reading -------------------------------------------------------------------------------
    memory_model: Choice[MemoryModel] = Choice(
        "replay",
        {
            "replay": "Step replay",
            "training_hub": "Training Hub",
            "rule_of_thumb": "Rule of thumb",
        },
        group="reading",
        label="Memory model",
        help="The replay of one training step, or a published formula.",
    )
    uncounted = UncountedSettings(
        [],
        group="",
        label="Not counted",
        help="Settings of an imported file that are not counted, and what that does.",
    )

    def __init__(
        self, model_path: str | PathLike[str] | None = None, /, **choices: Unpack[Choices]
    ) -> None:
        if model_path is not None:
            choices = {"model_path": model_path, **choices}
        fields = self.fields()
        for name in choices:
            if name not in fields and not self.has_trait(name):
                raise self._unknown(name)
        method = choices.get("training_method", "sft")
        trainer = choices.get("trainer", "training_hub")
        self._defaults = self._defaults_of(trainer, method)
        values = {**self._defaults, **choices}
        self._chosen: dict[str, Any] = {}
        self._starting = True  # every field is given its value here: none has to follow another
        super().__init__(
            **{
                name: value
                for name, value in values.items()
                if name not in fields or value is not fields[name].default_value
            }
        )
        self._starting = False
        for name in fields.keys() & choices:
            self._take_down(name, getattr(self, name))

    @classmethod
    def of(cls, config: AnyConfig | None = None, **choices: Unpack[Choices]) -> TrainingConfig:
        """Return the configuration that a person means: one, its fields, or only the model.

        Examples
        --------
        >>> TrainingConfig.of("meta-llama/Llama-3.1-8B", training_method="lora")
        TrainingConfig(model_path='meta-llama/Llama-3.1-8B', training_method='lora')
        """
        if isinstance(config, TrainingConfig):
            return config.replace(**choices) if choices else config
        if isinstance(config, Mapping):
            for name in config:
                if not isinstance(name, str):
                    raise TrainingConfig._unknown(name)
            return TrainingConfig(**{**config, **choices})
        if config is None or isinstance(config, (str, PathLike)):
            return TrainingConfig(config, **choices)
        raise ConfigError(
            "A configuration is a TrainingConfig (the .config of an estimate), a mapping of its "
            f"fields, or a model's name or folder, not {shown(config)}."
        )

    @classmethod
    def _unknown(cls, name: object) -> UnknownFieldError:
        hint = nearest(name, cls.fields())
        return UnknownFieldError(f"{cls.__name__} has no field {shown(name)}.{hint}")

    if not TYPE_CHECKING:  # a type checker that saw it would let any attribute be set

        def __setattr__(self, name: str, value: object) -> None:
            """Refuse a misspelt field, which would otherwise be an attribute that nobody reads."""
            if not (name.startswith("_") or hasattr(type(self), name)):
                raise self._unknown(name)
            super().__setattr__(name, value)

    @classmethod
    def _defaults_of(cls, trainer: str, method: str) -> dict[str, Any]:
        plain = {name: field.default_value for name, field in cls.fields().items()}
        if not (isinstance(trainer, str) and isinstance(method, str)):
            return plain  # the fields themselves say what is wrong
        starting = {"trainer": trainer, "training_method": method}
        return {**plain, **starting, **trainers.defaults(trainer, method)}

    @classmethod
    def field_names(cls) -> list[str]:
        """Return the names of all fields, in the order of a form."""
        return list(cls.fields())

    @staticmethod
    @cache
    def fields() -> dict[str, Field[Any]]:
        """Return every field by name, in the order of a form."""
        return {
            name: trait for name, trait in vars(TrainingConfig).items() if isinstance(trait, Field)
        }

    def notify_change(self, change: Any) -> None:
        """Let the fields that were not chosen follow, then tell observers, who find it done."""
        if not self._starting and change["name"] in self.fields():
            self._follow(change["name"])
            self._take_down(change["name"], change["new"])
        super().notify_change(change)

    def _follow(self, name: str) -> None:
        if name in ("trainer", "training_method"):
            self._defaults = self._defaults_of(self.trainer, self.training_method)
            with self.hold_trait_notifications():
                for other, default in self._defaults.items():
                    if other not in self._chosen:
                        setattr(self, other, default)

    def _take_down(self, name: str, value: object) -> None:
        if value == self._defaults.get(name):
            self._chosen.pop(name, None)
        else:
            self._chosen[name] = value

    @property
    def config(self) -> dict[str, Any]:
        """Every field by name, as JSON types; rebuilds the same configuration."""
        return {name: getattr(self, name) for name in self.field_names()}

    @property
    def tokens(self) -> int:
        """Tokens on one GPU in one pass."""
        return int(self.max_tokens_per_gpu or self.micro_batch_size * self.max_seq_len)

    @property
    def num_processes(self) -> int:
        """How many micro-batches run at once: one for each GPU, unless it is one model's part."""
        return 1 if self.sharding == "device_map" else int(self.num_gpus)

    @property
    def adapts(self) -> bool:
        """Whether adapters are trained beside a frozen base, as LoRA and QLoRA do."""
        return self.training_method in LORA["training_method"]

    def check(self) -> None:
        """Check what no single field can: that the choices go together.

        Raises
        ------
        ConfigError
            With what to change.
        """
        if not trainers.supports(self.trainer, self.training_method):
            options = self.fields()["trainer"].metadata["options"]
            possible = " or ".join(
                options[name] for name in trainers.supporting(self.training_method)
            )
            raise ConfigError(
                f"{options[self.trainer]} cannot run {self.training_method}: "
                f"choose {possible}, or another training_method."
            )
        if self.num_gpus % self.num_nodes:
            raise ConfigError(
                f"num_gpus = {self.num_gpus:,} cannot be spread evenly over num_nodes = "
                f"{self.num_nodes:,}: num_gpus counts the GPUs of all nodes together."
            )
        self._check_strategy()
        # ParamWrapper in PEFT's tuners/lora/layer.py
        if self.adapts and self.target_parameters and (self.lora_dropout or self.use_dora):
            raise ConfigError(
                "PEFT adapts target_parameters with neither dropout nor DoRA: set lora_dropout=0 "
                "and use_dora=False."
            )

    def _check_strategy(self) -> None:
        trainer, method = trainers.TRAINERS[self.trainer], self.training_method
        if self.cpu_offload != "none" and method not in trainer.offloads:
            raise ConfigError(
                f"{trainer.label} keeps nothing of {method} in the host's memory: take "
                "cpu_offload='none', or another trainer."
            )
        if self.num_gpus == 1:
            return
        labels = self.fields()["sharding"].metadata["options"]
        if not trainer.can_run(method, self.sharding):
            own = [f"'{name}'" for name in labels if trainer.can_run(method, name)]
            others = [
                trainers.TRAINERS[name].label for name in trainers.running(method, self.sharding)
            ]
            elsewhere = f", or the trainer {_either(others)}" if others else ""
            raise ConfigError(
                f"{trainer.label} does not run {method} by {labels[self.sharding]}: choose "
                f"sharding={_either(own)}{elsewhere}."
            )
        if self.sharding == "device_map" and self.num_nodes > 1:
            raise ConfigError(
                "A model split is one process on one node: take num_nodes=1, or a strategy that "
                "shards."
            )
        if self.cpu_offload == "parameters" and self.sharding != "zero3":
            raise ConfigError(
                "Only ZeRO-3 takes weights off the GPU without the optimizer's states: take "
                "sharding='zero3', or cpu_offload='all'."
            )
        if self.sharding == "device_map" and self.cpu_offload != "none":
            raise ConfigError(
                "A model split that trains keeps its weights on the cards: take cpu_offload='none'."
            )

    def replace(self, **choices: Unpack[Choices]) -> TrainingConfig:
        """Return a plain configuration with some fields changed.

        Where those are the method or the trainer, fields that were not chosen follow, as ever.

        Examples
        --------
        >>> config = TrainingConfig("ibm-granite/granite-3.3-2b-instruct", training_method="sft")
        >>> config.param_dtype, config.replace(training_method="lora").param_dtype
        ('float32', 'bfloat16')
        """
        followed = {"trainer": self.trainer, "training_method": self.training_method}
        return TrainingConfig(**{**followed, **self._chosen, **choices})

    def __repr__(self) -> str:
        chosen = {"model_path": self.model_path, "training_method": self.training_method}
        if self.trainer != self.fields()["trainer"].default_value:
            chosen["trainer"] = self.trainer
        chosen |= self._chosen
        return f"TrainingConfig({', '.join(f'{k}={v!r}' for k, v in chosen.items())})"


def _either(names: list[str]) -> str:
    """Return names as a sentence offers them."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


#: What the functions take for a configuration: one, its fields, or only the model.
AnyConfig = TrainingConfig | Mapping[str, Any] | str | PathLike[str]


def names_fields(taker: Taker) -> Taker:
    """Show every field with its type and default in the signature of what takes ``**choices``.

    Shift-Tab and an editor's help show it. Each default is the one that `TrainingConfig()` has:
    another trainer or method has others.

    Examples
    --------
    >>> @names_fields
    ... def double(config, **choices):
    ...     return 2 * estimate(config, **choices).expected
    >>> str(inspect.signature(double).parameters["lora_dtype"])
    "lora_dtype: Literal['float32', 'bfloat16'] = 'float32'"
    """
    marked: Any = taker
    plain = inspect.signature(marked.__init__ if isinstance(taker, type) else taker)
    fields = {
        name: inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Choices.__annotations__[name],
        )
        for name, default in TrainingConfig().config.items()
    }
    own = [
        fields.pop(each.name).replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if each.name in fields
        else each
        for each in plain.parameters.values()
        if each.name not in ("self", "choices")
    ]
    marked.__signature__ = plain.replace(parameters=[*own, *fields.values()])
    return taker


names_fields(TrainingConfig)
