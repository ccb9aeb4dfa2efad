"""How numbers are said."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Say how many of what, for example "1 clip" and "1,200 clips"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(number: int) -> str:
    """Bytes with a decimal unit."""
    size = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
