"""Every public name says what it does, with an example that the tests run as a doctest."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from doctest import SKIP, DocTestFinder
from typing import Any

import pytest

import vram_widget as vw
from vram_widget.training_hub import estimators as training_hub

HUB = ["estimate", "BasicEstimator", "LoRAEstimator", "QLoRAEstimator", "OSFTEstimator"]
PUBLIC = {f"vram_widget.{name}": getattr(vw, name) for name in vw.__all__} | {
    f"vram_widget.training_hub.{name}": getattr(training_hub, name) for name in HUB
}
CLASSES = [name for name, public in PUBLIC.items() if inspect.isclass(public)]
FUNCTIONS = [name for name, public in PUBLIC.items() if inspect.isfunction(public)]
READERS = [name for name in vw.__all__ if name.startswith("from_")]


def own_members(owner: Any) -> Iterator[tuple[str, Any]]:
    """Yield the public functions and properties that a class itself defines."""
    for name, member in vars(owner).items():
        function = getattr(member, "fget", None) or inspect.unwrap(
            getattr(member, "__func__", member)
        )
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example_that_runs(name: str) -> None:
    (found,) = DocTestFinder(recurse=False).find(PUBLIC[name], name)
    assert found.examples
    assert not [each for each in found.examples if each.options.get(SKIP)]
    # --doctest-modules runs it where it stands: in the package.
    assert PUBLIC[name].__module__.startswith("vram_widget")


@pytest.mark.parametrize("name", CLASSES)
def test_every_member_of_a_public_class_is_documented(name: str) -> None:
    silent = [member for member, f in own_members(PUBLIC[name]) if not inspect.getdoc(f)]
    assert silent == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_parameters_of_a_public_function_are_described(name: str) -> None:
    described = (inspect.getdoc(PUBLIC[name]) or "").partition("Parameters")[2]
    taken = set(inspect.signature(PUBLIC[name]).parameters)
    fields = vw.TrainingConfig.field_names()
    if taken.issuperset(fields):
        taken -= set(fields)
        taken.add("**choices")
    assert [parameter for parameter in taken if parameter not in described] == []


@pytest.mark.parametrize("name", READERS)
def test_a_reader_says_what_it_warns_of_and_refuses(name: str) -> None:
    text = inspect.getdoc(getattr(vw, name)) or ""
    assert "\nWarns\n-----\nReadingWarning\n" in text
    assert "\nRaises\n------\nConfigError\n" in text
