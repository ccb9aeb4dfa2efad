"""The columns of a table: meaning, unit, bounds and value on an identity pair."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from vmafarm.schema.extractors import ACCEPTED_SIZES, nan_by_size
from vmafarm.schema.feature_set import Feature, FeatureSet
from vmafarm.schema.features import FULL
from vmafarm.schema.pools import POOLS


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes
    ----------
    name
        As in the table.
    what
        Meaning in one phrase.
    unit
        ``""`` for a pure number.
    lowest, highest
        Bounds of a valid value, inclusive; ``None``: unbounded on that side. Those of ``mos`` are in the
        configuration.
    feature
        The feature that it aggregates; ``None``: not a feature's column.
    statistic
        One of `vmafarm.schema.pools.POOLS`, or ``""``.
    identity
        Its value on an identity pair, in words; ``""`` if it is not a feature's column.
    informative
        Whether it differs between clips on identity pairs by more than rounding, so that a model can learn
        from it.
    """

    name: str
    what: str
    unit: str
    lowest: float | None
    highest: float | None
    feature: str | None
    statistic: str
    identity: str
    informative: bool


_KEYS = {
    "clip_name": ("path of the clip below the clips folder", "", None, None),
    "mos": ("mean opinion score, from the scores file", "of the scores file", None, None),
    "width": ("width of the decoded frames, after rotation", "pixels", 18, None),
    "height": ("height of the decoded frames, after rotation", "pixels", 18, None),
}


def table_of(features: FeatureSet) -> tuple[Column, ...]:
    """The columns of a set's table, in order."""
    return (
        *(Column(name, *words, None, "", "", False) for name, words in _KEYS.items()),
        *(
            column
            for feature in features.features
            for column in _pooled(feature, features.pools, features.producer_of(feature))
        ),
    )


def _pooled(feature: Feature, pools: Collection[str], producer: str) -> list[Column]:
    """The columns of a feature; `identity` says where its producer refuses frames if it refuses some."""
    low, high, words = feature.lowest, feature.highest, feature.on_identity
    is_nan = feature.identity is not None and math.isnan(feature.identity[8])
    nan = f"; {nan_by_size(producer)}" if producer in ACCEPTED_SIZES and not is_nan else ""
    # Popoviciu: the variance of values in [a, b] is at most (b - a)^2 / 4.
    spread = (high - low) / 2 if low is not None and high is not None else None
    constant = "NaN: the mean is" if is_nan else "0"
    still = ("measured" if feature.identity is None else constant) + nan
    return [
        Column(f"{feature.name}_{pool}", f"{feature.what}: {what}", feature.unit, lowest, highest,
               feature.name, pool, identity, feature.informative)
        for pool in pools
        for what, lowest, highest, identity in [
            (POOLS[pool], *((0.0, spread, still) if pool == "std" else (low, high, words + nan)))
        ]
    ]  # fmt: skip


TABLE = table_of(FULL)
"""The columns of the default set, in the order of `vmafarm.schema.features.COLUMNS`."""

BY_COLUMN = {column.name: column for column in TABLE}
