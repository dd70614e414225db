"""Read settings of whichever program they are: a file, its content, or a command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...errors import ConfigError
from . import commands, source
from .reader import Reader, readers

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...config.choices import Choices
    from .source import Source


def from_file(settings: Source, **choices: Unpack[Choices]) -> TrainingConfig:
    r"""Return the configuration that a file or a command line trains with, of any program known.

    The program is told by the content, not by the name of the file; the configuration's `trainer`
    is what it was taken for.

    Parameters
    ----------
    settings : mapping, str or path
        The path of a file; its content, as YAML, JSON, a mapping or a shell script; or a command
        line such as ``"trl sft --model_name_or_path ..."``.
    **choices
        Fields that the settings do not hold, such as `gpu` and `num_gpus`; they win.

    Warns
    -----
    ReadingWarning
        Once, of all that is not counted.

    Raises
    ------
    ConfigError
        If they cannot be read, are of no program known, or hold a value that cannot be.

    Examples
    --------
    >>> from_file("model_path: m\nckpt_output_dir: out\nlora_r: 8").trainer
    'training_hub'
    """
    if isinstance(settings, Mapping):
        return recognised(settings).read(settings, **choices)
    if isinstance(settings, str) and not source.is_text(settings):
        for words in commands.lines(settings):
            return commands.read(words, choices)
    text = source.text(settings, "the program")
    try:
        content = source.documents(text, "the program")
    except ConfigError:
        content = []
        failed = True
    else:
        failed = False
    kept = [each for each in content if isinstance(each, Mapping)]
    if not kept:
        for words in commands.lines(text):
            return commands.read(words, choices)
        if failed:
            source.documents(text, "the program")
        raise ConfigError(f"This is neither settings nor a command line: {_known()}.")
    reader = recognised(next((each for each in kept if each.get("kind") == "TrainJob"), kept[0]))
    return reader.read(settings if isinstance(settings, Path) else text, **choices)


def recognised(content: Mapping[str, Any]) -> Reader:
    """Return the reader whose program the settings are for.

    Raises
    ------
    ConfigError
        If there is none.

    Examples
    --------
    >>> recognised({"model_path": "m", "data_path": "d"}).label
    'Training Hub'
    """
    for reader in readers():
        if reader.recognises(content):
            return reader
    raise ConfigError(f"These settings are of no program that is known here: {_known()}.")


def _known() -> str:
    """Return the programs that are known, for a sentence."""
    return ", ".join(reader.label for reader in readers())
