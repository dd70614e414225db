"""What `pytest`, called by itself, leaves out here, and the releases that tests read."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

#: They are run alone: ``pytest tests/benchmarks``.
collect_ignore = ["benchmarks"]

#: The releases that the exports and Training Hub's figures are written for.
RELEASES = {
    "training_hub": "0.11.2",
    "instructlab-training": "0.16.2",
    "rhai-innovation-mini-trainer": "0.9.0",
    "trl": "1.16.0",
    "axolotl": "0.19.0",
    "llamafactory": "0.9.5",
    "kubeflow-trainer-api": "2.3.0",
}


@pytest.fixture(scope="session")
def released(request):
    """Return a function that gives a release's files, downloaded once and never installed."""

    def get(name):
        folder = Path(request.config.cache.mkdir("releases")) / f"{name}-{RELEASES[name]}"
        if not folder.exists():
            download = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
            wheels = folder.with_suffix(".wheel")
            command = [*download, "--dest", str(wheels), f"{name}=={RELEASES[name]}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"{name} cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
            with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
                wheel.extractall(folder)
        return folder

    return get
