"""What is known of the filters of ffmpeg that measure frames: their keys and their options."""

from __future__ import annotations

from dataclasses import dataclass

_STATISTICS = ("MIN", "LOW", "AVG", "HIGH", "MAX")


@dataclass(frozen=True)
class Filter:
    """A filter that writes what it measures into the metadata of each frame.

    Attributes
    ----------
    keys
        Of these metadata.
    options
        What may be set (ffmpeg 9), to find what a user probably meant.
    """

    keys: tuple[str, ...]
    options: tuple[str, ...]


FILTERS = {
    "siti": Filter(("lavfi.siti.si", "lavfi.siti.ti"), ("print_summary",)),
    "blurdetect": Filter(
        ("lavfi.blur",), ("block_height", "block_pct", "block_width", "high", "low", "planes", "radius")
    ),
    "blockdetect": Filter(("lavfi.block",), ("period_max", "period_min", "planes")),
    "signalstats": Filter(
        tuple(
            f"lavfi.signalstats.{key}"
            for key in (
                *(f"{what}{statistic}" for what in ("Y", "U", "V", "SAT") for statistic in _STATISTICS),
                *("HUEMED", "HUEAVG", "YDIF", "UDIF", "VDIF", "YBITDEPTH", "UBITDEPTH", "VBITDEPTH"),
                *("TOUT", "VREP", "BRNG"),
            )
        ),
        ("stat",),
    ),
}
"""The filters that a set may name; none changes the frames, as the option for it is refused."""
