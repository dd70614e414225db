"""Points huggingface_hub at a Hub on loopback, with caches of its own."""

import importlib
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from server import Hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    server = Hub()
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    # Before 1.0 huggingface_hub keeps a copy.
    download = importlib.import_module("huggingface_hub.file_download")
    monkeypatch.setattr(download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.close()


@pytest.fixture
def forget(monkeypatch):
    """Gives a function that empties the memory, as a new process would have it."""
    from vram_widget.model import hub_cache

    monkeypatch.setattr(hub_cache, "_memory", type(hub_cache._memory)())
    return lambda: hub_cache._memory.clear()


@pytest.fixture
def environment(hub, tmp_path):
    """The environment in which another process finds the loopback Hub and its own caches."""
    keep = {key: os.environ[key] for key in ("PATH", "TMPDIR", "LANG") if key in os.environ}
    return {
        **keep,
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.endpoint,
        "PYTHONPATH": str(Path(__file__).parent.parent.parent),
    }
