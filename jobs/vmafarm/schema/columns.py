"""The columns of a table: meaning, unit, bounds and value on an identity pair."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from vmafarm.schema.extractors import ACCEPTED_SIZES, SIZES_SOURCES, nan_by_size
from vmafarm.schema.feature_set import Feature, FeatureSet
from vmafarm.schema.features import ARROW_SCHEMA, FULL
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
        *(column for feature in features.features for column in _pooled(feature, features.pools)),
    )


def _pooled(feature: Feature, pools: Collection[str]) -> list[Column]:
    """The columns of a feature; `identity` says where the extractor refuses frames if it refuses some."""
    low, high, words = feature.lowest, feature.highest, feature.on_identity
    is_nan = feature.identity is not None and math.isnan(feature.identity[8])
    nan = f"; {nan_by_size(feature.extractor)}" if feature.extractor in ACCEPTED_SIZES and not is_nan else ""
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


def as_markdown() -> str:
    """The page docs/columns.md: all columns."""
    lines = [
        "# The columns",
        "",
        "Mean and standard deviation are taken over all frames; they are NaN where a feature is infinite on",
        "every frame, or its extractor refuses the frame size. Any other frame without a finite value is a",
        "failure of the scoring (`bad_frames`, docs/errors.md).",
        "",
        "`vmafarm qa` reports values outside the bounds. On an identity pair (the same frames as reference",
        "and distorted) some features have a known value: a model learns nothing from them, and the plan",
        "`identity` fills them in. ADM and VIF are measured, but are 1 within 2e-5 there, which is rounding.",
        f"The {sum(map(_is_informative, TABLE))} columns that differ between clips are informative.",
        "",
        "| column | type | what | unit | bounds | on an identity pair | informative |",
        "|---|---|---|---|---|---|---|",
    ]
    for column in TABLE:
        kind = str(ARROW_SCHEMA.field(column.name).type).replace("double", "float64")
        informative = "" if column.feature is None else "yes" if column.informative else "no"
        cells = (
            f"`{column.name}`", kind, column.what, column.unit, _bounds(column), column.identity, informative
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "How the frame sizes with NaN are known, by engine:", ""]
    lines += [f"- `{engine}`: {source}." for engine, source in SIZES_SOURCES.items()]
    return "\n".join(lines) + "\n"


def _is_informative(column: Column) -> bool:
    return column.informative


def _bounds(column: Column) -> str:
    if column.name == "mos":
        return "corpus.mos_min to corpus.mos_max"
    if column.highest is None:
        return "" if column.lowest is None else f"at least {column.lowest:g}"
    return (
        f"at most {column.highest:g}" if column.lowest is None else f"{column.lowest:g} to {column.highest:g}"
    )
