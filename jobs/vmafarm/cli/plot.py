"""The verb plot; see `vmafarm.cli.local`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmafarm.cli.local import app
from vmafarm.cli.options import configured
from vmafarm.common.say import say, say_aside

if TYPE_CHECKING:
    from vmafarm.config.sections import Config


@app.command()
@configured("name", wanted="")
def plot(
    config: Config,
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="Name of the clip, as in the table.")],
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME", help="Features to draw; default: those that vary within the clip."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE",
            help="Picture to write, .svg or .png; default: an SVG here, named after the clip.",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table", metavar="FILE", help="A frames table that lies alone (.frames.parquet), not a run's."
        ),
    ] = None,
) -> None:  # fmt: skip
    """Draw the features of one clip over its frames; the run must keep them (--frames).

    Example: vmafarm plot clip.mp4 --features motion,vmaf -o clip.png
    """
    from vmafarm.common.layout import wrapped, written
    from vmafarm.common.text import counted
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.corpus.named_run import with_planned
    from vmafarm.report.clip_frames import plot_clip

    if table is None:
        config = with_frozen(with_planned(config, say_aside))
    found = plot_clip(config, clip, features, output, table)
    if found.left_out:
        names = ", ".join(found.left_out)
        for line in wrapped(f"they do not vary in this clip (--features draws them): {names}", "left out: "):
            say_aside(line)
    drawn = counted(len(found.features), "feature")
    say(*written(found.path, drawn, counted(found.frames, "frame")))
