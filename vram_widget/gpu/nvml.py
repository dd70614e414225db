"""The NVIDIA cards of this machine, asked of the driver's own library (NVML) through ctypes."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from ctypes import byref, c_char, c_int, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass

from ..units import GiB

LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"

#: The version words NVML wants in a v2 struct: its size, and 2 in the top byte.
_VERSION_2 = 2 << 24


@dataclass(frozen=True)
class Device:
    """A card, or a MIG slice of one, as the driver describes it.

    Attributes
    ----------
    name : str
        The driver's name, without a MIG profile.
    uuid : str
        What CUDA_VISIBLE_DEVICES may call it.
    total, used : int or None
        Bytes a process can have in all, and bytes in use now; None where the driver does not
        say, as for memory shared with the CPU.
    profile : str
        The MIG profile, ``"1g.10gb"``; empty for a whole card.
    compute_share, memory_share : float
        The slice's part of the card's compute and of its memory; 1 for a whole card.
    """

    name: str
    uuid: str
    total: int | None
    used: int | None
    profile: str = ""
    compute_share: float = 1.0
    memory_share: float = 1.0


class NVMLError(Exception):
    """NVML answered with an error code."""


class _Memory(ctypes.Structure):
    _fields_ = (("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong))


class _Memory2(ctypes.Structure):
    _fields_ = (
        ("version", c_uint),
        ("total", c_ulonglong),
        ("reserved", c_ulonglong),
        ("free", c_ulonglong),
        ("used", c_ulonglong),
    )


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("multiprocessors", c_uint),
        ("copy_engines", c_uint),
        ("decoders", c_uint),
        ("encoders", c_uint),
        ("jpeg_engines", c_uint),
        ("optical_flow_engines", c_uint),
        ("gpu_slices", c_uint),
        ("compute_slices", c_uint),
        ("memory_mib", c_ulonglong),
    )


def devices() -> list[Device]:
    """Return the cards and MIG slices, in the driver's order.

    Raises
    ------
    OSError
        If this machine has no NVML.
    NVMLError
        If NVML cannot start, or cannot list the cards.
    """
    nvml = ctypes.CDLL(LIBRARY)
    _call(nvml, "nvmlInit_v2")
    try:
        return [device for handle in _handles(nvml) for device in _describe(nvml, handle)]
    finally:
        _call(nvml, "nvmlShutdown")


def _call(nvml: ctypes.CDLL, function: str, *arguments: object) -> None:
    """Call a function of NVML; raise for an error code, or where an old driver lacks it."""
    try:
        code = getattr(nvml, function)(*arguments)
    except AttributeError:
        raise NVMLError(f"this driver has no {function}") from None
    if code:
        raise NVMLError(f"{function} answered {code}")


def _handles(nvml: ctypes.CDLL) -> Iterator[c_void_p]:
    count = c_uint()
    _call(nvml, "nvmlDeviceGetCount_v2", byref(count))
    for index in range(count.value):
        handle = c_void_p()
        try:
            _call(nvml, "nvmlDeviceGetHandleByIndex_v2", index, byref(handle))
        except NVMLError:
            continue  # a card that fell off the bus hides none of the others
        yield handle


def _describe(nvml: ctypes.CDLL, handle: c_void_p) -> Iterator[Device]:
    """Yield the card, or where MIG is on its slices: then the card itself cannot be used."""
    slices = _mig_slices(nvml, handle)
    name = _text(nvml, "nvmlDeviceGetName", handle)
    whole, used = _memory(nvml, handle)
    if slices is None:
        yield Device(name, _text(nvml, "nvmlDeviceGetUUID", handle), whole, used)
        return
    most, parts = slices
    for part in parts:
        attributes = _Attributes()
        _call(nvml, "nvmlDeviceGetAttributes_v2", part, byref(attributes))
        total, used = _memory(nvml, part)
        total = total or attributes.memory_mib << 20
        compute = attributes.compute_slices / most
        yield Device(
            name=name,
            uuid=_text(nvml, "nvmlDeviceGetUUID", part),
            total=total,
            used=used,
            profile=f"{attributes.compute_slices}g.{round(total / GiB)}gb",
            compute_share=compute,
            memory_share=min(1.0, total / whole) if whole else compute,
        )


def _mig_slices(nvml: ctypes.CDLL, handle: c_void_p) -> tuple[int, list[c_void_p]] | None:
    """Return how many slices the card divides into and those that exist; None without MIG."""
    current, pending, most = c_uint(), c_uint(), c_uint()
    try:
        _call(nvml, "nvmlDeviceGetMigMode", handle, byref(current), byref(pending))
    except NVMLError:
        return None  # a card, or a driver, that knows no MIG
    if not current.value:
        return None
    _call(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle, byref(most))
    found = []
    for index in range(most.value):
        part = c_void_p()
        try:
            _call(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index, byref(part))
        except NVMLError:
            continue  # this slice was not made
        found.append(part)
    return max(1, most.value), found


def _memory(nvml: ctypes.CDLL, handle: c_void_p) -> tuple[int | None, int | None]:
    """Return total and used bytes, without what the driver keeps for itself where it says so."""
    newer = _Memory2(version=ctypes.sizeof(_Memory2) | _VERSION_2)
    try:
        _call(nvml, "nvmlDeviceGetMemoryInfo_v2", handle, byref(newer))
        return newer.total - newer.reserved, newer.used
    except NVMLError:
        pass  # drivers before 510 know the first version only
    older = _Memory()
    try:
        _call(nvml, "nvmlDeviceGetMemoryInfo", handle, byref(older))
        return older.total, older.used
    except NVMLError:
        return None, None


def _text(nvml: ctypes.CDLL, function: str, handle: c_void_p) -> str:
    buffer = (c_char * 96)()
    _call(nvml, function, handle, buffer, c_int(len(buffer)))
    return buffer.value.decode("utf-8", "replace")
