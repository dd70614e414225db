"""Read settings of whichever program they are: a file, its content, or a command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...errors import ConfigError
from . import commands, source
from .reader import Reader, readers

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...config.choices import Choices
    from .source import Source


#: How sentences call it while it is not known.
PROGRAM = "a trainer"


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
        text = settings if any(commands.lines(settings)) else source.text(settings, PROGRAM)
    else:
        text = source.text(settings, PROGRAM)
    try:
        content = [each for each in source.documents(text, PROGRAM) if isinstance(each, Mapping)]
    except ConfigError:
        if not any(commands.lines(text)):
            raise
        content = []  # a shell script is no YAML
    if not content:
        return commands.read(commands.one(text), choices)
    reader = recognised(
        next((each for each in content if each.get("kind") == "TrainJob"), content[0])
    )
    return reader.read(settings, **choices)


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
    raise ConfigError(f"These settings are of no trainer that is known here: {_known()}.")


def _known() -> str:
    """Return the programs that are known, for a sentence."""
    return ", ".join(reader.label for reader in readers())
