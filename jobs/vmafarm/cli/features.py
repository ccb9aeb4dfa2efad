"""The verb features: the feature sets, and the columns of their tables."""

from __future__ import annotations

from typing import Annotated

import typer

from vmafarm.cli.completion import set_names
from vmafarm.cli.local import app
from vmafarm.cli.options import Json
from vmafarm.common.say import say, to_json


@app.command()
def features(
    given: Annotated[
        str | None,
        typer.Argument(
            metavar="SET|FILE", autocompletion=set_names,
            help="Print the columns of this set's table, in Markdown.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """List the feature sets, for engine.features; or the columns of one, or of a file. See docs/features.md.

    Example: vmafarm features informative
    """
    from vmafarm.config.feature_sets import built_in_names, read_feature_set
    from vmafarm.schema.columns_text import as_document, as_markdown, lines

    found = [read_feature_set(name) for name in ([given] if given else built_in_names())]
    if as_json:
        say(to_json(as_document(found)))
    else:
        say(*(as_markdown(found[0]).splitlines() if given else lines(found)))
