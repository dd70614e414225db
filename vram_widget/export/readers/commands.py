"""The command lines that start a training run: their words, their launchers and their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ...config import TrainingConfig
from ...errors import ConfigError, shown
from . import accelerate, source
from .reader import Command, readers

#: What starts the same run as a command: a module or a script -> the command.
MODULES = {
    "axolotl.cli.train": "axolotl train",
    "llamafactory.cli": "llamafactory-cli",
    "src/train.py": "llamafactory-cli train",
}

#: Arguments of launchers that take no value: of Accelerate, torchrun and deepspeed.
_SWITCHES = accelerate.SWITCHES | {
    *("standalone", "run_path", "virtual_local_rank", "no_local_rank", "no_ssh", "force_multi"),
}
#: Arguments of torchrun and deepspeed that Accelerate's file has no place for, by their beginning.
_OF_LAUNCHERS = (
    *("rdzv_", "master_", "node_", "local_", "log", "redirects", "include", "standalone"),
    *("start_method", "hostfile", "exclude", "module", "launcher"),
)
_PYTHON = re.compile(r"python[\d.]*")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
#: What stands before a command and is not its name.
_BEFORE = re.compile(r"[A-Za-z_]\w*=.*|uv|run|env|\$", re.DOTALL)
#: What ends a command in a shell.
_ENDS = ("&&", "||", "|", ";", "&")


def words(line: str | Sequence[object]) -> list[str]:
    r"""Return the words of a command line, from the name of the command to its end.

    Raises
    ------
    ConfigError
        If it is too long, a quotation in it has no end, or a word is no text.

    Examples
    --------
    >>> words("$ CUDA_VISIBLE_DEVICES=0,1 tune run \\\n  recipe > log.txt  # two GPUs")
    ['tune', 'run', 'recipe']
    """
    if len(line) > source.MOST_BYTES:
        raise ConfigError(f"The command line is longer than {source.MOST_BYTES >> 10} KiB.")
    try:
        if isinstance(line, str):
            found = shlex.split(_joined(line).strip().removeprefix("!"), comments=True)
        else:
            found = [str(word) for word in line]
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The command line cannot be read: {error}.") from None
    start = next((i for i, word in enumerate(found) if not _BEFORE.fullmatch(word)), len(found))
    ends = (i for i, word in enumerate(found) if word in _ENDS or word.startswith((">", "2>")))
    return found[start : next(ends, len(found))]


def lines(text: str) -> Iterator[list[str]]:
    r"""Yield the words of each line of a shell script that starts a program known here.

    Examples
    --------
    >>> list(lines("set -e\ntune run \\\n  recipe\necho done"))
    [['tune', 'run', 'recipe']]
    """
    known = _commands()
    for line in _joined(text).splitlines():
        try:
            found = words(line)
        except ConfigError:
            continue
        if found and PurePath(found[0]).name in known:
            yield found


def one(text: str) -> list[str]:
    """Return the words of the command line that trains, in a shell script.

    Raises
    ------
    ConfigError
        If there is none, or more than one.
    """
    found = list(lines(text))
    found = [words for words in found if not words[0].startswith("python")] or found
    if len(found) != 1:
        programs = ", ".join(_commands())
        raise ConfigError(
            f"Give settings, or one command line of {programs}; there are {len(found)} here."
        )
    return found[0]


def read(words: Sequence[str], choices: Mapping[str, Any]) -> TrainingConfig:
    """Return the configuration that a command line trains with.

    Raises
    ------
    ConfigError
        If it starts a program that is not known here, or code.
    """
    for place, word in enumerate(words[1:], start=1):
        for module, command in MODULES.items():
            if word == module or word.endswith(f"/{module}"):
                if any(each.startswith("--config_file") for each in words[:place]):
                    raise ConfigError(
                        f"Accelerate's own file is not read beside {command}: take --config_file "
                        "out, and give what it holds as num_gpus and sharding."
                    )
                start = {**launch(words[:place]), **choices}
                return read([*command.split(), *words[place + 1 :]], start)
    known = _commands()
    program = PurePath(words[0]).name
    if "-c" in words:
        raise ConfigError(
            f"{shown(' '.join(words[:8]))} runs code of its own, whose settings are not known "
            "here; give them to the reader of the library that it uses, such as from_trl."
        )
    if program not in known:
        raise ConfigError(
            f"The command line starts {shown(program)}; known here are {', '.join(known)}."
        )
    return known[program](words[1:], choices)


def script(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return what launches a script, in the words of Accelerate's file, and the script's words.

    A module that Python runs counts as the script of its name.

    Examples
    --------
    >>> script(["accelerate", "launch", "--num_processes", "2", "train.py", "--packing"])
    ({'num_processes': 2}, ['train.py', '--packing'])
    >>> script("torchrun --nnodes=2 --nproc-per-node=8 -m trl.scripts.sft".split())
    ({'multi_gpu': True, 'num_machines': 2, 'num_processes': 16}, ['trl.scripts.sft.py'])
    """
    launcher: dict[str, Any] = {}
    rest = [*words]
    while rest:
        name = PurePath(rest[0]).name
        if name == "accelerate" and rest[1:2] == ["launch"]:
            found, rest = _launcher(rest[2:])
            launcher |= found
        elif name == "accelerate-launch":
            found, rest = _launcher(rest[1:])
            launcher |= found
        elif name in ("torchrun", "deepspeed"):
            found, rest = _launcher(rest[1:])
            launcher |= {"multi_gpu": True, **_as_accelerate(found)}
        elif _PYTHON.fullmatch(name):
            rest = _module(rest[1:])
        else:
            break
    return launcher, rest


def options(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the options among words, ``--key value`` and ``--key=value``, and the other words.

    Examples
    --------
    >>> options(["train", "x.yaml", "--lora-r", "8", "--bf16", "--no-packing", "--names", "a", "b"])
    ({'lora_r': 8, 'bf16': True, 'packing': False, 'names': ['a', 'b']}, ['train', 'x.yaml'])
    """
    found: dict[str, Any] = {}
    others = []
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not word.startswith("--"):
            others.append(word)
            continue
        name, equals, written = word[2:].partition("=")
        key, values = name.replace("-", "_"), [written] if equals else []
        while not equals and place < len(words) and not _is_option(words[place]):
            values.append(words[place])
            place += 1
        if not values and key.startswith("no_") and key != "no_cuda":
            found[key.removeprefix("no_")] = False
        else:
            read_as = [value(each) for each in values] or [True]
            found[key] = read_as[0] if len(read_as) == 1 else read_as
    return found, others


def value(word: str) -> Any:
    """Return the value that a word of a command line stands for: a number as it is, else as YAML.

    Examples
    --------
    >>> value("8"), value("1e-4"), value("True"), value("[q_proj, v_proj]"), value("a: {")
    (8, 0.0001, True, ['q_proj', 'v_proj'], 'a: {')
    """
    if _NUMBER.fullmatch(word) and len(word) < 40:
        return int(word) if word.lstrip("+-").isdecimal() else float(word)
    if ":" in word and not word.startswith(("{", "[")):  # no mapping, and no time of day
        return word
    try:
        found = source.documents(word, "the command line")
    except ConfigError:
        return word
    return found[0] if len(found) == 1 else word


def launch(words: Sequence[str]) -> dict[str, Any]:
    """Return the number of GPUs and nodes that a launcher's options start.

    Examples
    --------
    >>> launch(["--nnodes", "2", "--nproc-per-node=8"])
    {'num_nodes': 2, 'num_gpus': 16}
    """
    given = options(words)[0]
    for key, each in given.items():
        given[key] = each[0] if each and isinstance(each, list) else each  # a recipe may follow
    launcher = _as_accelerate(given)
    nodes, processes = launcher.get("num_machines", 1), launcher.get("num_processes")
    found = {"num_nodes": nodes} if isinstance(nodes, int) and nodes > 1 else {}
    if isinstance(processes, int) and processes > 0:
        found["num_gpus"] = processes
    return found


def _joined(text: str) -> str:
    """Return a text with its lines that go on in the next joined to it."""
    return re.sub(r"\\[ \t]*\r?\n", " ", text)


def _commands() -> dict[str, Command]:
    return {name: run for reader in readers() for name, run in reader.commands.items()}


def _launcher(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return a launcher's own options, and what follows them."""
    found: dict[str, Any] = {}
    place = 0
    while place < len(words) and words[place].startswith("-"):
        name, equals, written = words[place].lstrip("-").partition("=")
        name = name.replace("-", "_")
        place += 1
        if name in ("m", "module"):
            return found, _module(["-m", *words[place:]])
        if equals:
            found[name] = value(written)
        elif name in _SWITCHES or place == len(words):
            found[name] = True
        else:
            found[name] = value(words[place])
            place += 1
    return found, words[place:]


def _as_accelerate(launcher: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of torchrun and deepspeed in Accelerate's words."""
    found = {key: each for key, each in launcher.items() if not key.startswith(_OF_LAUNCHERS)}
    per_node = found.pop("nproc_per_node", found.pop("num_gpus", None))
    nodes = found.pop("nnodes", found.pop("num_nodes", 1))
    if isinstance(nodes, int):
        found.setdefault("num_machines", nodes)
        if isinstance(per_node, int):
            found.setdefault("num_processes", per_node * nodes)
    return found


def _module(words: list[str]) -> list[str]:
    """Return what follows `python`: a script, or a module by its name, as if it were one."""
    while words and words[0].startswith("-"):
        if words[0] == "-m":
            module, *rest = words[1:] or [""]
            if module in ("torch.distributed.run", "torch.distributed.launch"):
                return ["torchrun", *rest]
            if module == "accelerate.commands.launch":
                return ["accelerate-launch", *rest]
            words = [module, *rest]
            break
        words = words[1:]
    return [f"{words[0].removesuffix('.py')}.py", *words[1:]] if words else []


def _is_option(word: str) -> bool:
    return word.startswith("-") and not _NUMBER.fullmatch(word)
