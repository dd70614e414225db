"""The NVIDIA cards of this machine, read from nvidia-smi where NVML cannot be loaded."""

from __future__ import annotations

import re
import shutil
import subprocess
import time

from ..units import GiB
from .nvml import Device

MiB = 1 << 20

#: ``nvidia-smi -L``: a card, and below it, indented, the MIG slices made of it.
_CARD = re.compile(r"GPU \d+: (?P<name>.+) \(UUID: (?P<uuid>GPU-[^)]+)\)")
_SLICE = re.compile(
    r"\s+MIG (?P<profile>\S*?(?P<compute>\d)g\.(?P<gb>\d+)gb)\S*\s.*\(UUID: (?P<uuid>MIG-[^)]+)\)"
)

#: Compute slices of a card that MIG can divide; the smallest, of 24 GB, has four.
_COMPUTE_SLICES = 7


def devices(timeout: float) -> list[Device]:
    """Return the cards and MIG slices that nvidia-smi lists; none where it cannot be run.

    How much of a MIG slice is in use is not told here.

    Parameters
    ----------
    timeout : float
        Seconds to wait for it.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    sizes = "--query-gpu=uuid,memory.total,memory.used"
    listing, table = _outputs(
        [[program, "-L"], [program, sizes, "--format=csv,noheader,nounits"]], timeout
    )
    memory = dict(_memory(line) for line in table.splitlines() if line.count(",") == 2)
    cards: list[list[Device]] = []
    for line in listing.splitlines():
        if card := _CARD.match(line):
            total, used = memory.get(card["uuid"], (None, None))
            cards.append([Device(card["name"], card["uuid"], total, used)])
        elif cards and (part := _SLICE.match(line)):
            cards[-1].append(_slice(part, cards[-1][0]))
    return [device for card, *slices in cards for device in slices or [card]]


def _memory(line: str) -> tuple[str, tuple[int | None, int | None]]:
    uuid, total, used = (cell.strip() for cell in line.split(","))
    return uuid, (_bytes(total), _bytes(used))


def _bytes(mebibytes: str) -> int | None:
    """Read a size; ``[N/A]``, as of memory shared with the CPU, is None."""
    return int(mebibytes) * MiB if mebibytes.isdecimal() else None


def _slice(part: re.Match[str], card: Device) -> Device:
    total = int(part["gb"]) * GiB
    compute = int(part["compute"]) / _COMPUTE_SLICES
    return Device(
        name=card.name,
        uuid=part["uuid"],
        total=total,
        used=None,
        profile=part["profile"],
        compute_share=compute,
        memory_share=min(1.0, total / card.total) if card.total else compute,
    )


def _outputs(commands: list[list[str]], timeout: float) -> list[str]:
    """Run commands side by side; return what each wrote, nothing for one that failed."""
    until = time.monotonic() + timeout
    running = [
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for command in commands
    ]
    outputs = []
    for process in running:
        try:
            written, _ = process.communicate(timeout=max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.stdout.close()  # type: ignore[union-attr]
            written = b""
        outputs.append(written.decode("utf-8", "replace") if process.returncode == 0 else "")
    return outputs
