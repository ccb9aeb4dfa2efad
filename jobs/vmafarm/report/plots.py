"""SVG figures that take their colours from the page, so that they suit light and dark mode."""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
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
    with mpl.rc_context():
        mpl.rcdefaults()  # ignore the user's settings
        mpl.rcParams.update(_STYLE)
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


def histograms(bins: list[dict[str, Any]]) -> list[tuple[str, Markup]]:
    """Draw one histogram per column from rows of sql/report/bins.sql; the score comes first."""
    grouped = {name: list(rows) for name, rows in groupby(bins, key=lambda row: row["name"])}
    return [
        (name, _histogram(name, grouped[name])) for name in sorted(grouped, key=lambda n: (n != "mos", n))
    ]


def _histogram(name: str, rows: list[dict[str, Any]]) -> Markup:
    lowest, highest = rows[0]["lowest"], rows[0]["highest"]
    width = (highest - lowest) / 40 or 1 / 40
    total = sum(row["clips"] for row in rows)

    def paint(axes: Axes) -> None:
        axes.bar(
            [lowest + row["bin"] * width for row in rows], [row["clips"] for row in rows],
            width=width, align="edge", color=_BAR,
        )  # fmt: skip
        axes.set_ylabel("clips")
        if lowest == highest:  # one bar would fill the plot, as if the values were spread over it
            axes.set_xlim(lowest - 0.5, lowest + 0.5)
        axes.locator_params(axis="x", nbins=5)
        if _longest_tick(axes.xaxis) > 6:  # long labels, as of features close to 1: five would overlap
            axes.locator_params(axis="x", nbins=2)
        axes.locator_params(axis="y", nbins=4, integer=True)

    label = f"Histogram of {name}: {total:,} clips from {lowest:.6g} to {highest:.6g}"
    return draw(f"bins-{name}", label, (3.4, 2.0), paint)


def correlation(rows: list[dict[str, Any]]) -> Markup | None:
    """Draw Spearman's correlation with the score, one bar per feature; None if there is none."""
    known = [row for row in rows if row["spearman"] is not None and row["spearman"] == row["spearman"]]
    if not known:
        return None
    known = sorted(known, key=lambda row: row["spearman"])

    def paint(axes: Axes) -> None:
        values = [row["spearman"] for row in known]
        bars = axes.barh([row["name"].removesuffix("_mean") for row in known], values, color=_BAR, height=0.7)
        axes.bar_label(bars, [f"{value:+.2f}" for value in values], padding=3)
        axes.axvline(0, color=_FAINT, linewidth=1)
        axes.set_xlim(min(-0.2, 1.4 * min(values)), max(0.2, 1.4 * max(values)))
        axes.set_xlabel("Spearman's correlation with mos")

    return draw(
        "correlation", "Spearman's correlation of each informative feature with mos", (6.4, 4.2), paint
    )


def throughput(rows: list[dict[str, Any]]) -> Markup | None:
    """Draw clips per second over the time of the run; None if nothing was scored."""
    if not rows:
        return None
    seconds = rows[0]["seconds"]
    counts = dict.fromkeys(range(60), 0) | {row["part"]: row["clips"] for row in rows}

    def paint(axes: Axes) -> None:
        rates = [counts[part] / (seconds / 60) for part in range(60)]
        axes.stairs(rates, [part * seconds / 60 / 3600 for part in range(61)], color=_BAR, linewidth=1.5)
        axes.set_xlabel("hours since the first clip was done")
        axes.set_ylabel("clips per second")
        axes.set_ylim(bottom=0)

    label = f"Clips per second over the {format_seconds(seconds)} of the run"
    return draw("throughput", label, (6.4, 2.6), paint)
