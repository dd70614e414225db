"""The wheel and the sdist: what they hold, and that they serve where the package will be used.

Built without node on the path, as on a workbench that has none. `install` does this with every
Python of the machine.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from install import ROOT, Place, built, clean_copy, open_folder
from installed import MODEL

import vram_widget as vw


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with open_folder() as folder:
        yield Place(folder)


@pytest.fixture(scope="module")
def packages(place: Place) -> tuple[Path, Path]:
    """The wheel and the sdist, built where an earlier build has left something."""
    pytest.importorskip("build", reason="build is not installed")
    source = clean_copy(place.folder / "source")
    stale = source / "vram_widget" / "static" / "stale.js"
    stale.parent.mkdir()
    stale.write_text("// left over from an earlier build")
    return built(source, place.folder / "dist", place.without_node)


@pytest.fixture(scope="module")
def wheel(packages: tuple[Path, Path]) -> Path:
    return packages[0]


@pytest.fixture(scope="module")
def sdist(packages: tuple[Path, Path]) -> Path:
    return packages[1]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    package = ROOT / "vram_widget"
    files = {path.relative_to(ROOT) for path in package.rglob("*") if path.is_file()}
    sources = {path.as_posix() for path in files if not {"__pycache__", "static"} & {*path.parts}}
    assert "vram_widget/py.typed" in sources
    static = {"vram_widget/static/widget.js", "vram_widget/static/widget.css"}
    assert sorted(names) == sorted(sources | static)


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 1_000_000


def test_the_sdist_holds_what_builds_and_tests(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "js/package-lock.json",
        "js/src/widget.ts",
        "notebooks/quickstart.ipynb",
        "tests/test_packaging.py",
        "vram_widget/static/widget.js",
    ):
        assert needed in names
    assert "vram_widget/static/stale.js" not in names
    assert not [name for name in names if "node_modules" in name]


def test_it_runs_as_no_one_with_nothing_to_write_to_and_no_network(
    place: Place, wheel: Path
) -> None:
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    found = place.check(place.installed(base, wheel))
    assert found["figures"] == list(vw.estimate(MODEL, training_method="lora", gpu="L40S"))
