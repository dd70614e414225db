"""Another program's settings, as they are read: the twin of `Draft`.

Nothing is left out silently. A reader takes the keys that it knows how to say in our fields; those
that have no bearing on memory are known by name (names/*.json); every other one becomes a notice,
which stays with the configuration and says what leaving it out does to the figure.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from ...config import TrainingConfig
from ...config.fields import nearest, real
from ...config.uncounted import Effect, Uncounted
from ...errors import ConfigError, shown

#: How deeply settings may be nested, and how long a number in them may be.
DEEPEST = 50
MOST_BITS = 4096

#: How a notice ends.
THEREFORE: dict[Effect, str] = {
    "too_little": "the figure is too low without it",
    "too_much": "the figure is too high without it",
    "unknown": "the figure may be too high or too low without it",
}


class ReadingWarning(UserWarning):
    """Settings of another program that are not counted; the estimate has a notice for each."""


class UnnamedModelError(ConfigError):
    """Settings that name no model: another one's memory would be no answer."""


@dataclass(frozen=True)
class Names:
    """What is known of a program's keys that no field stands for.

    A name may be a pattern such as ``wandb_*``; a key inside another is ``outer.inner``.

    Attributes
    ----------
    no_bearing : tuple of str
        Keys without a bearing on memory or time: logging, paths, seeds, schedules, data.
    uncounted : mapping
        Key -> what leaving it out does to the figure, and why.
    refused : mapping
        Key -> what kind of run it makes, which is not the one estimated here.
    """

    no_bearing: tuple[str, ...]
    uncounted: Mapping[str, tuple[Effect, str]]
    refused: Mapping[str, str]

    @classmethod
    @cache
    def of(cls, *programs: str) -> Names:
        """Return what names/ has of some programs, one after another.

        Examples
        --------
        >>> "seed" in Names.of("axolotl").no_bearing
        True
        """
        folder = files(__package__) / "names"
        tables = [json.loads((folder / f"{each}.json").read_text("utf-8")) for each in programs]
        uncounted = {k: tuple(v) for each in tables for k, v in each["uncounted"].items()}
        return cls(
            tuple(name for each in tables for name in each["no_bearing"]),
            uncounted,
            {key: kind for each in tables for key, kind in each["refused"].items()},
        )

    def __iter__(self) -> Iterator[str]:
        yield from (*self.no_bearing, *self.uncounted, *self.refused)


class Reading:
    """The settings of another program, as they are read.

    Parameters
    ----------
    program : str
        Whose they are, as people say it.
    settings : mapping
        What was written. A value of None counts as not written, as most programs take it.
    names : Names
        What is known of the keys that are not read.
    within : str
        The key that holds these settings, where another one does.
    shown_within : str
        The same for people, where settings of one program stand in those of another.
    """

    def __init__(
        self,
        program: str,
        settings: Mapping[Any, Any],
        names: Names,
        within: str = "",
        shown_within: str = "",
    ) -> None:
        self.program = program
        self.names = names
        self._within = within
        self._shown_within = shown_within or within
        written = mapping(settings, self._shown_within or program).items()
        self._settings = {str(key): each for key, each in written if each is not None}
        self._read: set[str] = set()
        self._inside: list[Reading] = []
        self._uncounted: list[tuple[Uncounted, tuple[str, ...]]] = []

    def __contains__(self, key: str) -> bool:
        """Return whether a key was written."""
        self._read.add(key)
        return key in self._settings

    def get(self, key: str, default: Any = None) -> Any:
        """Return what was written for a key, or else `default`: it is read."""
        self._read.add(key)
        return self._settings.get(key, default)

    def fields(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Return our fields for the keys that take their values as they are."""
        return {field: self._settings[key] for key, field in names.items() if key in self}

    def inside(self, key: str) -> Reading:
        """Return the settings that a key holds, to be read like these.

        Raises
        ------
        ConfigError
            If it holds something else.
        """
        name = self.named(key)
        within = f"{self._within}.{key}" if self._within else key
        inner = Reading(self.program, mapping(self.get(key), name), self.names, within, name)
        self._inside.append(inner)
        return inner

    def beside(self, settings: Mapping[Any, Any], names: Names, shown_within: str = "") -> Reading:
        """Return settings of another program, with names of their own, that come with these."""
        inner = Reading(self.program, settings, names, "", shown_within)
        self._inside.append(inner)
        return inner

    def skip(self, *keys: str) -> None:
        """Take down that keys have no bearing beside what else was written."""
        self._read.update(keys)

    def uncounted(self, key: str, effect: Effect, why: str, *fields: str) -> None:
        """Say that a written key is not counted; a choice for all of `fields` replaces it."""
        name, value = self.named(key), self.get(key)
        text = f"{name}: {shown(value)} is not counted ({why}): {THEREFORE[effect]}."
        self._uncounted.append(({"text": text, "effect": effect}, fields))

    def note(self, effect: Effect, sentence: str, *fields: str) -> None:
        """Say in a sentence of its own what is not counted."""
        self._uncounted.append(
            ({"text": f"{sentence}: {THEREFORE[effect]}.", "effect": effect}, fields)
        )

    def named(self, key: str) -> str:
        """Return a key as it stands among all settings, for people."""
        key = key if key.isprintable() and len(key) <= 80 else shown(key)
        return f"{self._shown_within}.{key}" if self._shown_within else key

    def configuration(
        self, found: Mapping[str, Any], choices: Mapping[str, Any], model_key: str
    ) -> TrainingConfig:
        """Return the configuration of what was read; `choices` win.

        Warns
        -----
        ReadingWarning
            Once, of all that is not counted.

        Raises
        ------
        UnnamedModelError
            If neither names a model.
        ConfigError
            If a key makes it another kind of run than those estimated here.
        """
        uncounted = self._uncounted_beside(choices)
        values = {"uncounted": uncounted, **found, **choices}
        if values.get("model_path") is None:
            raise UnnamedModelError(
                f"No model is named: give {model_key} in the settings, or model_path."
            )
        config = TrainingConfig(**values)
        self._warn(uncounted)
        return config

    def around(self, config: TrainingConfig, choices: Mapping[str, Any]) -> TrainingConfig:
        """Return what another reader made of settings in these, with what these leave uncounted.

        Warns
        -----
        ReadingWarning
            Once, of all that is not counted, also by the other reader, whose own warning is not
            needed then.
        """
        uncounted = [*config.uncounted, *self._uncounted_beside(choices)]
        self._warn(uncounted)
        return config.replace(uncounted=uncounted)

    def _warn(self, uncounted: list[Uncounted]) -> None:
        texts = [each["text"] for each in uncounted]
        if len(texts) > 1:
            texts = [f"the estimate comes with {len(texts)} notices.", *texts]
        if texts:
            said = "\n- ".join(texts)
            warnings.warn(f"{self.program}: {said}", ReadingWarning, stacklevel=_stacklevel())

    def _uncounted_beside(self, choices: Mapping[str, Any]) -> list[Uncounted]:
        """Return what is not counted and that no choice stands for."""
        return [
            each for each, fields in self._left() if not (fields and choices.keys() >= {*fields})
        ]

    def _left(self) -> Iterator[tuple[Uncounted, tuple[str, ...]]]:
        """Account for every key that was not read, here and inside."""
        for key in self._settings:
            if key not in self._read:
                self._account(key)
        yield from self._uncounted
        for inner in self._inside:
            yield from inner._left()

    def _account(self, key: str) -> None:
        value = self._settings[key]
        name = f"{self._within}.{key}" if self._within else key
        if _among(name, self.names.no_bearing):
            return
        off = value is False or value in ("", 0, "no", "none") or value == [] or value == {}
        if found := _among(name, self.names.refused):
            if not off:
                kind = self.names.refused[found]
                raise ConfigError(
                    f"{self.program}'s {self.named(key)}: {shown(value)} is {kind}, which is not "
                    "estimated here; take it out to estimate the rest as a fine-tune."
                )
        elif found := _among(name, self.names.uncounted):
            if not off:
                self.uncounted(key, *self.names.uncounted[found])
        else:
            named = (each.rpartition(".")[2] for each in self.names if "*" not in each)
            hint = nearest(key, [*self._read, *named])
            text = f"{self.named(key)}: {shown(value)} is no setting known here.{hint}"
            self._uncounted.append(({"text": text, "effect": "unknown"}, ()))


def mapping(value: object, name: str) -> Mapping[str, Any]:
    """Return a mapping of settings; nothing counts as an empty one.

    Raises
    ------
    ConfigError
        If it is none, or holds what no settings do: itself, or a number without an end.

    Examples
    --------
    >>> mapping({"stage": 2}, "zero_optimization"), mapping(None, "fsdp_options")
    ({'stage': 2}, {})
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} must be a mapping of settings, not {shown(value)}.")
    held: list[object] = [value]
    for _ in range(DEEPEST):
        if any(isinstance(each, int) and each.bit_length() > MOST_BITS for each in held):
            raise ConfigError(f"{name} holds a number that is too long for any setting.")
        inside = (each for holder in held for each in _inside(holder))
        held = [*{id(each): each for each in inside}.values()]
        if not held:
            return value
    raise ConfigError(f"The settings of {name} are nested too deeply.")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def count(value: object, name: str) -> int:
    """Return a whole number above zero.

    Raises
    ------
    ConfigError
        If it is none.

    Examples
    --------
    >>> count(8, "effective_batch_size")
    8
    """
    number = real(value)
    if number is None or number // 1 != number or not 0 < number <= 1 << 40:
        raise ConfigError(f"{name} must be a whole number above zero, not {shown(value)}.")
    return int(number)


def word(value: object, words: Mapping[Any, str], other: Any) -> Any:
    """Return our word for another's, or `other` for one that is not among them.

    Examples
    --------
    >>> word(2, {2: "zero2"}, "ddp"), word([], {2: "zero2"}, "ddp")
    ('zero2', 'ddp')
    """
    return words.get(value, other) if isinstance(value, (str, int)) else other


def _stacklevel() -> int:
    """Return how far above the line that warns the one is that called this package."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level


def _among(name: str, patterns: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Return the first pattern that a name follows, or nothing."""
    return next((each for each in patterns if fnmatchcase(name, each)), "")
