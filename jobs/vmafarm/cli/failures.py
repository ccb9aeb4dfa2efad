"""The verb failures; see `vmafarm.cli.local`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmafarm.cli.completion import failure_classes
from vmafarm.cli.local import app
from vmafarm.cli.options import Json, configured
from vmafarm.common.say import say, to_json

if TYPE_CHECKING:
    from vmafarm.config.sections import Config


@app.command()
@configured("name")
def failures(
    config: Config,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME",
            autocompletion=failure_classes,
            help="Only failures of this class, such as timeout. Repeatable.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the clips that were tried and have no row: why, how often, and whether they are tried again.

    Example: vmafarm failures --run k150k --class timeout
    """
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.report.failed_clips import read_failed_clips

    found = read_failed_clips(with_frozen(config), classes or ())
    say(*([to_json(found.as_dict())] if as_json else found.lines()))
