"""Named errors. Each carries one clear sentence that says what to do."""

from traitlets import TraitError


class VRAMWidgetError(Exception):
    """The base of every error this package raises on purpose."""


class ConfigError(VRAMWidgetError, TraitError, ValueError):
    """A choice in the training configuration cannot be used as it is."""


class UnknownFieldError(VRAMWidgetError, TypeError):
    """A keyword that names no field of the configuration."""


class ModelError(VRAMWidgetError, ValueError):
    """The model's description cannot be found, read or understood."""


class GPUError(VRAMWidgetError, ValueError):
    """The GPU is not in the catalogue, or its memory cannot be read."""


class MissingPackageError(VRAMWidgetError, ImportError):
    """A package that an optional part needs is not installed."""
