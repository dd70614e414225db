"""The real model, from its config alone, on fake tensors, with the training method applied."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel
from transformers.initialization import no_init_weights

from ..config import TrainingConfig
from ..errors import ConfigError, ModelError, shown
from ..step.sharding.sharding import Sharding
from .attention import use_flash_attention
from .loaded import cast_as_axolotl
from .osft import decompose
from .quantized import adapt, quantize

#: Keys of a config.json that say how its weights were stored, not what the model is.
STORAGE_KEYS = ("quantization_config", "dtype", "torch_dtype", "auto_map", "transformers_version")


def build(
    config: TrainingConfig,
    sharding: Sharding,
    model_config: Mapping[str, Any],
    kernels: Callable[[], AbstractContextManager[Any]],
) -> PreTrainedModel | PeftModel:
    """Return the model with fake CPU weights, ready to train.

    Call it under a ``FakeTensorMode``.

    Parameters
    ----------
    config : TrainingConfig
        The method, the dtypes and the memory savers.
    sharding : Sharding
        Whether weights are sharded, which decides how a quantised base is prepared.
    model_config : mapping
        The model's config.json.
    kernels : callable
        Makes the mode under which the model will run; what checkpointing runs again in backward
        enters it anew, for a mode steps aside inside the ``backward`` call that it sees.

    Raises
    ------
    ModelError
        If transformers does not know the model or cannot build it from this config.
    ConfigError
        If the method cannot be traced.
    """
    if config.optimizer_in_backward and config.gradient_accumulation_steps > 1:
        raise ConfigError(
            "optimizer_in_backward keeps no gradient to sum; set gradient_accumulation_steps to 1."
        )
    # PEFT moves its adapters about, which fake tensors do not allow: so the model is put together
    # on the meta device, and its weights are made when it is complete.
    with unset_fake_temporarily(), torch.device("meta"):
        base = _transformers_model(config, model_config)
        model: PreTrainedModel | PeftModel = base
        if config.training_method == "osft":
            decompose(base, config)
        if config.training_method == "qlora":
            quantize(base, config)
            if config.prepare_model_for_kbit_training and sharding.parameters == 1:
                prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
        if config.trainer == "axolotl" and sharding.parameters == 1:
            cast_as_axolotl(base, config)
        if config.training_method == "sft" and config.trainable_parameters:
            _freeze_others(base, config.trainable_parameters)
        if config.adapts:
            model = _with_lora(base, config)
        if config.gradient_checkpointing:  # as the Trainer does, once the model is its own
            _checkpoint(base, config.use_reentrant, kernels)
    _make_weights(model)
    model.train()
    return model


def _checkpoint(
    base: PreTrainedModel,
    use_reentrant: bool,
    kernels: Callable[[], AbstractContextManager[Any]],
) -> None:
    if not use_reentrant:
        contexts = {"context_fn": lambda: (nullcontext(), kernels())}
        base.gradient_checkpointing_enable({"use_reentrant": False, **contexts})
        return
    base.gradient_checkpointing_enable({"use_reentrant": True})  # which takes no context_fn
    for module in base.modules():
        inner = getattr(module, "_gradient_checkpointing_func", None)
        if inner is not None:
            anew: Any = partial(_reentrant, inner, kernels)
            module._gradient_checkpointing_func = anew


def _reentrant(
    checkpoint: Callable[..., Any],
    kernels: Callable[[], AbstractContextManager[Any]],
    function: Callable[..., Any],
    *args: Any,
) -> Any:
    """Checkpoint a block whose second run is under the kernels too, as its first is."""

    def run(*inputs: Any) -> Any:
        with kernels() if torch.is_grad_enabled() else nullcontext():
            return function(*inputs)

    return checkpoint(run, *args)


def _make_weights(model: nn.Module) -> None:
    """Replace every meta tensor by a fake one on the CPU, once for each that is tied."""
    made: dict[torch.Tensor, torch.Tensor] = {}
    for module in model.modules():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in tables:
            for name, old in tensors.items():
                if old is None:
                    continue
                if old not in made:
                    new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype)
                    is_parameter = isinstance(old, nn.Parameter)
                    made[old] = nn.Parameter(new, old.requires_grad) if is_parameter else new
                tensors[name] = made[old]


def _transformers_model(config: TrainingConfig, model_config: Mapping[str, Any]) -> PreTrainedModel:
    fields = {key: value for key, value in model_config.items() if key not in STORAGE_KEYS}
    attention, family = config.attn_implementation, str(fields.get("model_type"))
    if family not in CONFIG_MAPPING:
        raise ModelError(
            f"transformers knows no model_type {shown(family)}; install a newer one, or give "
            "another model."
        )
    try:
        kind = CONFIG_MAPPING[family]
        known = kind(**{key: value for key, value in fields.items() if not _derived(kind, key)})
        with no_init_weights():
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                known,
                dtype=getattr(torch, config.param_dtype),
                # unless said, it is sdpa where the model has it (gpt-oss has not)
                attn_implementation="eager" if attention == "eager" else None,
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"transformers cannot build this model as it is configured: {shown(str(error))}"
        ) from error
    model.tie_weights()
    if attention == "flash_attention_2":
        use_flash_attention(model)
    return model


def _derived(kind: type, key: str) -> bool:
    """Whether a configuration works a value out for itself and takes none: Falcon's head_dim."""
    found = getattr(kind, key, None)
    return isinstance(found, property) and found.fset is None


def _freeze_others(model: PreTrainedModel, expressions: list[str]) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(re.search(each, name) for each in expressions))


def _with_lora(model: PreTrainedModel, config: TrainingConfig) -> PeftModel:
    alpha: Any = config.lora_alpha  # PEFT takes a float too, and scales by it
    lora = LoraConfig(
        r=config.lora_r,
        lora_alpha=alpha,
        lora_dropout=config.lora_dropout,
        target_modules=config.target_modules,
        use_dora=config.use_dora,
        target_parameters=config.target_parameters,
        modules_to_save=config.modules_to_save,
        trainable_token_indices=list(range(config.trainable_token_indices or 0)) or None,
        task_type="CAUSAL_LM",
    )
    if config.training_method == "qlora":
        lora = adapt(lora)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = get_peft_model(model, lora)
    except ValueError as error:
        raise ConfigError(f"PEFT cannot adapt this model as it is configured: {error}") from error
    # on the meta device PEFT leaves its adapters in the dtype it makes them in
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(getattr(torch, config.lora_dtype))
    return cast(PeftModel, adapted)
