"""Sets of features as data: one TOML file each in ``sets``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from typing import Any


@dataclass(frozen=True)
class FrameSizes:
    """Frame sizes that an extractor accepts.

    Attributes
    ----------
    shorter_side, longer_side
        Minimum of the shorter and of the longer side, in pixels.
    both_sides
        Maximum sum of width and height, in pixels; ``None``: no limit.
    aspect, slack
        The longer side has at most ``aspect`` times the pixels of the shorter one plus ``slack``; ``None``:
        no limit.
    even_height
        The height must be even.
    """

    shorter_side: int = 0
    longer_side: int = 0
    both_sides: int | None = None
    aspect: int | None = None
    slack: int = 0
    even_height: bool = False

    def accepts(self, width: int, height: int) -> bool:
        """Whether frames of this size, in pixels, are accepted."""
        shorter, longer = sorted((width, height))
        return (
            shorter >= self.shorter_side
            and longer >= self.longer_side
            and (self.both_sides is None or width + height <= self.both_sides)
            and not self.stretched(width, height)
            and not (self.even_height and height % 2)
        )

    def stretched(self, width: int, height: int) -> bool:
        """Whether the longer side is too long for the shorter one."""
        shorter, longer = sorted((width, height))
        return self.aspect is not None and longer > self.aspect * shorter + self.slack


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A feature extractor of libvmaf.

    Attributes
    ----------
    name
        libvmaf's ``--feature`` name.
    frame_sizes
        For frames of other sizes it is left out, and its features are NaN.
    """

    name: str
    frame_sizes: FrameSizes = FrameSizes()


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One score per frame.

    Attributes
    ----------
    name
        Name in the table.
    extractor
        The extractor that produces it; ``None`` for the model's own score.
    keys
        Possible keys in libvmaf's JSON log; the first one found counts.
    what
        Meaning in one phrase.
    unit
        ``""`` for a pure number.
    lowest, highest
        Bounds of a valid value, inclusive; ``None``: unbounded on that side.
    on_identity
        Its value on an identity pair, in words.
    informative
        Whether it differs between clips on identity pairs by more than rounding, so that a model can learn
        from it.
    identity
        Value on an identity pair by bit depth (8, 10); ``None``: it must be measured.
    source
        Where the identity value comes from.
    gpu_tolerance
        By how much a frame's value on a GPU may differ from the CPU's, by bit depth (8, 10).
    gpu_source
        Where that tolerance comes from.
    """

    name: str
    extractor: str | None = None
    keys: tuple[str, ...]
    what: str
    unit: str = ""
    lowest: float | None = None
    highest: float | None = None
    on_identity: str = "measured"
    informative: bool = False
    identity: dict[int, float] | None = None
    source: str = ""
    gpu_tolerance: dict[int, float]
    gpu_source: str


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """What is measured of each clip.

    Attributes
    ----------
    name
        Of its file.
    title
        For people.
    version
        Goes up when columns or values change.
    model
        The model whose score is a feature.
    extractors
        Those that are run, in the order of the command line.
    features
        In the order of the table.
    """

    name: str
    title: str
    version: int
    model: str
    extractors: tuple[Extractor, ...]
    features: tuple[Feature, ...]


@cache
def built_in(name: str) -> FeatureSet:
    """Return the set of this name; raises FileNotFoundError if there is none."""
    text = (package_files("vmafarm.schema") / "sets" / f"{name}.toml").read_text("utf-8")
    document = tomllib.loads(text)
    defaults = document.pop("defaults")
    return FeatureSet(
        name=name,
        extractors=tuple(map(_extractor, document.pop("extractors"))),
        features=tuple(_feature(defaults | one) for one in document.pop("features")),
        **document,
    )


def _extractor(table: Mapping[str, Any]) -> Extractor:
    return Extractor(**{**table, "frame_sizes": FrameSizes(**table.get("frame_sizes", {}))})


def _feature(table: Mapping[str, Any]) -> Feature:
    by_depth = {
        name: {int(bits): value for bits, value in table[name].items()}  # keys of TOML are text
        for name in ("identity", "gpu_tolerance")
        if name in table
    }
    return Feature(**{**table, **by_depth, "keys": tuple(table["keys"])})
