"""What a configuration that was read from elsewhere is known to leave out."""

from __future__ import annotations

from typing import Literal, TypedDict

from traitlets import HasTraits

from .fields import Field

#: What leaving something out does to the figure.
Effect = Literal["too_little", "too_much", "unknown"]


class Uncounted(TypedDict):
    """A setting that is not counted: a sentence, and what that does to the figure."""

    text: str
    effect: Effect


class UncountedSettings(Field[list[Uncounted]]):
    """The settings of an imported file that are not counted, as its reader says them."""

    def validate(self, obj: HasTraits, value: object) -> list[Uncounted]:
        """Return the settings if each is a sentence with its effect."""
        found: list[Uncounted] = []
        for each in value if isinstance(value, (list, tuple)) else [value]:
            match each:
                case {
                    "text": str(text),
                    "effect": ("too_little" | "too_much" | "unknown") as effect,
                }:
                    found.append({"text": text, "effect": effect})
                case _:
                    raise self.refuse(value, "a list of sentences with their effects")
        return found
