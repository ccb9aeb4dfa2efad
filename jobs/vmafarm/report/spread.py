"""Which features vary between the clips of a table, and in words what the others are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmafarm.schema.feature_set import Feature, FeatureSet
from vmafarm.schema.features import FULL

STILL = 1e-4
"""Share of a feature's range: one that varies less between all clips says nothing about them. ADM and VIF of
identity pairs differ from 1 by the rounding of fixed-point numbers, which plots would magnify."""


@dataclass(frozen=True)
class Spread:
    """The mean of one feature over the clips of a table.

    Attributes
    ----------
    known
        The feature.
    rows, nan
        Rows, and those of them with NaN.
    lowest, middle, highest
        Of the finite values, with their median; None: there is none.
    """

    known: Feature
    rows: int
    nan: int
    lowest: float | None
    middle: float | None
    highest: float | None

    @property
    def feature(self) -> str:
        """Its name."""
        return self.known.name

    @property
    def what(self) -> str:
        """Meaning of its values."""
        return self.known.what

    @property
    def unit(self) -> str:
        """Unit of its values."""
        return self.known.unit

    @property
    def column(self) -> str:
        """Name of its column."""
        return f"{self.feature}_mean"

    @property
    def varies(self) -> bool:
        """Whether it tells clips apart: it is measured, and varies by `STILL` of its range at least."""
        if self.known.identity is not None or self.lowest is None or self.highest is None:
            return False
        return self.highest - self.lowest >= STILL * _range(self.known)

    @property
    def is_odd(self) -> bool:
        """Whether that it says nothing is a surprise: one value or none where clips should differ."""
        if not self.rows or self.varies or _is_nan(self.known):
            return False
        return self.lowest is None or (self.rows > 1 and self.known.informative)

    def in_words(self) -> str:
        """What its value is, of a feature that does not vary."""
        if not self.rows:
            return "no rows"
        if self.lowest is None or self.middle is None or self.highest is None:
            return "NaN in all rows"
        some = f"; NaN in {self.nan:,} of {self.rows:,} rows" if self.nan else ""
        if self.lowest == self.highest:
            return f"{self.lowest + 0.0:.6g} in all rows{some}"  # + 0.0: no -0
        if self.known.identity is not None:
            return f"{self.lowest:.6g} to {self.highest:.6g}{some}"
        digits = max(0, -math.floor(math.log10(STILL * _range(self.known))))
        near = round(self.middle, digits)
        within = max(self.highest - near, near - self.lowest)
        return f"equal to {near:g} within {_short(within)}{some}"


def _short(value: float) -> str:
    """As ``1.3e-5``, rounded up in its second digit."""
    if not value:
        return "0"
    exponent = math.floor(math.log10(value))
    tenths = math.ceil(value / 10.0**exponent * 10 - 1e-9)
    return f"{tenths / 10:g}e{exponent}" if tenths < 100 else f"1e{exponent + 1}"


def _range(feature: Feature) -> float:
    if feature.lowest is None or feature.highest is None:
        return 0.0
    return feature.highest - feature.lowest


def _is_nan(feature: Feature) -> bool:
    return feature.identity is not None and all(map(math.isnan, feature.identity.values()))


def read_spread(row: Mapping[str, Any], features: FeatureSet = FULL) -> Spread:
    """The spread of one row of sql/report/spread.sql."""
    feature = features.by_name[row["name"].removesuffix("_mean")]
    numbers = (row[name] for name in ("rows", "nan", "lowest", "middle", "highest"))
    return Spread(feature, *numbers)
