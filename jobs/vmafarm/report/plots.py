"""SVG figures that take their colours from the page, so that they suit light and dark mode."""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

from vmafarm.common.text import format_seconds
from vmafarm.process.scratch import scratch_folder

# On import, matplotlib uses a cache in the home folder, which may not exist and should not be changed.
_kept = ExitStack()
atexit.register(_kept.close)
_cache = _kept.enter_context(scratch_folder(""))
os.environ.setdefault("MPLCONFIGDIR", str(_cache))
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # hide warnings about the cache

with contextlib.chdir(_cache):  # it also reads settings from the working folder
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

# Unique placeholders, replaced by the colours of the page once the SVG is written.
_INK, _BAR, _FAINT = "#010203", "#040506", "#070809"
_COLOURS = {_INK: "currentColor", _BAR: "var(--bar)", _FAINT: "var(--line)"}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vmafarm",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
}


@contextmanager
def styled(**more: Any) -> Iterator[None]:
    """Draw in the style of the report, with `more` of matplotlib's settings, and none of the user's.

    Parameters
    ----------
    **more
        Their names, with _ for the first dot: ``text_color``.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE | {name.replace("_", ".", 1): value for name, value in more.items()})
        yield


def draw(slug: str, label: str, size: tuple[float, float], paint: Callable[[Axes], None]) -> Markup:
    """Draw one figure.

    Parameters
    ----------
    slug
        Prefix that makes the ids in this figure unique on the page.
    label
        Text alternative for screen readers.
    size
        Width and height in inches; the figure scales with the page.
    paint
        Draws on the axes.
    """
    with styled():
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        paint(axes)
        _make_room(axes, size)
        sink = io.StringIO()
        figure.savefig(
            sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    for colour, ours in _COLOURS.items():
        text = text.replace(colour, ours)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{slug}-', text)
    text = re.sub(r'(xlink:href="|url\()#', rf"\g<1>#{slug}-", text)
    text = re.sub(r"font: [0-9.]+px[^;\"]*", lambda found: found[0].split(" '")[0] + " inherit", text)
    head = f'<svg role="img" aria-label="{escape(label)}" '
    text = re.sub(r'<svg ([^>]*?)width="[^"]*"', rf"{head}\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", text, count=1)
    return Markup(text)  # noqa: S704 - from matplotlib, which escapes all text


def _make_room(axes: Axes, size: tuple[float, float]) -> None:
    """Set the margins from the number of characters in tick labels and axis labels.

    matplotlib's layout engines draw everything twice to measure it. That takes half of the time for a page,
    and measures a font that the page replaces by its own.
    """
    width, height = size
    line, digit = 0.2, 0.09  # inches, like all lengths here; for 10-point text
    left = digit * _longest_tick(axes.yaxis) + 0.15 + (line if axes.get_ylabel() else 0)
    right = digit * _longest_tick(axes.xaxis) / 2
    bottom = 0.3 + (line if axes.get_xlabel() else 0)
    axes.set_position(
        (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + 0.1) / height)
    )


def _longest_tick(axis: Axis) -> int:
    """Return the number of characters of the longest tick label of an axis."""
    return max(map(len, axis.get_major_formatter().format_ticks(list(axis.get_ticklocs()))), default=0)


BINS = 40
GRID = (48, 30)
_FINE = (160, 100)
_FEW = 2_000
"""Up to so many clips each is a dot of its own; more would be a cloud without a shape."""


def bins_for(clips: int) -> int:
    """Number of bins of a histogram: twice the cube root of the clips (Rice's rule), 5 to `BINS`."""
    return min(BINS, max(5, round(2 * math.cbrt(clips))))


def grid_for(clips: int) -> tuple[int, int]:
    """Cells of a scatter plot, across and up."""
    return _FINE if clips <= _FEW else GRID


def histograms(rows: list[dict[str, Any]], bins: int) -> dict[str, Markup]:
    """Draw one histogram per column from rows of sql/report/bins.sql."""
    return {
        name: _histogram(name, list(found), bins)
        for name, found in groupby(rows, key=lambda row: str(row["name"]))
    }


def _histogram(name: str, rows: list[dict[str, Any]], bins: int) -> Markup:
    lowest, highest = rows[0]["lowest"], rows[0]["highest"]
    width = (highest - lowest) / bins or 1 / bins
    total = sum(row["clips"] for row in rows)

    def paint(axes: Axes) -> None:
        axes.bar(
            [lowest + row["bin"] * width for row in rows], [row["clips"] for row in rows],
            width=width, align="edge", color=_BAR,
        )  # fmt: skip
        axes.set_ylabel("clips")
        if lowest == highest:  # one bar would fill the plot, as if the values were spread over it
            axes.set_xlim(lowest - 0.5, lowest + 0.5)
        _few_ticks(axes)
        axes.locator_params(axis="y", nbins=4, integer=True)

    label = f"Histogram of {name}: {total:,} clips from {lowest:.6g} to {highest:.6g}"
    return draw(f"bins-{name}", label, (3.4, 2.0), paint)


def scatters(rows: list[dict[str, Any]], clips: int) -> dict[str, Markup]:
    """Draw one scatter plot per column against the score, from rows of sql/report/scatter.sql."""
    return {
        name: _scatter(name, list(found), clips)
        for name, found in groupby(rows, key=lambda row: str(row["name"]))
    }


def _scatter(name: str, rows: list[dict[str, Any]], clips: int) -> Markup:
    most = max(row["clips"] for row in rows)
    red, green, blue = (int(_BAR[at : at + 2], 16) / 255 for at in (1, 3, 5))
    # Steps of opacity, by the logarithm, so that a few clips are seen beside thousands.
    opacities = [0.25 + 0.65 * math.log1p(row["clips"]) / math.log1p(most) for row in rows]

    def paint(axes: Axes) -> None:
        is_fine = clips <= _FEW
        axes.scatter(
            [row["value"] for row in rows], [row["mos"] for row in rows], s=9 if is_fine else 15,
            marker="o" if is_fine else "s", linewidths=0,
            c=[(red, green, blue, round(one, 1)) for one in opacities],
        )  # fmt: skip
        axes.set_ylabel("mos")
        _few_ticks(axes)
        axes.locator_params(axis="y", nbins=4)

    return draw(f"scatter-{name}", f"{name} of each clip against its mos", (3.4, 2.3), paint)


def _few_ticks(axes: Axes) -> None:
    axes.locator_params(axis="x", nbins=5)
    if _longest_tick(axes.xaxis) > 6:  # five long labels would overlap
        axes.locator_params(axis="x", nbins=2)


UNITS = ((7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
"""From how many seconds on, seconds in one, and its name."""


def throughput(rows: list[dict[str, Any]]) -> Markup | None:
    """Draw clips per second over the time of the run; None if too little was scored to tell."""
    if not rows or sum(row["clips"] for row in rows) < _LEAST_CLIPS:
        return None
    seconds = rows[0]["seconds"]
    counts = dict.fromkeys(range(60), 0) | {row["part"]: row["clips"] for row in rows}
    unit, name = next((unit, name) for least, unit, name in UNITS if seconds >= least)

    def paint(axes: Axes) -> None:
        rates = [counts[part] / (seconds / 60) for part in range(60)]
        axes.stairs(rates, [part * seconds / 60 / unit for part in range(61)], color=_BAR, linewidth=1.5)
        axes.set_xlabel(f"{name} since the first clip was done")
        axes.set_ylabel("clips per second")
        axes.set_ylim(bottom=0)

    label = f"Clips per second over the {format_seconds(seconds)} of the run"
    return draw("throughput", label, (4.4, 2.4), paint)


_LEAST_CLIPS = 60
"""One for each part of the time that is shown."""
