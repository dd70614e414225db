r"""Print what one part of a model allocates in one training step, event by event.

    python -m vram_widget.trace meta-llama/Llama-3.2-1B training_method=lora max_seq_len=1024
    python -m vram_widget.trace ./folder --module 'layers\.0\.mlp' --step 2 param_dtype=float32
    python -m vram_widget.trace ./config.json --module . --alive forward

Fields of TrainingConfig are given as name=value. `--alive PHASE` prints instead what is alive
when a phase ends.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from ..config import TrainingConfig
from ..errors import VRAMWidgetError
from ..step.timeline import PHASES
from . import Trace, trace
from .events import Storage


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m vram_widget.trace", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="a folder, a config.json, or a name in the catalogue")
    parser.add_argument("choices", nargs="*", metavar="name=value")
    parser.add_argument("--module", default=r"layers\.1\.", help="regex; . is everything")
    parser.add_argument("--step", type=int, choices=(1, 2), default=2)
    parser.add_argument("--alive", choices=PHASES, help="print what lives at the end of a phase")
    return parser.parse_args(arguments)


def read_choices(pairs: list[str]) -> dict[str, Any]:
    """Turn ``["lora_r=8", "optim=sgd"]`` into fields; a value is JSON or else text."""
    choices: dict[str, Any] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            choices[name] = json.loads(text)
        except json.JSONDecodeError:
            choices[name] = text
    return choices


def lines(result: Trace, module: str, step: int) -> Iterator[str]:
    """Yield a line for every storage that comes or goes, with the bytes allocated after it."""
    wanted, total = re.compile(module), 0
    for event in result.events:
        total += event.nbytes
        if event.step == step and wanted.search(event.storage.module):
            yield f"{event.phase:14} {event.nbytes:+15,} {total:18,}  {describe(event.storage)}"


def alive(result: Trace, module: str, step: int, phase: str) -> Iterator[str]:
    """Yield a line for every storage that is there when a phase ends."""
    wanted, there = re.compile(module), dict[Storage, None]()
    last = max(i for i, e in enumerate(result.events) if (e.step, e.phase) == (step, phase))
    for event in result.events[: last + 1]:
        if event.sign > 0:
            there[event.storage] = None
        else:
            del there[event.storage]
    for storage in there:
        if wanted.search(storage.module):
            yield f"{storage.nbytes:15,}  {describe(storage)}"


def describe(storage: Storage) -> str:
    """Return a storage's component, module, operator, dtype and shape in columns."""
    name, shape = storage.module.removeprefix("model."), "x".join(map(str, storage.shape))
    operator = storage.operator.removeprefix("aten.").removesuffix(".default")
    return f"{storage.component:11} {name:34} {operator:40} {storage.dtype:8} {shape}"


def main() -> None:
    """Run the command."""
    arguments = read_arguments(sys.argv[1:])
    try:
        config = TrainingConfig(arguments.model, **read_choices(arguments.choices))
        result = trace(config)
    except VRAMWidgetError as error:
        sys.exit(str(error))
    if arguments.alive:
        chosen = alive(result, arguments.module, arguments.step, arguments.alive)
    else:
        chosen = lines(result, arguments.module, arguments.step)
    for line in chosen:
        print(line)
    for notice in result.notices:
        print(notice)
    print(result)


if __name__ == "__main__":
    main()
