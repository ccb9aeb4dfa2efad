"""What the user may choose when tables are combined, and how it is written on the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vmafarm.common.errors import UsageError, show
from vmafarm.common.utf8 import is_utf8

AGREE = (
    "schema_version",
    "features",
    "engine",
    "engine_version",
    "libvmaf_version",
    "decoder_version",
    "backend",
    "model",
    "decimals",
)
"""Keys of the metadata in which tables that are put under each other must agree. ``plan`` is none of them,
since both plans give the same values, nor ``manifest``, since the corpora differ."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Options:
    """What is chosen.

    Attributes
    ----------
    names
        A source, as it is named, to its label; else the name of its run, or of its file without suffix.
    allow_mixed
        Keys of `AGREE` in which the tables may differ.
    mos_scale
        Map the scores of each corpus to this range; None: leave them as they are.
    mos_ranges
        A label to the range of the scores of that corpus; else the range that is observed.
    columns
        Join tables of the same clips side by side.
    min_coverage
        With `columns`, the share of rows that must match on either side, 0..1.
    prefixes
        With `columns`, a label to what the names of its columns begin with.
    force
        Replace a file that was not written by this.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    allow_mixed: Sequence[str] = ()
    mos_scale: Range | None = None
    mos_ranges: Mapping[str, Range] = field(default_factory=dict)
    columns: bool = False
    min_coverage: float = 1.0
    prefixes: Mapping[str, str] = field(default_factory=dict)
    force: bool = False

    def __post_init__(self) -> None:
        for key in self.allow_mixed:
            if key not in AGREE:
                raise UsageError(f"--allow-mixed {show(key)}: no such key", f"choose of {', '.join(AGREE)}")
        for what, pair in (("--mos-scale", self.mos_scale), *self.mos_ranges.items()):
            if pair and not (math.isfinite(pair[0]) and math.isfinite(pair[1]) and pair[0] < pair[1]):
                raise UsageError(
                    f"{show(what)}: the range {pair[0]:g} to {pair[1]:g}", "give two numbers, the lower first"
                )
        if self.mos_ranges and self.mos_scale is None:
            raise UsageError("--mos-range without --mos-scale", "name the scale that scores are mapped to")
        if not 0 <= self.min_coverage <= 1:
            raise UsageError(f"--min-coverage {self.min_coverage:g}", "expected a share from 0 to 1")
        if self.columns:
            odd: dict[str, object] = {"--mos-scale": self.mos_scale, "--allow-mixed": self.allow_mixed}
        else:
            odd = {"--prefix": self.prefixes, "--min-coverage": self.min_coverage != 1}
        for option, given in odd.items():
            if given:
                how = "with" if self.columns else "without"
                raise UsageError(f"{option} {how} --columns", "it has no meaning there: leave it out")
        for label in self.names.values():
            require_label(label)
        for prefix in self.prefixes.values():
            if not is_utf8(prefix) or len(prefix) > 255:
                raise UsageError(f"--prefix {show(prefix)}", "expected up to 255 characters of UTF-8")


def require_label(label: str) -> None:
    """Refuse a label of a corpus that could not be told from a clip's name, or not be written."""
    if not label or "/" in label or not is_utf8(label) or len(label.encode()) > 255:
        raise UsageError(
            f"{show(label)!r} is no label of a corpus: expected up to 255 bytes of UTF-8 without a slash",
            "choose another one: --name TABLE=LABEL",
        )


def parse_pairs(option: str, given: Sequence[str], value: str) -> dict[str, str]:
    """Read values of a repeatable option, as ``NAME=value``; the last equals sign counts."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, what = text.rpartition("=")
        if not equals or not name or not what:
            raise UsageError(f"{option} {show(text)}", f"expected {option} NAME={value}")
        if name in found:
            raise UsageError(f"{option} {show(name)} is given twice", "give it once")
        found[name] = what
    return found


def parse_range(option: str, text: str) -> Range:
    """Read ``LOW,HIGH``."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"{option} {show(text)}", "expected two numbers: LOW,HIGH") from None
    return low, high
