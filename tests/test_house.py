"""The house: imports point one way between its rooms, and no two files import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vram_widget

PACKAGE = Path(vram_widget.__file__).parent

#: The rooms, from the ground up: what is in one imports only from those of the rows before it.
FLOORS = [
    ["errors", "units", "trainers"],
    ["config"],
    ["gpu"],
    ["step"],
    ["allocator"],
    ["families", "show"],
    ["model"],
    ["estimate", "export"],
    ["advise", "trace", "training_hub"],
    ["widget"],
    ["__init__"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
#: Every file by the name it is imported by, without the package's own.
MODULES = {name.removesuffix("__init__").removesuffix(".") or "__init__": name for name in FILES}


def imported(name: str) -> Iterator[str]:
    """Yield the files that a file imports, those for its types and within functions too."""
    folder = name.split(".")[:-1]
    for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = [*folder[: len(folder) - node.level + 1], *(node.module or "").split(".")]
        source = ".".join(part for part in base if part)
        for alias in node.names:
            found = MODULES.get(f"{source}.{alias.name}".removeprefix("."))
            yield found or MODULES[source or "__init__"]


IMPORTS = {name: set(imported(name)) - {name} for name in FILES}


def room(name: str) -> str:
    return name.split(".")[0]


def test_every_room_has_its_floor() -> None:
    assert {room(name) for name in FILES} == FLOOR.keys()


@pytest.mark.parametrize("name", FLOOR)
def test_a_room_imports_only_from_those_below(name: str) -> None:
    arrows = [
        f"{file} imports {other}"
        for file in FILES
        for other in sorted(IMPORTS[file])
        if room(file) == name != room(other) and FLOOR[room(other)] >= FLOOR[name]
    ]
    assert arrows == []


def test_no_files_import_each_other() -> None:
    TopologicalSorter(IMPORTS).prepare()  # raises CycleError, which names the circle


def test_only_the_package_itself_imports_by_its_full_name() -> None:
    """Within it imports are relative, so that these tests see them."""
    for name, path in FILES.items():
        tree = ast.parse(path.read_text("utf-8"))
        names = [
            each
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0)
            for each in [getattr(node, "module", None), *(alias.name for alias in node.names)]
        ]
        assert not [each for each in names if each and each.startswith("vram_widget")], name
