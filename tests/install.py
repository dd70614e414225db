"""The package where it will be used: ``python tests/install.py``, as root.

Built from a copy without anything that was built before; installed into every Python found, from
the wheel, and into the oldest from the sdist, where there is no node; then run as OpenShift runs a
pod: a read-only site-packages, a user id of no one, no home, no cache and no network. What that
user leaves behind is a failure. test_packaging.py does the same with the Python of the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROGRAM = Path(__file__).with_name("installed.py")
OLDEST, NEWEST = 10, 14

SOURCES = [
    ".gitignore",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "conftest.py",
    "pyproject.toml",
    "js",
    "notebooks",
    "tests",
    "vram_widget",
]
MADE = shutil.ignore_patterns("__pycache__", "node_modules", "static", ".*")

#: Of no one: OpenShift gives each project ten thousand of its own, up here. One of them is this
#: process's, so that two that run at the same time do not find each other's files.
USER = 1_000_670_000 + os.getpid() % 10_000
AS_NO_ONE = [shutil.which("setpriv") or "setpriv", f"--reuid={USER}", "--regid=0", "--clear-groups"]
#: Where a network cannot be taken away, the Hub is a port of this machine that no one listens on.
NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:9"}


def main() -> None:
    """Install and run the package everywhere; end at the first thing that is wrong."""
    if os.geteuid() != 0:
        sys.exit("Run it as root: it runs the package as another user.")
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:4.0f} s  {what}", flush=True)

    with open_folder() as folder:
        source = clean_copy(folder / "source")
        wheel, sdist = built(source, folder / "dist", dict(os.environ))
        say(f"built {wheel.name}, {wheel.stat().st_size:,} bytes, and {sdist.name}")
        place = Place(folder)
        say("no network" if place.isolation else "the Hub is a port that no one listens on")
        pythons = dict(interpreters())
        for minor, python in pythons.items():
            place.check(place.installed(python, wheel))
            say(f"the wheel runs in Python 3.{minor}, {python}")
        oldest = min(pythons)
        place.check(place.installed(pythons[oldest], sdist))
        say(f"the sdist, built without node, runs in Python 3.{oldest}")


@contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that every user may enter, as pytest's own may not be."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def clean_copy(folder: Path) -> Path:
    """Return the folder, with the sources in it and nothing that was built from them."""
    folder.mkdir()
    for name in SOURCES:
        path = ROOT / name
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, folder / name, **({"ignore": MADE} if path.is_dir() else {}))
    return folder


def run(command: list[str | Path], **options: Any) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def works(command: list[str | Path]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0
    except OSError:
        return False


def built(source: Path, dist: Path, environment: dict[str, str]) -> tuple[Path, Path]:
    """Return the wheel and the sdist of a source tree."""
    run([sys.executable, "-m", "build", "--outdir", dist, source], env=environment)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return wheel, sdist


def interpreters() -> Iterator[tuple[int, Path]]:
    """Yield one Python of each version: Debian's, one of python.org's images, pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in range(OLDEST, NEWEST + 1):
        for prefix in (Path("/usr"), Path("/usr/local"), *pyenv.glob(f"3.{minor}.*")):
            path = prefix / "bin" / f"python3.{minor}"
            if works([path, "-c", "import ssl, venv"]):
                yield minor, path
                break


class Place:
    """A folder where a package is installed, and run by a user of no one.

    Parameters
    ----------
    folder : Path
        One that every user may enter.

    Attributes
    ----------
    isolation : list of str
        The command that runs another with no network; empty where none may.
    without_node : dict
        An environment whose path holds a shell and no node.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.no_one = AS_NO_ONE if os.geteuid() == 0 else []
        apart = [shutil.which("unshare") or "unshare", "--net"]
        self.isolation = apart if works([*apart, "true"]) else []
        tools = folder / "tools"
        tools.mkdir()
        (tools / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
        self.without_node = {**os.environ, "PATH": str(tools)}
        shutil.copy(PROGRAM, folder)

    def installed(self, python: Path, package: Path) -> Path:
        """Return a fresh environment, read-only, into which the package went without node."""
        home = self.folder / "env"
        if home.exists():
            shutil.rmtree(home)
        run([self.reachable(python), "-m", "venv", "--without-pip", home])
        into = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install"]
        run([*into, "--quiet", "--no-compile", package], env=self.without_node)
        for path in [home, *home.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o222)
        return home

    def reachable(self, python: Path) -> Path:
        """Return the interpreter, or a copy where it lies where no one else may look."""
        if works([*self.no_one, python, "-c", ""]):
            return python
        here = self.folder / python.parents[1].name
        if not here.exists():
            unneeded = shutil.ignore_patterns("test", "site-packages", "__pycache__")
            shutil.copytree(python.parents[1] / "lib", here / "lib", symlinks=True, ignore=unneeded)
            (here / "bin").mkdir()
            shutil.copy(python, here / "bin")
        return here / "bin" / python.name

    def check(self, environment: Path) -> dict[str, Any]:
        """Run the package with no home, then with an empty one; return what the first run found.

        Raises
        ------
        AssertionError
            If it fails, finds the wrong thing or leaves a file anywhere but in a cache.
        """
        before = self.left()
        found = self.found(environment, Path("/"))
        assert self.left() == before, f"left behind: {self.left() - before}"
        home = self.folder / "home"
        home.mkdir()
        if self.no_one:
            os.chown(home, USER, 0)
        assert self.found(environment, home) == found
        files = {path.relative_to(home) for path in home.rglob("*") if path.is_file()}
        strays = {path for path in files if path.parts[0] != ".cache"}
        assert not strays, f"outside the cache: {strays}"
        shutil.rmtree(home)
        return found

    def found(self, environment: Path, home: Path) -> dict[str, Any]:
        """Run the program and return what it found, held to what it must find."""
        python = environment / "bin" / "python"
        variables = {
            "HOME": str(home),
            "PATH": str(self.folder / "tools"),
            "LD_LIBRARY_PATH": str(python.resolve().parents[1] / "lib"),
        }
        if not self.isolation:
            variables |= NO_HUB
        command = [*self.isolation, *self.no_one, python, self.folder / PROGRAM.name]
        found: dict[str, Any] = json.loads(run(command, cwd="/", env=variables))
        low, expected, high = found["figures"]
        assert 0 < low < expected < high, found
        assert found["largest"] > 0, found
        assert not found["looked_up"], "a model of the catalogue was looked up"
        assert {"image/png", "text/plain"} <= set(found["shown"]), found
        assert {"model_path", "lora_r"} <= set(found["exported"]), found
        assert found["refused"], "a model that only the Hub knows was found without it"
        assert Path(found["file"]).is_relative_to(environment), found
        return found

    def left(self) -> set[str]:
        """Return every file of this machine that is the user's; of one's own there are too many."""
        if not self.no_one:
            return set()
        mounts = [
            "/",
            *(each for each in ("/tmp", "/var/tmp", "/dev/shm") if os.path.ismount(each)),
        ]
        find = ["find", *mounts, "-xdev", "-user", str(USER)]
        return set(subprocess.run(find, capture_output=True, text=True).stdout.splitlines())


if __name__ == "__main__":
    main()
