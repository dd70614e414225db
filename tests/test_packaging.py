"""The wheel and the sdist: what they hold, and that they serve where the package will be used.

Built without node on the path, as on a workbench that has none, and run as OpenShift runs a pod:
a user id of no one, group 0, no home, and nothing but the temporary folder that may be written.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vram_widget as vw

ROOT = Path(__file__).parents[1]
SOURCES = [
    ".gitignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "js",
    "notebooks",
    "tests",
    "vram_widget",
]
MADE = shutil.ignore_patterns("__pycache__", "node_modules", "static", ".*")

#: Any id that no one has; OpenShift gives each project a range of its own, up here.
SOME_USER, ROOT_GROUP = 1_000_660_000, 0

MODEL = "ibm-granite/granite-3.3-2b-instruct"
SCRIPT = f"""
import json, sys
import vram_widget as vw
est = vw.estimate({MODEL!r}, gpu="L40S")
looked_up = "huggingface_hub" in sys.modules
view = vw.VRAMWidget({MODEL!r}, gpu="L40S")._repr_mimebundle_()[0]
print(json.dumps([list(est), looked_up, sorted(view), vw.__file__]))
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that every user may enter, as pytest's own may not be."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def without_node(folder: Path) -> dict[str, str]:
    """An environment with a shell and no node."""
    tools = folder / "tools"
    tools.mkdir()
    shell = shutil.which("sh")
    assert shell
    (tools / "sh").symlink_to(shell)
    return {**os.environ, "PATH": str(tools)}


@pytest.fixture(scope="module")
def dist(folder: Path, without_node: dict[str, str]) -> Path:
    """The sdist, and the wheel built from it."""
    pytest.importorskip("build", reason="build is not installed")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        path = ROOT / name
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, source / name, **({"ignore": MADE} if path.is_dir() else {}))
    stale = source / "vram_widget" / "static" / "stale.js"
    stale.parent.mkdir()
    stale.write_text("// left over from an earlier build")
    run(
        [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(source)], without_node
    )
    return folder / "dist"


@pytest.fixture(scope="module")
def user() -> dict[str, Any]:
    """How subprocess becomes no one, where it may."""
    if os.geteuid() != 0:
        return {}
    return {"user": SOME_USER, "group": ROOT_GROUP, "extra_groups": []}


@pytest.fixture(scope="module")
def python(folder: Path, dist: Path, without_node: dict[str, str], user: dict[str, Any]) -> Path:
    """The interpreter of a fresh environment, read-only, that holds the wheel."""
    home = folder / "venv"
    run([interpreter(user), "-m", "venv", str(home)], without_node)
    python = home / "bin" / "python"
    run([str(python), "-m", "pip", "install", "--quiet", str(wheel(dist))], without_node)
    for path in [home, *home.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    return python


def interpreter(user: dict[str, Any]) -> str:
    """Return a Python that the user may run: root's own may lie where no one else may look."""
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    for path in (str(base), "/usr/bin/python3"):
        try:
            run([path, "-c", "import ensurepip"], {}, cwd="/", **user)
        except (OSError, AssertionError):
            continue
        return path
    pytest.skip("no Python with ensurepip that every user may run")


def run(command: list[str], environment: dict[str, str], **options: Any) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def files(home: Path) -> set[Path]:
    return set(home.rglob("*"))


def test_the_wheel_holds_what_runs(dist: Path) -> None:
    with zipfile.ZipFile(wheel(dist)) as archive:
        names = set(archive.namelist())
    for needed in ("py.typed", "gpu/gpus.json", "model/catalog.json"):
        assert f"vram_widget/{needed}" in names
    static = {name for name in names if "/static/" in name}
    assert static == {"vram_widget/static/widget.js", "vram_widget/static/widget.css"}
    tops = {name.split("/")[0].split("-")[0] for name in names}
    assert tops == {"vram_widget"}
    data = {p.relative_to(ROOT).as_posix() for p in (ROOT / "vram_widget").rglob("*.json")}
    assert data <= names


def test_the_wheel_is_small(dist: Path) -> None:
    assert wheel(dist).stat().st_size < 1_000_000


def test_the_sdist_holds_what_builds_and_tests(dist: Path) -> None:
    (found,) = dist.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
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


def test_it_runs_as_no_one_with_nothing_to_write_to(
    folder: Path, python: Path, user: dict[str, Any]
) -> None:
    before = files(python.parents[1])
    environment = {"HOME": "/nowhere", "PATH": str(python.parent)}
    out = run([str(python), "-c", SCRIPT], environment, cwd="/", **user)
    figures, looked_up, shown, where = json.loads(out)
    assert figures == list(vw.estimate(MODEL, gpu="L40S"))
    assert not looked_up
    assert {"image/png", "text/plain"} <= set(shown)
    assert Path(where).is_relative_to(folder)
    assert files(python.parents[1]) == before
