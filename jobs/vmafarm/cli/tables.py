"""Verbs that take tables; see `vmafarm.cli.local`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmafarm.cli.local import app
from vmafarm.cli.options import Json, configured
from vmafarm.common.say import say, to_json

if TYPE_CHECKING:
    from vmafarm.config.sections import Config


@app.command()
@configured(wanted="")
def compare(
    config: Config,
    a: Annotated[str, typer.Argument(metavar="A", help="A table file, or the name of a run.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    tolerance: Annotated[
        float, typer.Option(metavar="NUMBER", help="Numbers that differ by no more are equal; absolute.")
    ] = 1e-6,
    as_json: Json = False,
) -> None:
    """Compare two tables clip by clip: of another engine, a GPU, another libvmaf.

    Exit status: 0 equal within the tolerance, 1 not. See docs/tables.md.

    Example: vmafarm compare full_cpu full_cuda --tolerance 1e-4
    """
    from vmafarm.tables.compare import compare_tables
    from vmafarm.tables.compare_text import lines
    from vmafarm.tables.given import find_table

    root = Path(config.run.root)
    found = compare_tables(find_table(a, root), find_table(b, root), tolerance=tolerance, config=config)
    say(*([to_json(found.as_dict())] if as_json else lines(found)))
    if not found.equal:
        raise typer.Exit(1)


@app.command()
@configured(wanted="")
def split(
    config: Config,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A table file, or the name of a run.")],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Groups: fingerprint (nearly the same features), or a column of the label file or --groups.",
        ),
    ] = None,
    groups: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV file with clip names and the column --by.")
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Groups: what the first parentheses of this regular expression find in the name.",
        ),
    ] = None,
    train: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the clips for training, 0 to 1.")
    ] = 0.8,
    val: Annotated[float, typer.Option(metavar="SHARE", help="Share for validation.")] = 0.1,
    test: Annotated[float, typer.Option(metavar="SHARE", help="Share for the test.")] = 0.1,
    seed: Annotated[int, typer.Option(metavar="N", help="Another one gives another split.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Table to write; default: TABLE.split.parquet beside the table."),
    ] = None,
) -> None:
    """Add a column split (train, val, test) to a copy of a table; groups stay together.

    Without --by and --pattern each clip is a group of its own. See docs/tables.md.

    Example: vmafarm split k150k --pattern "^([^_]+)_" --seed 1
    """
    from vmafarm.tables.given import find_table
    from vmafarm.tables.groups import Source
    from vmafarm.tables.split import split_table
    from vmafarm.tables.split_text import lines

    source = Source(by, groups, pattern)
    path = find_table(table, Path(config.run.root))
    say(*lines(split_table(path, source, (train, val, test), seed, output, config)))
