"""Sizes, counts and times, in words and in bytes."""

from __future__ import annotations

MiB = 1024**2
GiB = 1024**3

#: What a thousand of the one before is called.
UNITS = ("k", "M", "B", "T")


def gib(nbytes: float) -> str:
    """Return bytes in GiB with one decimal.

    Examples
    --------
    >>> gib(40.13 * 1024**3), gib(1024), gib(0), gib(1024**4)
    ('40.1', '<0.1', '0.0', '1,024.0')
    """
    amount = nbytes / GiB
    return "<0.1" if 0 < amount < 0.05 else f"{amount:,.1f}"


def amount(nbytes: int) -> str:
    """Return bytes as GiB, or MiB or KiB where that reads better.

    Examples
    --------
    >>> amount(3 * 1024**3), amount(5 * 1024**2)
    ('3.00 GiB', '5.0 MiB')
    """
    if abs(nbytes) >= GiB // 10:
        return f"{nbytes / GiB:.2f} GiB"
    if abs(nbytes) >= 1024**2 // 10:
        return f"{nbytes / 1024**2:.1f} MiB"
    return f"{nbytes / 1024:.1f} KiB"


def quantity(number: float) -> str:
    """Return a large count in three digits.

    Examples
    --------
    >>> quantity(2_533_539_840), quantity(20_971_520), quantity(960), quantity(999_885_952)
    ('2.53 B', '21.0 M', '960', '1.00 B')
    """
    if number < 1000:
        return f"{number:g}"
    digits, power = f"{number:.2e}".split("e")  # rounded first, as 999.9 M are 1.00 B
    thousands = min(int(power) // 3, len(UNITS))
    places = int(power) - 3 * thousands
    amount = float(digits) * 10**places
    return f"{amount:.{max(2 - places, 0)}f} {UNITS[thousands - 1]}"


def duration(seconds: float) -> str:
    """Return a time as a person says it.

    Examples
    --------
    >>> duration(75), duration(5400), duration(300_000)
    ('1 min', '1.5 h', '3.5 d')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"
