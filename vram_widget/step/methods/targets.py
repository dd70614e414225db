"""Which linears of a layer a method rewrites: PEFT's targets, and what mini-trainer decomposes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import groupby

from ...errors import ConfigError, shown
from ...trainers import TRAINERS
from ..architecture import Architecture
from ..decoder import LayerGroup
from ..settings import Settings
from .expert_targets import old_names, target_modules_of
from .full import Matches


def target(settings: Settings, architecture: Architecture, group: LayerGroup) -> Matches:
    """Return the test for the linears of `group` that get an adapter, as PEFT matches them."""
    inside = group.linears
    experts = old_names(settings, architecture)
    if experts:  # PEFT takes these names for the experts, and for nothing else
        inside = frozenset(name for name in inside if name.rsplit(".", 1)[-1] not in experts)
    if group.adapted is not None:
        return (inside & group.adapted).__contains__
    wanted = target_modules_of(settings, architecture)
    if wanted == "all-linear":
        return inside.__contains__
    named = _named(wanted)
    return lambda name: name in inside and named(f"{architecture.layers_name}.0.{name}")


def split_by_adapters(architecture: Architecture, settings: Settings) -> Architecture:
    r"""Return a model with its layers split where `target_modules` names some by their number.

    Examples
    --------
    >>> from vram_widget.config import TrainingConfig
    >>> from vram_widget.model.load import load
    >>> config = TrainingConfig("meta-llama/Llama-3.1-8B", training_method="lora",
    ...     target_modules=r".*\.(30|31)\..*_proj")
    >>> settings = Settings.of(config, "llama")
    >>> [group.count for group in split_by_adapters(load(config.model_path), settings).layers]
    [30, 2]
    """
    wanted = target_modules_of(settings, architecture)
    if not settings.adapts or not re.search(r"\d|\\d", str(wanted)):
        return architecture
    return _split(architecture, wanted if isinstance(wanted, str) else tuple(wanted))


@lru_cache(maxsize=64)
def _split(architecture: Architecture, wanted: str | tuple[str, ...]) -> Architecture:
    named = _named(wanted)

    def marked(layer: int, group: LayerGroup) -> LayerGroup:
        stem = f"{architecture.layers_name}.{layer}"
        adapted = frozenset(name for name in group.linears if named(f"{stem}.{name}"))
        return replace(group, adapted=adapted)

    split = _regrouped(architecture, marked)
    if all(group.adapted == marked(0, group).adapted for group in split):
        return architecture
    return replace(architecture, layers=split)


def with_saved_vocabulary(settings: Settings, architecture: Architecture) -> Settings:
    """Return the settings of a trainer that saves an embedding or lm_head among its targets.

    Examples
    --------
    >>> from vram_widget.config import TrainingConfig
    >>> from vram_widget.model.load import load
    >>> config = TrainingConfig("google/gemma-2-2b", trainer="unsloth", training_method="lora",
    ...     target_modules=["q_proj", "embed_tokens", "lm_head"])
    >>> settings = with_saved_vocabulary(Settings.of(config, "gemma2"), load(config.model_path))
    >>> settings.target_modules, settings.modules_to_save, settings.ensure_weight_tying
    (('q_proj',), ('embed_tokens',), True)
    """
    if not settings.adapts or not TRAINERS[settings.trainer].saves_targeted_vocabulary:
        return settings
    embedding, lm_head = (
        name.rpartition(".")[2] for name in (architecture.embedding_name, architecture.lm_head_name)
    )
    targets, saved = settings.target_modules, {*settings.modules_to_save}
    if not isinstance(targets, str):
        moved = {name for name in targets if name.rpartition(".")[2] in (embedding, lm_head)}
        targets, saved = tuple(name for name in targets if name not in moved), saved | moved
    both = {embedding, lm_head} <= {name.rpartition(".")[2] for name in saved}
    tied = architecture.tie_word_embeddings
    if tied and both:
        saved = {name for name in saved if name.rpartition(".")[2] != lm_head}
    return settings._replace(
        target_modules=targets,
        modules_to_save=tuple(sorted(saved)),
        ensure_weight_tying=tied and both,
        offloads_originals=settings.offload_activations and (both or not tied),
    )


def split_by_training(architecture: Architecture, settings: Settings) -> Architecture:
    """Return a model with its layers split where `trainable_parameters` has others of them train.

    Raises
    ------
    ConfigError
        If it names no parameter.
    """
    if settings.training_method != "sft" or not settings.trainable_parameters:
        return architecture
    found = _split_by_training(architecture, settings.trainable_parameters)
    outside = trained(settings, None)
    assert outside
    if not any(group.trained for group in found.layers) and not any(map(outside, found.outside)):
        raise ConfigError(
            f"trainable_parameters = {shown(list(settings.trainable_parameters))} is in no "
            f"parameter's name of {settings.model_path}, such as {next(iter(found.outside))}."
        )
    return found


@lru_cache(maxsize=64)
def _split_by_training(architecture: Architecture, patterns: tuple[str, ...]) -> Architecture:
    def marked(layer: int, group: LayerGroup) -> LayerGroup:
        stem = f"{architecture.layers_name}.{layer}"
        named = frozenset(name for name in group.weights if _has(patterns, f"{stem}.{name}"))
        return replace(group, trained=named)

    return replace(architecture, layers=_regrouped(architecture, marked))


def _regrouped(
    architecture: Architecture, marked: Callable[[int, LayerGroup], LayerGroup]
) -> tuple[LayerGroup, ...]:
    """Return the layers in groups that are alike in what each is marked with, too."""
    groups: list[LayerGroup] = []
    first = 0
    for group in architecture.layers:
        each = [marked(layer, group) for layer in range(first, first + group.count)]
        first += group.count
        groups += [replace(one, count=len(list(alike))) for one, alike in groupby(each)]
    return tuple(groups)


def trained(settings: Settings, group: LayerGroup | None) -> Matches | None:
    """Return the test for the weights that train, where not all do."""
    patterns = settings.trainable_parameters
    if group:
        return group.trained.__contains__ if group.trained is not None else None
    return (lambda name: _has(patterns, name)) if patterns else None


def _has(patterns: tuple[str, ...], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def targets_outside_layers(settings: Settings, architecture: Architecture) -> list[str]:
    """Return the modules outside the layers that `target_modules` names for an adapter."""
    wanted = target_modules_of(settings, architecture)
    if not settings.adapts or wanted == "all-linear":
        return []
    outside = (architecture.embedding_name, architecture.lm_head_name)
    return list(filter(_named(wanted), outside))


def _named(wanted: str | list[str] | tuple[str, ...]) -> Matches:
    """Return PEFT's test for a module's full name: an expression for all of it, or its ends."""
    if isinstance(wanted, str):
        return lambda name: bool(re.fullmatch(wanted, name))
    endings = tuple(f".{end}" for end in wanted)
    return lambda name: f".{name}".endswith(endings)


#: What mini-trainer decomposes (``MODEL_CONFIGS`` in its osft_utils.py, 0.9): the projections of
#: attention and MLP by these names. Experts, routers, embeddings and norms are not decomposed, and
#: neither is whatever has another name: Mamba's, latent attention's, most of what is older.
OSFT_TARGETS = frozenset(
    (
        *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
        *("self_attn.qkv_proj", "linear_attn.out_proj"),
        *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "mlp.gate_up_proj"),
    )
)
#: Of GPT-2, which it knows by name.
OSFT_TARGETS_OF_GPT2 = frozenset(("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"))


def osft_target(architecture: Architecture, group: LayerGroup) -> Matches:
    """Return the test for the weights of `group` that mini-trainer decomposes."""
    named = OSFT_TARGETS_OF_GPT2 if architecture.model_type == "gpt2" else OSFT_TARGETS
    return (group.linears & named).__contains__


def nothing(name: str) -> bool:
    """Match no module: the lm_head and the embeddings are no targets."""
    return False
