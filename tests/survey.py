r"""How files that nobody here wrote are read: every example of the programs that train.

    python tests/survey.py axolotl=~/axolotl llamafactory=~/LLaMA-Factory torchtune=~/torchtune \
        trl=~/trl accelerate=~/accelerate kubeflow=~/trainer

Each argument is a program and a checkout of its repository. Every file is given to the reader as
it stands, and is one of

- read: nothing is left out,
- with gaps: read, and what is not counted is named,
- refused: in one sentence that says what it is, or what to do,
- crashed: any other error, or a sentence that is none.

A key is silent if it is not named, is not known to have no bearing, and changes nothing: neither
when it is taken out nor when its value is another. That is tried key by key, on the file itself,
and asks nothing of the reader but its answer. Keys that are idle where they stand are found too,
such as a rank beside no adapter; each is listed, with how many files have it, to be looked at.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import vram_widget as vw
from vram_widget.export.readers.reading import Names

Read = Callable[[Any], vw.TrainingConfig]

#: What a call adds, as a person would: some files name no model, or no number of GPUs.
BESIDE = {"gpu": "H100"}


class Program(NamedTuple):
    """Where a program's examples lie, what reads them, and the names of what has no bearing."""

    files: tuple[str, ...]
    read: Read
    names: tuple[str, ...]
    commands: str = ""


def accelerated(launch: Any) -> vw.TrainingConfig:
    """Return the configuration of a small run that Accelerate's file starts."""
    return vw.from_trl({"model": "Qwen/Qwen3-0.6B", "accelerate": launch}, **BESIDE)


PROGRAMS = {
    "axolotl": Program(
        ("examples/**/*.y*ml",), lambda each: vw.from_axolotl(each, **BESIDE), ("axolotl",)
    ),
    "llamafactory": Program(
        ("examples/**/*.yaml",),
        lambda each: vw.from_llamafactory(each, **BESIDE),
        ("llamafactory", "transformers"),
    ),
    "torchtune": Program(
        ("recipes/configs/**/*.yaml",),
        lambda each: vw.from_torchtune(each, **BESIDE),
        ("torchtune",),
    ),
    "trl": Program(
        ("examples/cli_configs/*.yaml",),
        lambda each: vw.from_trl(each, **BESIDE),
        ("trl", "transformers", "peft", "accelerate"),
        commands=r"^(?:accelerate launch|trl sft|python)\b(?:.*\\\n)*.*$",
    ),
    "accelerate": Program(
        ("examples/**/*.y*ml", "tests/test_configs/*.y*ml", "benchmarks/**/*.y*ml"),
        accelerated,
        ("accelerate", "fsdp", "deepspeed", "parallelism"),
    ),
    "kubeflow": Program(
        ("examples/**/*.y*ml", "manifests/**/*.y*ml"),
        lambda each: vw.from_trainjob(each, **{"model_path": "Qwen/Qwen3-0.6B", **BESIDE}),
        ("trainjob",),
    ),
}


def outcome(read: Read, settings: Any) -> tuple[str, Any]:
    """Return how settings are read, and what the answer depends on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            config = read(settings)
        except vw.VRAMWidgetError as error:
            said = str(error)
            return ("refused", said) if said and "\n" not in said else ("crashed", said)
        except Exception as error:
            return "crashed", repr(error)
    return ("with gaps" if config.uncounted else "read"), config.config


def settings_of(program: Program, root: Path) -> Iterator[tuple[str, Any]]:
    """Yield each example by its name: the path of a file, or a command line of the documents."""
    for pattern in program.files:
        for file in sorted(root.glob(pattern)):
            yield str(file.relative_to(root)), file
    if program.commands:
        for file in sorted([*root.glob("docs/**/*.md"), *root.glob("examples/scripts/*.py")]):
            text = file.read_text("utf-8")
            for number, command in enumerate(re.findall(program.commands, text, re.MULTILINE)):
                if "sft" in command:
                    yield f"{file.relative_to(root)} #{number}", command


def keys(settings: Mapping[str, Any], within: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the way to every value that stands in settings; an empty one says nothing."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from keys(value, (*within, key))
        elif value is not None:
            yield (*within, key)


def others(value: Any) -> Iterator[Any]:
    """Yield other values of a kind."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value * 2 + 1
    elif isinstance(value, str):
        yield f"{value}x"
        yield "auto"
    elif isinstance(value, list):
        yield [*value, "another"]
        yield []


def silent(program: Program, settings: Mapping[str, Any], answer: Any) -> Iterator[str]:
    """Yield the keys that could say anything, and change nothing."""
    without_bearing = [name for each in program.names for name in Names.of(each).no_bearing]
    for way in keys(settings):
        names = [".".join(map(str, way[:end])) for end in range(1, len(way) + 1)]
        if any(fnmatchcase(name, each) for name in names for each in without_bearing):
            continue
        if all(outcome(program.read, each)[1] == answer for each in changed(settings, way)):
            yield names[-1]


def changed(settings: Mapping[str, Any], way: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    """Yield settings without a key, and with other values of it."""
    for value in (None, *others(_at(settings, way))):
        copy = deepcopy(dict(settings))
        holder = copy
        for key in way[:-1]:
            holder = holder[key]
        if value is None:
            del holder[way[-1]]
        else:
            holder[way[-1]] = value
        yield copy


def _at(settings: Any, way: tuple[str, ...]) -> Any:
    for key in way:
        settings = settings[key]
    return settings


def survey(name: str, root: Path, verbose: bool) -> None:
    """Print how the examples of one program are read."""
    program, counts = PROGRAMS[name], Counter[str]()
    idle, why = Counter[str](), Counter[str]()
    for example, settings in settings_of(program, root):
        how, answer = outcome(program.read, settings)
        counts[how] += 1
        if how == "refused":
            why[re.sub(r"'[^']*'|\S*\d\S*", "…", answer)] += 1
        if how == "crashed" or verbose:
            print(f"  {how:10} {example}: {answer if how in ('crashed', 'refused') else ''}")
        if isinstance(settings, Path) and how in ("read", "with gaps"):
            content = yaml.safe_load(settings.read_text("utf-8"))
            how, answer = outcome(program.read, content)  # a comment or a folder may say more
            if how in ("read", "with gaps"):
                idle.update(silent(program, content, answer))
    print(f"{name}: {dict(counts)}")
    for text, count in why.most_common():
        print(f"  refused {count:3}: {text[:160]}")
    for key, count in idle.most_common():
        print(f"  idle {count:3}: {key}")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        if argument != "-v":
            which, _, folder = argument.partition("=")
            survey(which, Path(folder).expanduser(), "-v" in sys.argv)
