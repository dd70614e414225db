"""Named errors. Each carries one clear sentence that says what to do."""

from reprlib import Repr

from traitlets import TraitError

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


class VRAMWidgetError(Exception):
    """The base of every error this package raises on purpose.

    Examples
    --------
    >>> from vram_widget import estimate
    >>> try:
    ...     estimate("meta-llama/Llama-3.1-8B", gpu="Voodoo 2")
    ... except VRAMWidgetError as error:
    ...     print(type(error).__name__)
    GPUError
    """


class ConfigError(VRAMWidgetError, TraitError, ValueError):
    """A choice in the training configuration cannot be used as it is.

    Examples
    --------
    >>> from vram_widget import TrainingConfig
    >>> TrainingConfig(max_seq_len=0)
    Traceback (most recent call last):
        ...
    vram_widget.errors.ConfigError: max_seq_len must be between 1 and 16,777,216, not 0.
    """


class UnknownFieldError(VRAMWidgetError, TypeError):
    """A keyword that names no field of the configuration.

    Examples
    --------
    >>> from vram_widget import TrainingConfig
    >>> TrainingConfig(max_seq_length=2048)
    Traceback (most recent call last):
        ...
    vram_widget.errors.UnknownFieldError: TrainingConfig has no field 'max_seq_length'. \
Did you mean 'max_seq_len'?
    """


class ModelError(VRAMWidgetError, ValueError):
    """The model's description cannot be found, read or understood.

    Examples
    --------
    >>> from vram_widget import estimate
    >>> try:
    ...     estimate("./no-such-folder")
    ... except ModelError as error:
    ...     print(error)
    There is no folder ./no-such-folder; give one that holds a config.json, or a model's id.
    """


class GPUError(VRAMWidgetError, ValueError):
    """The GPU is not in the catalogue, or its memory cannot be read.

    Examples
    --------
    >>> from vram_widget import estimate
    >>> try:
    ...     estimate("meta-llama/Llama-3.1-8B", gpu="L400")
    ... except GPUError as error:
    ...     print(error)
    'L400' is not in the GPU catalogue. The nearest: L40, L40S, RTX 4090. \
Or give the memory by hand: gpu=None, gpu_memory='48GiB'.
    """


class MissingPackageError(VRAMWidgetError, ImportError):
    """A package that an optional part needs is not installed."""


class FileError(VRAMWidgetError, OSError):
    """A file cannot be written where it was asked for."""


def shown(value: object) -> str:
    """Return a wrong value as a sentence repeats it: short, whatever it is.

    Examples
    --------
    >>> shown("loar"), len(shown("x" * 1_000_000))
    ("'loar'", 80)
    """
    try:
        return _SHORT.repr(value)
    except ValueError:  # more digits than Python writes out
        return "a number of thousands of digits"
