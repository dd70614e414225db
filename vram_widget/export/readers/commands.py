"""The command lines that start a training run: their words, their launchers and their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...config import TrainingConfig
from ...errors import ConfigError, shown
from . import source
from .reader import Command, readers

#: What starts the same run as a command: a module or a script -> the command.
MODULES = {
    "axolotl.cli.train": "axolotl train",
    "llamafactory.cli": "llamafactory-cli",
    "src/train.py": "llamafactory-cli train",
}


def lines(text: str) -> Iterator[list[str]]:
    r"""Yield the words of each line of a shell script that starts a program known here.

    Examples
    --------
    >>> list(lines("# two GPUs\nCUDA_VISIBLE_DEVICES=0,1 tune run \\\n  recipe\necho done"))
    [['tune', 'run', 'recipe']]
    """
    known = _commands()
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        try:
            words = shlex.split(line.strip().removeprefix("$ ").removeprefix("!"), comments=True)
        except ValueError:  # a quotation without an end
            continue
        while words and re.match(r"[A-Za-z_]\w*=|(uv|run|env)$", words[0]):
            del words[0]
        if words and words[0].rpartition("/")[2] in known:
            yield words


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
    program = words[0].rpartition("/")[2]
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


def options(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the options among words, ``--key value`` and ``--key=value``, and the other words.

    Examples
    --------
    >>> options(["train", "x.yaml", "--lora-r", "8", "--bf16"])
    ({'lora_r': 8, 'bf16': True}, ['train', 'x.yaml'])
    """
    found: dict[str, Any] = {}
    others = []
    waiting = [*words]
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--"):
            others.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        values = [value] if equals else []
        while not equals and waiting and not waiting[0].startswith("--"):
            values.append(waiting.pop(0))
        read_as = [parsed(each) for each in values] or [True]
        found[key.replace("-", "_")] = read_as[0] if len(read_as) == 1 else read_as
    return found, others


def parsed(word: str) -> Any:
    """Return the value that a word of a command line stands for, as YAML has it.

    Examples
    --------
    >>> parsed("8"), parsed("True"), parsed("[q_proj, v_proj]"), parsed("a: {")
    (8, True, ['q_proj', 'v_proj'], 'a: {')
    """
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
    given = {}
    for option in ("nnodes", "nproc[-_]per[-_]node", "num[-_]processes"):
        if match := re.search(rf"--{option}[ =](\d{{1,6}})(?: |$)", " ".join(words)):
            given[option] = int(match[1])
    nodes = max(given.get("nnodes", 1), 1)
    found = {"num_nodes": nodes} if nodes > 1 else {}
    if per_node := given.get("nproc[-_]per[-_]node"):
        found["num_gpus"] = per_node * nodes
    if processes := given.get("num[-_]processes"):  # Accelerate's, of all nodes
        found["num_gpus"] = processes
    return found


def _commands() -> dict[str, Command]:
    return {name: run for reader in readers() for name, run in reader.commands.items()}
