"""The geometry of raw clips (.yuv), which have no header: from their names, or columns of the label file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

SIDES = (16, 16_384)
"""Least and largest width and height of a raw clip."""
RATES = (1, 1_000)
"""Least and largest frame rate."""
FORM = "{w}x{h}_{fps}fps_{bits}bit"
"""An example of ``corpus.geometry``."""


@dataclass(frozen=True)
class Geometry:
    """Frames of a raw clip: planar Y'CbCr, 10 bit as two bytes a sample, the lower one first.

    Attributes
    ----------
    width, height
        Luma size in pixels.
    fps
        Frames per second; None: unknown. No value depends on it.
    bits
        8 or 10.
    chroma
        ``420``, ``422`` or ``444``.
    """

    width: int
    height: int
    fps: Fraction | None = None
    bits: int = 8
    chroma: str = "420"

    @property
    def pixel_format(self) -> str:
        """Its name in ffmpeg."""
        return f"yuv{self.chroma}p" + ("10le" if self.bits == 10 else "")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame; planes of chroma are rounded up, as in ffmpeg."""
        across = self.width if self.chroma == "444" else (self.width + 1) // 2
        down = (self.height + 1) // 2 if self.chroma == "420" else self.height
        return (self.width * self.height + 2 * across * down) * (2 if self.bits == 10 else 1)

    @property
    def words(self) -> str:
        """What `read_rule` reads as this geometry; the rate is rounded to a millionth."""
        rate = "" if self.fps is None else f" {f'{float(self.fps):.6f}'.rstrip('0').rstrip('.')}fps"
        return f"{self.width}x{self.height}{rate} {self.bits}bit {self.chroma}"

    def __str__(self) -> str:
        rate = "" if self.fps is None else f", {float(self.fps):g} fps"
        return f"{self.width}x{self.height}, {self.bits} bit, 4:{self.chroma[1]}:{self.chroma[2]}{rate}"


_FIELDS = {
    "w": r"(?P<w>[0-9]{1,6})",
    "h": r"(?P<h>[0-9]{1,6})",
    "fps": r"(?P<fps>[0-9]{1,4}(?:\.[0-9]{1,6})?)",
    "bits": r"(?P<bits>[0-9]{1,2})",
    "chroma": r"(?P<chroma>[0-9]{3})",
}
_FIELD = re.compile(r"\{([^{}]*)\}")
_CONSTANTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<w>[0-9]{1,6})x(?P<h>[0-9]{1,6})",
        r"(?P<fps>[0-9]{1,4}(?:\.[0-9]{1,6})?)fps",
        r"(?P<bits>[0-9]{1,2})bit",
        r"(?:yuv)?(?P<chroma>[0-9]{3})p?",
        r"yuv(?P<chroma>[0-9]{3})p(?P<bits>10)le",
    )
)


@dataclass(frozen=True)
class GeometryRule:
    """``corpus.geometry`` as it is understood; see `read_rule`.

    Attributes
    ----------
    patterns
        Each is searched for in the last part of a clip's name.
    constants
        What is the same for all raw clips, by field.
    """

    patterns: tuple[re.Pattern[str], ...]
    constants: Mapping[str, str]

    def of(self, name: str) -> Geometry:
        """Geometry of the raw clip of this name.

        Raises
        ------
        ValueError
            The name does not fit, fits in more than one way, or says what no clip has; in words that follow
            the name.
        """
        values = dict(self.constants)
        base = name.rpartition("/")[2]
        for pattern in self.patterns:
            found = {tuple(sorted(one.groupdict().items())) for one in pattern.finditer(base)}
            if not found:
                raise ValueError("does not fit")
            if len(found) > 1:
                raise ValueError("fits in more than one way")
            values |= dict(found.pop())
        return _geometry(values)


@lru_cache(maxsize=1024)
def read_rule(text: str) -> GeometryRule:
    """Understand ``corpus.geometry``.

    Parameters
    ----------
    text
        Words with white space between them. A word with fields, such as ``{w}x{h}_{fps}fps``, is a pattern
        that is found anywhere in the base name of a clip; one without, such as ``1280x720``, ``30fps``,
        ``10bit`` or ``422``, is the same for all clips. Fields: w, h, fps, bits (8 or 10), chroma (420, 422
        or 444). w and h must be among them; bits is 8 and chroma 420 where they are not given.

    Raises
    ------
    ValueError
        It is not of this form; in words that follow the text.
    """
    patterns: list[re.Pattern[str]] = []
    constants: dict[str, str] = {}
    seen: set[str] = set()
    for word in text.split():
        fields = _FIELD.findall(word)
        is_pattern = bool(fields) or "{" in word or "}" in word
        if not is_pattern:
            found = next(filter(None, (one.fullmatch(word) for one in _CONSTANTS)), None)
            if found is None:
                raise ValueError(f"{word} is neither a pattern nor one of 1280x720, 30fps, 10bit, 420")
            fields = list(found.groupdict())
            constants |= found.groupdict()
        if twice := seen.intersection(fields) or {one for one in fields if fields.count(one) > 1}:
            raise ValueError(f"{min(twice)} is given twice")
        seen.update(fields)
        if is_pattern:
            patterns.append(_pattern(word))
    if lacking := {"w", "h"} - seen:
        raise ValueError(f"{' and '.join(sorted(lacking, reverse=True))} not given")
    _geometry({"w": "16", "h": "16"} | constants)  # a constant that no clip can have is found at once
    return GeometryRule(tuple(patterns), constants)


def _pattern(word: str) -> re.Pattern[str]:
    parts = _FIELD.split(word)
    text = ""
    for at, part in enumerate(parts):
        if at % 2 and part not in _FIELDS:
            raise ValueError(
                f"the field {{{part}}} is not one of {', '.join(f'{{{one}}}' for one in _FIELDS)}"
            )
        if at % 2 == 0 and ("{" in part or "}" in part):
            raise ValueError(f"{word}: a brace that is not part of a field")
        text += _FIELDS[part] if at % 2 else re.escape(part)
    # A number at an end of the pattern is a whole one in the name.
    return re.compile(("" if parts[0] else r"(?<![0-9])") + text + ("" if parts[-1] else r"(?![0-9])"))


def check_geometry(text: str) -> None:
    """Raise ValueError, as `read_rule`, if a value of ``corpus.geometry`` is not empty and not understood."""
    if text:
        read_rule(text)


def _geometry(values: Mapping[str, str | None]) -> Geometry:
    """The geometry of these texts, each within its bounds."""
    sides = []
    for field, what in (("w", "width"), ("h", "height")):
        number = int(values[field] or 0)
        if not SIDES[0] <= number <= SIDES[1]:
            raise ValueError(f"says {what} {number}, expected {SIDES[0]} to {SIDES[1]}")
        sides.append(number)
    fps = None
    if given := values.get("fps"):
        fps = Fraction(given)
        if not RATES[0] <= fps <= RATES[1]:
            raise ValueError(f"says {given} frames per second, expected {RATES[0]} to {RATES[1]}")
    bits, chroma = values.get("bits") or "8", values.get("chroma") or "420"
    if int(bits) not in (8, 10):
        raise ValueError(f"says {int(bits)} bits, expected 8 or 10")
    if chroma not in ("420", "422", "444"):
        raise ValueError(f"says chroma {chroma}, expected 420, 422 or 444")
    return Geometry(sides[0], sides[1], fps, int(bits), chroma)


def without_rate(words: str) -> str:
    """What of `Geometry.words` determines values."""
    return " ".join(word for word in words.split() if not word.endswith("fps"))


_COLUMNS = {
    "w": ("width",),
    "h": ("height",),
    "fps": ("framerate", "fps", "frame_rate"),
    "bits": ("bitdepth", "bit_depth"),
    "format": ("pixfmt", "pix_fmt", "pixel_format"),
}
_WHOLE = re.compile(r"([0-9]{1,6})(?:\.0{1,6})?")
_RATE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,20}|/[1-9][0-9]{0,5})?")
_FORMAT = re.compile(r"yuvj?(420|422|444)p(?:(10)le)?")


def geometry_columns(header: Sequence[str]) -> dict[str, int]:
    """Find the columns of a label file that say the geometry of raw clips.

    Parameters
    ----------
    header
        Its columns. In any case of letters these are known: width, height, framerate (or fps, frame_rate),
        bitdepth (or bit_depth) and pixfmt (or pix_fmt, pixel_format). The first of a name is taken.

    Returns
    -------
    dict
        Field to position: ``w``, ``h``, and ``fps``, ``bits`` and ``format`` where they are there. Empty
        without both width and height.
    """
    known = [title.strip().lower() for title in header]
    found = {
        field: known.index(name)
        for field, names in _COLUMNS.items()
        for name in reversed(names)
        if name in known
    }
    return found if {"w", "h"} <= found.keys() else {}


def geometry_of_cells(cells: Mapping[str, str]) -> Geometry:
    """Geometry of a raw clip from its row of a label file.

    Parameters
    ----------
    cells
        Field, as in `geometry_columns`, to its cell, which may be empty but for width and height. ``format``
        has ffmpeg's names, such as ``yuv420p10le``.

    Raises
    ------
    ValueError
        A cell is empty or not a number, or says what no raw clip has; in words that follow the name.
    """
    texts = {field: cells.get(field, "").strip() for field in _COLUMNS}
    values: dict[str, str] = {}
    for field in ("w", "h", "bits"):
        if found := _WHOLE.fullmatch(texts[field]):
            values[field] = found[1]
        elif texts[field] or field != "bits":
            raise ValueError(f"has {texts[field]!r} for {_COLUMNS[field][0]}, expected a whole number")
    if text := texts["fps"]:
        if not _RATE.fullmatch(text):
            raise ValueError(f"has {text!r} for {_COLUMNS['fps'][0]}, expected a number")
        values["fps"] = text
    if text := texts["format"]:
        if not (found := _FORMAT.fullmatch(text.lower())):
            raise ValueError(f"has {text!r} for pixfmt, expected for example yuv420p or yuv420p10le")
        depth = found[2] or "8"
        if values.setdefault("bits", depth) != depth:
            raise ValueError(f"has {values['bits']} bits and {text}, which disagree")
        values["chroma"] = found[1]
    return _geometry(values)
