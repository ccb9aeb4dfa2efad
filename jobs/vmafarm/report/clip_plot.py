"""Draws the features of one clip over its frames: one panel for each, above one axis of time."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import show
from vmafarm.common.text import counted, format_seconds
from vmafarm.report.plots import UNITS, styled
from vmafarm.report.spread import STILL
from vmafarm.schema.feature_set import Feature

# After the report's plots, which give matplotlib its folder.
from matplotlib.axes import Axes  # isort: skip
from matplotlib.backends.backend_agg import FigureCanvasAgg  # isort: skip
from matplotlib.figure import Figure  # isort: skip

_GROUND, _INK, _QUIET = "#ffffff", "#1c1f23", "#57606a"
_LINE, _PALE, _MEAN, _GAP = "#1f5fa8", "#a9c4e4", "#b3400f", "#e7e9ec"
"""On a ground of its own the figure is the same in print, on a bright page and on a dark one. The line and
the mean differ in dashes too, so that they are told apart without colours."""

WIDTH, _PANEL, _FEW_PANEL, _HEADING = 8.0, 0.75, 1.3, 0.34
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.85, 0.2, 0.62, 0.55
"""Inches."""
_FEW = 4
"""Up to so many panels are higher."""
_MANY, _POINTS = 3_000, 600
"""More frames than this are more than the figure has points: they are drawn pale below a line of means."""
_DOTS_PER_INCH = 150
_LONGEST = 96
"""Characters of a clip's name that fit in the heading."""
_BESIDE = 84
"""Characters of a name and its meaning beside the mean; of a longer meaning only the first part is shown."""


@dataclass(frozen=True)
class Curve:
    """One feature of a clip.

    Attributes
    ----------
    feature
        What it is.
    values
        By frame, float64 of shape (frames,); NaN: no value.
    """

    feature: Feature
    values: NDArray[np.float64]

    @property
    def finite(self) -> NDArray[np.float64]:
        """The values that it has."""
        return self.values[np.isfinite(self.values)]

    @property
    def varies(self) -> bool:
        """Whether it changes within the clip by more than rounding; see `vmafarm.report.spread.STILL`."""
        return bool(self.finite.size and np.ptp(self.finite) > _least_span(self.feature))

    def in_words(self) -> str:
        """Its mean and spread, and how many frames have no value."""
        found, frames = self.finite, len(self.values)
        if not found.size:
            return "no frame has a value"
        lacking = f"; {frames - found.size:,} of {frames:,} frames without a value"
        return f"mean {found.mean():.5g}, std {found.std():.3g}{lacking if found.size < frames else ''}"


def _least_span(feature: Feature) -> float:
    if feature.lowest is None or feature.highest is None:
        return 0.0
    return STILL * (feature.highest - feature.lowest)


def draw_clip(clip: str, curves: Sequence[Curve], fps: float | None, kind: str) -> bytes:
    """Draw one figure; the same values give the same bytes.

    Parameters
    ----------
    clip
        Its name.
    curves
        The features, one panel each; all have the same number of frames, at least one.
    fps
        Frames per second; None: not known, so that the axis numbers frames.
    kind
        ``svg`` or ``png``.
    """
    panel = _FEW_PANEL if len(curves) <= _FEW else _PANEL
    height = _TOP + len(curves) * (panel + _HEADING) + _BOTTOM
    frames = len(curves[0].values)
    with styled(
        figure_facecolor=_GROUND, text_color=_INK, axes_labelcolor=_INK, axes_edgecolor=_QUIET,
        xtick_color=_QUIET, ytick_color=_QUIET, xtick_labelcolor=_INK, ytick_labelcolor=_INK, font_size=9,
        axes_titlesize=9, path_simplify=True,
    ):  # fmt: skip
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasAgg(figure)
        left, top = _LEFT / WIDTH, 1 - 0.16 / height
        name = _shortened(show(clip))
        # A name is no formula, whatever dollar signs it has.
        figure.text(left, top, name, size=12, weight="bold", va="top", parse_math=False)
        figure.text(
            left,
            top - 0.25 / height,
            _facts(curves, frames, fps),
            color=_QUIET,
            size=8,
            va="top",
            parse_math=False,
        )
        first = None
        for at, curve in enumerate(curves):
            bottom = height - _TOP - (at + 1) * (panel + _HEADING)
            place = (left, bottom / height, 1 - (_LEFT + _RIGHT) / WIDTH, panel / height)
            axes = figure.add_axes(place, sharex=first)
            first = first or axes
            _draw_panel(axes, curve, fps, is_last=at == len(curves) - 1, is_high=panel == _FEW_PANEL)
        sink = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the font lacks a letter of a name
            if kind == "png":
                figure.savefig(sink, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
            else:
                said = dict.fromkeys(("Date", "Creator", "Format", "Type"))
                figure.savefig(sink, format="svg", metadata={**said, "Title": f"Features of {name} by frame"})
    return sink.getvalue()


def _draw_panel(axes: Axes, curve: Curve, fps: float | None, *, is_last: bool, is_high: bool) -> None:
    feature, values = curve.feature, curve.values
    step, unit = _step(len(values), fps)
    times = np.arange(len(values)) * step
    for start, end in _gaps(values):
        axes.axvspan((start - 0.5) * step, (end - 0.5) * step, color=_GAP, linewidth=0)
    is_long = len(values) > _MANY
    axes.plot(times, values, color=_PALE if is_long else _LINE, linewidth=0.6 if is_long else 1)
    if is_long:
        size = _per_point(len(values))
        axes.plot(times[size // 2 :: size], _means(values, size), color=_LINE, linewidth=1)
    if (alone := _alone(values)).any():  # a line has two ends
        axes.plot(times[alone], values[alone], ".", color=_LINE, markersize=3)
    found = curve.finite
    if found.size:
        axes.axhline(float(found.mean()), color=_MEAN, linewidth=1, dashes=(4, 3))
        _set_height(axes, float(found.min()), float(found.max()), _least_span(feature))
    else:
        axes.set_yticks([])
    axes.grid(axis="x", color=_GAP, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(-0.5 * step, (len(values) - 0.5) * step)
    axes.locator_params(axis="y", nbins=4 if is_high else 3)
    axes.set_ylabel(feature.unit, size=8)
    axes.yaxis.set_label_coords(-0.08, 0.5)
    axes.tick_params(labelsize=8, labelbottom=is_last)
    heading: dict[str, Any] = {"transform": axes.transAxes, "va": "bottom", "parse_math": False}
    name = axes.text(0, 1.06, feature.name, weight="bold", **heading)
    room = _BESIDE - len(feature.name)
    what = feature.what if len(feature.what) <= room else feature.what.partition(";")[0]
    axes.annotate(
        textwrap.shorten(what, room, placeholder=" ..."), (1, 0), (7, 0), xycoords=name,
        textcoords="offset points", color=_QUIET, size=8, va="bottom", parse_math=False,
    )  # fmt: skip
    axes.text(1, 1.06, curve.in_words(), ha="right", size=8, **heading)
    if is_last:
        axes.set_xlabel(unit)


def _step(frames: int, fps: float | None) -> tuple[float, str]:
    """Length of a frame on the axis, and the axis in words."""
    if not fps:
        return 1.0, "frame, from 0"
    unit, name = next((unit, name) for least, unit, name in UNITS if frames / fps >= least)
    return 1 / fps / unit, f"time in {name}"


def _per_point(frames: int) -> int:
    """Frames that one point of the line of means stands for."""
    return math.ceil(frames / _POINTS)


def _means(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Means of the values of so many frames each, as many as have their middle among the frames."""
    points = np.full(-(-len(values) // size) * size, np.nan)
    points[: len(values)] = values
    there = np.isfinite(points).reshape(-1, size)
    sums = np.where(there, points.reshape(-1, size), 0).sum(axis=1)
    counts = there.sum(axis=1)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return means[: len(range(size // 2, len(values), size))]


def _set_height(axes: Axes, lowest: float, highest: float, least: float) -> None:
    """Leave room above and below, and magnify no rounding."""
    span = max(highest - lowest, least) or max(abs(lowest) * 0.1, 1e-3)
    middle = (lowest + highest) / 2
    axes.set_ylim(middle - 0.56 * span, middle + 0.56 * span)


def _gaps(values: NDArray[np.float64]) -> list[tuple[int, int]]:
    """First frame of each gap without values, and the first one after it."""
    edges = np.flatnonzero(np.diff(np.isfinite(values).astype(np.int8), prepend=1, append=1))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _alone(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Frames with a value between two without."""
    there: NDArray[np.bool_] = np.pad(np.isfinite(values), 1)
    return there[1:-1] & ~there[:-2] & ~there[2:]


def _facts(curves: Sequence[Curve], frames: int, fps: float | None) -> str:
    facts = [counted(frames, "frame")]
    if fps:
        facts.append(f"{format_seconds(frames / fps)} at {fps:.5g} frames per second")
    if frames > _MANY:
        facts.append(f"dark: mean of {_per_point(frames):,} frames")
    facts.append("dashed: mean of all" if frames > _MANY else "dashed: mean")
    if any(len(curve.finite) < frames for curve in curves):
        facts.append("grey: no value")
    return "; ".join(facts)


def _shortened(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    half = math.floor(_LONGEST / 2)
    return f"{name[: half - 3]} ... {name[-half + 2 :]}"
