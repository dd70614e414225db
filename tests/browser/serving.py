"""A notebook server as a process of its own, on a free port, that reads nothing of this user."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

TOKEN = "test"
START_SECONDS = 60


@contextmanager
def running(
    module: str,
    options: list[str],
    folder: Path,
    *,
    port: int,
    ready: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run ``python -m module`` in `folder`; yield its address once the path `ready` answers."""
    address = f"http://127.0.0.1:{port}"
    log = (folder / f"{module}.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", module, *options],
        cwd=folder,
        env={**os.environ, **own_folders(folder / ".home"), **(environment or {})},
        stdout=log,
        stderr=log,
    )
    try:
        wait_for(f"{address}{ready}", server, module)
        yield address
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def own_folders(home: Path) -> dict[str, str]:
    """Return the environment in which Jupyter keeps everything in `home`."""
    return {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "IPYTHONDIR": str(home / "ipython"),
        "XDG_CONFIG_HOME": str(home / "xdg"),
        "XDG_STATE_HOME": str(home / "state"),
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(url: str, server: subprocess.Popen[bytes], name: str) -> None:
    """Return as soon as `url` answers."""
    end = time.monotonic() + START_SECONDS
    while not answers(url):
        if server.poll() is not None:
            raise RuntimeError(f"{name} ended before it answered")
        if time.monotonic() > end:
            raise TimeoutError(f"{name} did not answer within {START_SECONDS} s")
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True
