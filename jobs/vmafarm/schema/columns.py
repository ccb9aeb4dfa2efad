"""The 48 columns: meaning, unit, bounds and value on an identity pair."""

from __future__ import annotations

from dataclasses import dataclass

from vmafarm.schema.features import (
    ACCEPTED_SIZES,
    ALL_NAN,
    ARROW_SCHEMA,
    FEATURES,
    INFORMATIVE,
    KNOWN,
    SIZES_SOURCES,
)


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
        ``mean``, ``std`` or ``""``.
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


@dataclass(frozen=True)
class _Kind:
    what: str
    unit: str
    lowest: float | None
    highest: float | None
    identity: str


def _similarity(what: str) -> _Kind:
    return _Kind(what, "", 0.0, 1.0, "1 within 2e-5, measured")


def nan_by_size(extractor: str) -> str:
    """Frame sizes for which an extractor's columns are NaN, in words; see `ACCEPTED_SIZES`."""
    sizes = ACCEPTED_SIZES[extractor]
    where = []
    if sizes.shorter_side:
        where.append(f"below {sizes.shorter_side} pixels on the shorter side")
    if sizes.longer_side:
        where.append(f"below {sizes.longer_side} pixels on the longer side")
    if sizes.both_sides is not None:
        where.append(f"where width + height is above {sizes.both_sides:,}")
    if sizes.aspect is not None:
        where.append(f"where the longer side is above {sizes.aspect} x the shorter one + {sizes.slack}")
    if sizes.even_height:
        where.append("where the height is odd")
    return "NaN " + ", or ".join(where)


_KEYS = {
    "clip_name": _Kind("path of the clip below the clips folder", "", None, None, ""),
    "mos": _Kind("mean opinion score, from the scores file", "of the scores file", None, None, ""),
    "width": _Kind("width of the decoded frames, after rotation", "pixels", 18, None, ""),
    "height": _Kind("height of the decoded frames, after rotation", "pixels", 18, None, ""),
}

# Bounds: ADM, VIF and SSIM are ratios of information or similarities; motion is a mean absolute difference
# of luma at 8 bit; PSNR is capped by libvmaf (features.py); 24 is the highest CAMBI that its authors report
# (libvmaf, cambi documentation); the model's score is clipped to 0..100 (model vmaf_v0.6.1).
_KINDS = {
    "adm2": _similarity("detail loss, all scales"),
    **{f"adm_scale{i}": _similarity(f"detail loss at scale {i}") for i in range(4)},
    **{f"vif_scale{i}": _similarity(f"visual information fidelity at scale {i}") for i in range(4)},
    "motion": _Kind("change of the blurred luma from the previous frame", "luma levels", 0, 255, "measured"),
    "motion2": _Kind("smaller motion of a frame and the next", "luma levels", 0, 255, "measured"),
    "motion3": _Kind("motion2 with the corrections of libvmaf 3", "luma levels", 0, 255, "measured"),
    **{
        f"psnr_{plane}": _Kind(
            f"PSNR of the plane {plane.capitalize()}",
            "dB",
            0,
            72,
            "60 at 8 bit, 72 at 10 bit",
        )
        for plane in ("y", "cb", "cr")
    },
    "float_ssim": _Kind("structural similarity", "", -1, 1, "1"),
    "float_ms_ssim": _Kind(
        "multi-scale structural similarity", "", -1, 1, f"1; {nan_by_size('float_ms_ssim')}"
    ),
    "cambi": _Kind("banding; 0: none", "", 0, 24, f"measured; {nan_by_size('cambi')}"),
    "ciede2000": _Kind(
        "CIEDE2000 colour difference, in logarithms",
        "dB",
        None,
        None,
        "NaN: it is infinite",
    ),
    "psnr_hvs": _Kind("PSNR weighted by contrast sensitivity", "dB", None, None, "NaN: it is infinite"),
    "ssimulacra2": _Kind("SSIMULACRA 2", "", None, 100, "100"),
    "vmaf": _Kind("score of the model vmaf_v0.6.1", "", 0, 100, "97.43 to 100, measured"),
}


def _aggregated(feature: str) -> list[Column]:
    kind = _KINDS[feature]
    # Popoviciu: the variance of values in [a, b] is at most (b - a)^2 / 4.
    bounded = kind.lowest is not None and kind.highest is not None
    spread = (kind.highest - kind.lowest) / 2 if bounded else None  # type: ignore[operator]
    measured, informative = feature not in KNOWN, feature in INFORMATIVE
    constant = "NaN: the mean is" if feature in ALL_NAN else "0"
    nan = kind.identity.partition("; ")[2]
    identity = ("measured" if measured else constant) + (f"; {nan}" if nan else "")
    return [
        Column(f"{feature}_mean", f"{kind.what}: mean over the finite frames", kind.unit,
               kind.lowest, kind.highest, feature, "mean", kind.identity, informative),
        Column(f"{feature}_std", f"{kind.what}: population standard deviation (ddof = 0)", kind.unit,
               0.0, spread, feature, "std", identity, informative),
    ]  # fmt: skip


TABLE = (
    *(
        Column(name, kind.what, kind.unit, kind.lowest, kind.highest, None, "", "", False)
        for name, kind in _KEYS.items()
    ),
    *(column for feature in FEATURES for column in _aggregated(feature.name)),
)
"""The columns, in the order of `vmafarm.schema.features.COLUMNS`."""

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
