"""Verbs about label files; see `vmafarm.cli.local`."""

from __future__ import annotations

from typing import Annotated

import typer

from vmafarm.cli.completion import preset_names
from vmafarm.cli.local import app
from vmafarm.cli.options import Json
from vmafarm.common.say import say, to_json


@app.command()
def presets(
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", autocompletion=preset_names, help="Show all of this preset, with its source."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the known corpora, for corpus.preset: title, range of the scores, label file. See docs/corpora.md.

    Example: vmafarm presets konvid-1k
    """
    from vmafarm.labels.presets import find_preset, list_presets
    from vmafarm.labels.presets_text import as_document, lines, tell

    found = list_presets() if preset is None else (find_preset(preset),)
    if as_json:
        say(to_json(as_document(found)))
    else:
        say(*(lines(found) if preset is None else tell(found[0])))
