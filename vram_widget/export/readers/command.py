"""Command lines that start a training script: ``trl sft``, ``accelerate launch``, ``torchrun``."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from ...errors import ConfigError, shown
from . import accelerate

#: How TRL's other trainers and scripts are named, and the kind of run that each is.
OTHER_TRAINERS = {
    "dpo": "preference training",
    "cpo": "preference training",
    "orpo": "preference training",
    "kto": "preference training",
    "bco": "preference training",
    "tpo": "preference training",
    "xpo": "preference training",
    "mpo": "preference training",
    "nash": "preference training",
    "grpo": "reinforcement learning",
    "gspo": "reinforcement learning",
    "rloo": "reinforcement learning",
    "ppo": "reinforcement learning",
    "reward": "the training of a reward model",
    "prm": "the training of a reward model",
    "gkd": "a distillation",
    "gold": "a distillation",
    "distill": "a distillation",
    "minillm": "a distillation",
    "sdft": "a distillation",
    "sdpo": "a distillation",
    "ssd": "a distillation",
    "vlm": "fine-tuning on images",
}

#: What ``trl sft`` runs, which sets nothing beside its command line.
SCRIPT = "trl/scripts/sft.py"

#: How the name of a class, a script or a command may go on.
_REST = r"(?:[^a-z]|$|config|trainer|lation|md)"

#: What a command line that starts a training script begins with.
STARTERS = ("trl", "accelerate", "accelerate-launch", "torchrun", "deepspeed", "python", "python3")

#: Arguments of torchrun and deepspeed that take no value.
_SWITCHES = accelerate.SWITCHES | {
    *("standalone", "run_path", "virtual_local_rank", "no_local_rank", "no_ssh", "force_multi"),
}
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PYTHON = re.compile(r"python[\d.]*")
#: What ends a command in a shell.
_ENDS = ("&&", "||", "|", ";", "&")


def is_command(text: str) -> bool:
    """Return whether a text is a command line that starts a training script.

    Examples
    --------
    >>> is_command("trl sft --model_name_or_path m"), is_command("configs/sft.yaml")
    (True, False)
    """
    words = text.strip().removeprefix("$ ").removeprefix("!").split()
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in ("uv", "run", "env")):
        del words[0]
    if not words:
        return False
    first = PurePath(words[0]).name
    is_starter = first in STARTERS or _PYTHON.fullmatch(first) is not None
    return len(words) > 1 and (is_starter or words[0].endswith(".py"))


def parsed(command: str | Sequence[object]) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the arguments of the script, those of what launches it, and the script.

    Raises
    ------
    ConfigError
        If it cannot be read, or starts another kind of run than fine-tuning.

    Examples
    --------
    >>> parsed("accelerate launch --num_processes 2 train.py --packing --lora_r 8")
    ({'packing': True, 'lora_r': 8}, {'num_processes': 2}, 'train.py')
    >>> parsed("trl sft --no_gradient_checkpointing --lora_target_modules q_proj v_proj")[0]
    {'gradient_checkpointing': False, 'lora_target_modules': ['q_proj', 'v_proj']}
    """
    words = _words(command)
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in ("uv", "run", "env")):
        del words[0]
    launcher: dict[str, Any] = {}
    while words:
        first, *rest = words
        name = PurePath(first).name
        if name == "trl":
            kind = rest[0] if rest else ""
            refuse_other("TRL's command", kind)
            if kind != "sft":
                raise ConfigError(f"trl {kind} is no command that fine-tunes; trl sft is.")
            return _options(rest[1:]), launcher, SCRIPT
        if name == "accelerate" and rest[:1] == ["launch"]:
            words = _launch(rest[1:], launcher)
        elif name == "accelerate-launch":
            words = _launch(rest, launcher)
        elif name in ("torchrun", "deepspeed"):
            words = _launch(rest, launcher)
            _as_accelerate(launcher)
        elif _PYTHON.fullmatch(name):
            words = _module(rest)
        elif first.endswith(".py") or first.startswith("trl."):
            is_trls = first == "trl.scripts.sft" or f"/{first}".endswith(f"/{SCRIPT}")
            script = SCRIPT if is_trls else name
            refuse_other("The script", script)
            return _options(rest), launcher, script
        else:
            raise ConfigError(f"{shown(first)} is no command that is read: give one of trl sft.")
    raise ConfigError("The command line starts no training script.")


def refuse_other(what: str, name: str) -> None:
    """Refuse another trainer's class, script or command.

    Raises
    ------
    ConfigError
        If `name` is one's.
    """
    for each, kind in OTHER_TRAINERS.items():
        if re.search(rf"(?<![a-z]){each}{_REST}", name.lower().replace("online", "")):
            raise ConfigError(f"{what} {shown(name)} is {kind}, which is not estimated here.")


def _words(command: str | Sequence[object]) -> list[str]:
    if not isinstance(command, str):
        words = [str(word) for word in command]
    else:
        text = re.sub(r"\\\s*\n", " ", command.strip()).removeprefix("$ ").removeprefix("!")
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            raise ConfigError(f"The command line cannot be read: {error}.") from None
    for place, word in enumerate(words):
        if word in _ENDS or word.startswith((">", "2>")):
            return words[:place]
    return words


def _launch(words: list[str], launcher: dict[str, Any]) -> list[str]:
    """Take a launcher's own options into `launcher`; return what follows."""
    while words and words[0].startswith("-"):
        name, equals, value = words[0].lstrip("-").replace("-", "_").partition("=")
        if equals:
            value = words[0].partition("=")[2]
        if name in ("m", "module"):
            return words[1:]
        switched_on = name in _SWITCHES and not equals
        words = words[1:]
        if switched_on or not (equals or words):
            launcher[name] = True
        elif equals:
            launcher[name] = _value(value)
        else:
            launcher[name] = _value(words[0])
            words = words[1:]
    return words


def _as_accelerate(launcher: dict[str, Any]) -> None:
    """Put what torchrun and deepspeed call otherwise in Accelerate's words."""
    per_node = launcher.pop("nproc_per_node", launcher.pop("num_gpus", None))
    nodes = launcher.pop("nnodes", launcher.pop("num_nodes", 1))
    launcher["multi_gpu"] = True
    if isinstance(nodes, int):
        launcher["num_machines"] = nodes
        if isinstance(per_node, int):
            launcher["num_processes"] = per_node * nodes
    for name in [*launcher]:
        if name.startswith(("rdzv_", "master_", "node_", "local_", "log", "redirects", "include")):
            del launcher[name]
    for name in ("standalone", "start_method", "hostfile", "exclude", "module", "launcher"):
        launcher.pop(name, None)


def _module(words: list[str]) -> list[str]:
    """Return what follows `python`: a script, or a module by name as what it is."""
    while words and words[0].startswith("-"):
        if words[0] == "-m":
            module, *rest = words[1:] or [""]
            if module in ("torch.distributed.run", "torch.distributed.launch"):
                return ["torchrun", *rest]
            if module == "accelerate.commands.launch":
                return ["accelerate-launch", *rest]
            return [module if module.startswith("trl.") else f"{module}.py", *rest]
        words = words[1:]
    if words and not words[0].endswith(".py"):
        return [f"{words[0]}.py", *words[1:]]
    return words


def _options(words: list[str]) -> dict[str, Any]:
    """Return options with their values: none is True, several are a list."""
    found: dict[str, Any] = {}
    key, values = "", []
    for word in [*words, "--"]:
        if not word.startswith("--"):
            if not key:
                raise ConfigError(f"{shown(word)} in the command line belongs to no option.")
            values.append(_value(word))
            continue
        if key:
            found |= _option(key, values)
        name, equals, value = word[2:].partition("=")
        key, values = name.replace("-", "_"), [_value(value)] if equals else []
    return found


def _option(key: str, values: list[Any]) -> dict[str, Any]:
    if not values and key.startswith("no_") and key != "no_cuda":
        return {key.removeprefix("no_"): False}
    return {key: True if not values else values[0] if len(values) == 1 else values}


def _value(word: str) -> Any:
    """Return a word of a command line as the value that it stands for."""
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if _NUMBER.fullmatch(word) and len(word) < 40:
        return int(word) if word.lstrip("+-").isdecimal() else float(word)
    if word.startswith(("{", "[")):
        try:
            return json.loads(word)
        except (ValueError, RecursionError):
            return word
    return word
