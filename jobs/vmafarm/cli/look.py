"""Verbs that read a run or tables; see `vmafarm.cli.local`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmafarm.cli.completion import check_names
from vmafarm.cli.local import app
from vmafarm.cli.options import ConfigFile, Json, RunName, Settings, configured
from vmafarm.cli.settings import load_config
from vmafarm.common.say import Shown, data_sink, say, say_aside, terminal_width, to_json

if TYPE_CHECKING:
    from vmafarm.config.sections import Config


TableOption = Annotated[
    Path | None,
    typer.Option(
        "--table", metavar="FILE", help="A table that lies alone, such as a combined one, not a run."
    ),
]


@app.command("sql")
@configured("name")
def query_run(
    config: Config,
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="One SELECT in DuckDB SQL.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all rows as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV.")] = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Statements from a file; without either, from stdin."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Write the answer to this file: .csv, .json or .parquet."
        ),
    ] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Allow writing (to a copy of the run) and access to files.")
    ] = False,
) -> None:
    """Query a run: the tables features, clips, failures and manifest.

    Example: vmafarm sql "SELECT clip_name FROM features WHERE vmaf_mean < 98"
    """
    import sys
    from functools import partial

    from vmafarm.common.errors import UsageError
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.query.answers import Write, run_query, write_csv, write_json, write_table
    from vmafarm.query.text import read_query, tell_clients, write_to

    if output is not None and (as_csv or as_json):
        raise UsageError("--output with --csv or --json", "its suffix names the format")
    if query is None and file is None and sys.stdin.isatty():
        raise UsageError("no query is given", tell_clients(config.folder))
    text = read_query(query, file, sys.stdin)
    write: Write
    if output is not None:
        write = write_to(output, say)
    elif as_csv:
        write = partial(write_csv, data_sink())
    elif as_json:
        write = partial(write_json, Shown())
    else:
        write = partial(write_table, Shown(), terminal_width())
    config = with_frozen(config)
    # One file or one stream holds one answer in these formats.
    several = query is None and output is None and not (as_csv or as_json)
    run_query(with_frozen(config), text, write, say_aside, unsafe=unsafe, several=several)


@app.command()
@configured("name", wanted="")
def qa(
    config: Config,
    check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", autocompletion=check_names, help="Show all rows of this check. Repeatable."
        ),
    ] = None,
    table: TableOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all outcomes and their rows as JSON.")
    ] = False,
) -> None:
    """Run the checks of sql/qa: one line per check; see docs/qa.md.

    Example: vmafarm qa --check mos
    """
    from vmafarm import publish
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.corpus.named_run import with_planned
    from vmafarm.query.answers import show_rows
    from vmafarm.query.checks import find_checks, summarise, tell
    from vmafarm.report.alone import examine_table

    find_checks(check or ())
    limit = None if check else 20
    if table is not None:
        outcomes = examine_table(config, table, say_aside, check or None, limit=limit)
    else:
        config = with_planned(config, say_aside)
        outcomes = publish.examine(with_frozen(config), say_aside, check or None, limit=limit)
    if as_json:
        say(to_json([outcome.as_dict() for outcome in outcomes], indent=1))
    elif check:
        for outcome in outcomes:
            say(f"{outcome.check.name}: expected {outcome.check.expected}")
            say(show_rows(outcome.columns, outcome.rows, terminal_width()).rstrip())
    else:
        say(*tell(outcomes, terminal_width()), summarise(outcomes))
    publish.require_sound(outcomes)


@app.command()
@configured("name", wanted="")
def report(
    config: Config,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Page to write; default: beside the table.")
    ] = None,
    table: TableOption = None,
) -> None:
    """Write one HTML page about a run, finished or not; it opens offline.

    Example: vmafarm report --run k150k
    """
    from vmafarm import publish
    from vmafarm.common.layout import written
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.corpus.named_run import with_planned
    from vmafarm.query.text import require_place
    from vmafarm.report.alone import examine_table, page_beside

    if output is not None:
        require_place(output)
    if table is not None:
        page = output or page_beside(table)
        examine_table(config, table, say_aside, page=page)
    else:
        config = with_frozen(with_planned(config, say_aside))
        page = output or config.folder.report
        publish.examine(config, say_aside, page=page)
    say(*written(page))


@app.command()
@configured(wanted="")
def combine(
    config: Config,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Table to write.")],
    tables: Annotated[
        list[str],
        typer.Argument(metavar="TABLE", help="Published tables, or names of runs that have one."),
    ],
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="TABLE=LABEL", help="Label of a table's corpus. Repeatable."),
    ] = None,
    allow_mixed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY", help="Combine tables that differ in this key, such as engine. Repeatable."
        ),
    ] = None,
    mos_scale: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Map the scores of each corpus to this scale.")
    ] = None,
    mos_range: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=LOW,HIGH",
            help="Range of a corpus's scores; default: lowest and highest score. Repeatable.",
        ),
    ] = None,
    columns: Annotated[
        bool,
        typer.Option("--columns", help="Join tables of the same clips side by side, the others also CSV."),
    ] = False,
    min_coverage: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="With --columns: share of the clips that must match on both sides."
        ),
    ] = 1.0,
    prefix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=PREFIX",
            help="With --columns: begin a table's column names with PREFIX. Repeatable.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is no combined table.")] = False,
) -> None:
    """Put tables of several corpora under each other, or of the same clips side by side: docs/tables.md.

    Example: vmafarm combine all.parquet k150k live --mos-scale 0,100
    """
    from vmafarm.combining.combine import combine as combine_tables
    from vmafarm.combining.options import Options, parse_pairs, parse_range

    ranges = parse_pairs("--mos-range", mos_range or (), "LOW,HIGH")
    options = Options(
        names=parse_pairs("--name", names or (), "LABEL"),
        allow_mixed=tuple(allow_mixed or ()),
        mos_scale=None if mos_scale is None else parse_range("--mos-scale", mos_scale),
        mos_ranges={label: parse_range("--mos-range", text) for label, text in ranges.items()},
        columns=columns,
        min_coverage=min_coverage,
        prefixes=parse_pairs("--prefix", prefix or (), "PREFIX"),
        force=force,
    )
    combine_tables(config, out, tables, options, say)


@app.command()
def runs(
    config_file: ConfigFile = None,
    overrides: Settings = None,
    as_json: Json = False,
) -> None:
    """List the runs, the most recently active first: clips, rows, failures, table, last activity.

    Example: vmafarm runs
    """
    from vmafarm.common.errors import show
    from vmafarm.report.runs import as_document, lines, read_runs

    config = load_config(config_file, overrides)
    found = read_runs(config)
    if as_json:
        say(to_json(as_document(config.run.root, found)))
    else:
        say(*(lines(found) if found else [f"there is no run in {show(config.run.root)}"]))


@app.command()
def info(
    config_file: ConfigFile = None,
    overrides: Settings = None,
    name: RunName = None,
    table: Annotated[
        Path | None,
        typer.Argument(metavar="TABLE", help="A table or a shard; without it, the table of a run."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    card: Annotated[bool, typer.Option("--card", help="Print a Hugging Face dataset card.")] = False,
) -> None:
    """Show what a table contains and how it was made.

    Example: vmafarm info runs/full_features_k150k.parquet
    """
    from vmafarm.common.errors import UsageError
    from vmafarm.common.layout import labelled
    from vmafarm.report.card import as_card
    from vmafarm.report.info import read_info, tell

    if table is None:
        from vmafarm.corpus.named_run import with_planned

        config = with_planned(load_config(config_file, overrides, run__name=name), say_aside)
        table = config.folder.table
        if not table.exists():
            raise UsageError(
                f'the run "{config.run.name}" has no table yet', f"vmafarm status --run {config.run.name}"
            )
    elif name is not None:
        raise UsageError("both a table and --run are given", "give one of them")
    found = read_info(table)
    if as_json:
        say(to_json(found.as_dict(), indent=1))
    elif card:
        if found.damage:
            say_aside(f"record: {found.damage}")
        say(as_card(found).rstrip("\n"))
    else:
        say(*labelled(tell(found)))
