"""Settings as people have them: a mapping, YAML or JSON text, or the path of a file.

Files come from strangers: whatever one holds, it is read in a moment or refused in a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from ...errors import ConfigError, shown

#: What settings may be given as.
Source = Mapping[str, Any] | str | PathLike[str]

#: The longest text that is read: far longer than any settings that a person writes.
MOST_BYTES = 1 << 18
#: The most values that a text may stand for, each alias counted as what it repeats.
MOST_VALUES = 100_000

#: Whether the settings come from where this machine's files are none of their business.
_confined = ContextVar("confined", default=False)


@contextmanager
def confined() -> Iterator[None]:
    """Open only files of the working folder meanwhile, whatever path the settings name."""
    before = _confined.set(True)
    try:
        yield
    finally:
        _confined.reset(before)


def opened(settings: Source, program: str) -> Mapping[str, Any]:
    r"""Return settings as a mapping.

    Parameters
    ----------
    settings : mapping, str or path
        A mapping, which is returned as it is; YAML or JSON text; or the path of such a file.
    program : str
        Whose they are, as people say it.

    Raises
    ------
    ConfigError
        If they cannot be read, or are no mapping of keys to values.

    Examples
    --------
    >>> opened("lora_r: 8\nlora_alpha: 16", "Axolotl"), opened('{"stage": 2}', "DeepSpeed")
    ({'lora_r': 8, 'lora_alpha': 16}, {'stage': 2})
    """
    if isinstance(settings, Mapping):
        return settings
    content = documents(text(settings, program), program)
    if len(content) != 1 or not isinstance(content[0], Mapping):
        raise ConfigError(f"Settings of {program} are a mapping of keys to values.")
    return content[0]


def text(settings: str | PathLike[str], program: str) -> str:
    """Return a text as it is, or the content of the file at a path.

    Raises
    ------
    ConfigError
        If it is neither, too long, or no text.
    """
    if not isinstance(settings, (str, PathLike)):
        raise ConfigError(
            f"Give settings of {program} as a mapping, as text or as a path, not {shown(settings)}."
        )
    found = fspath(settings)
    if not isinstance(found, str):
        raise ConfigError(f"The path of a file is text, not {shown(found)}.")
    if not (isinstance(settings, str) and is_text(found)):
        found = _content(found, program)
    if len(found) > MOST_BYTES:
        raise ConfigError(
            f"The settings of {program} are longer than {MOST_BYTES >> 10} KiB: they are no "
            "settings."
        )
    return found


def is_text(settings: str) -> bool:
    r"""Return whether a text is the settings themselves, and no path.

    Examples
    --------
    >>> is_text("base_model: m"), is_text("{}"), is_text("configs/lora.yaml")
    (True, True, False)
    """
    return "\n" in settings or ": " in settings or settings.lstrip().startswith(("{", "["))


def documents(text: str, program: str) -> list[Any]:
    r"""Return what a JSON text holds, or each document of a YAML text.

    Raises
    ------
    ConfigError
        If it is neither, or stands for far more values than a file of settings has.

    Examples
    --------
    >>> documents("kind: A\n---\nkind: B", "Kubeflow")
    [{'kind': 'A'}, {'kind': 'B'}]
    """
    import yaml

    text = text.removeprefix("\ufeff")
    try:
        if text.lstrip().startswith("{"):
            try:
                return [json.loads(text)]
            except json.JSONDecodeError:  # YAML may begin with a brace too
                pass
        return _loaded(text)
    except RecursionError:
        reason = "it is nested too deeply"
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        reason = f"{error.problem or error.context}{line}"
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    raise ConfigError(f"The settings of {program} cannot be read: {reason[:200].rstrip('.')}.")


def _loaded(text: str) -> list[Any]:
    import yaml

    loader = yaml.SafeLoader(text)
    found = []
    try:
        while loader.check_node():
            node = loader.get_node()
            if _values(node, {}) > MOST_VALUES:
                raise ValueError("it stands for more values than settings have")
            found.append(loader.construct_document(node))
    finally:
        loader.dispose()
    return [each for each in found if each is not None]


def _values(node: Any, counted: dict[int, int]) -> int:
    """Return how many values a YAML node stands for, each alias counted as what it repeats."""
    if id(node) not in counted:
        counted[id(node)] = MOST_VALUES + 1  # until it is known: an alias of what holds it
        inside = node.value if isinstance(node.value, list) else []
        parts = (part for each in inside for part in (each if isinstance(each, tuple) else [each]))
        counted[id(node)] = 1 + sum(_values(part, counted) for part in parts)
    return counted[id(node)]


def _content(path: str, program: str) -> str:
    """Return the text of a file."""
    try:
        file = Path(path).expanduser()
        if _confined.get() and (
            file.is_absolute() or not file.resolve().is_relative_to(Path.cwd())
        ):
            reason = (
                "settings that are put in here open no file outside the notebook's folder; write "
                "what it holds in place of its path"
            )
        elif file.is_dir():
            reason = "it is a folder; give the file in it"
        elif file.exists() and not file.is_file():
            reason = "it is no file"
        else:
            with file.open("rb") as opened_file:
                content = opened_file.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                reason = f"it is longer than {MOST_BYTES >> 10} KiB, which no settings are"
            elif b"\0" in content:
                reason = "it is no text"
            else:
                return content.decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
    except UnicodeDecodeError:
        reason = "it is no UTF-8 text"
    except (ValueError, RuntimeError) as error:  # a zero byte in the path, no home folder
        reason = str(error)
    raise ConfigError(f"The file {shown(path)} of {program} cannot be read: {reason.rstrip('.')}.")
