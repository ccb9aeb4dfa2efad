"""The verbs that look at what a run has made; see `vmafarm.cli.local`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vmafarm.cli.local import ConfigFile, Name, Overrides, app, load_config, make_console
from vmafarm.common.say import Shown, data_sink, say, say_aside, to_json


@app.command("sql")
def query_run(
    query: Annotated[str | None, typer.Argument(help="DuckDB SQL: one SELECT.")] = None,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    as_json: Annotated[bool, typer.Option("--json", help="All rows as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="All rows as CSV.")] = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Statements from a file; without either: a prompt, or stdin."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the answer there: .csv, .json or .parquet.")
    ] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Let it write, into a copy of the run, and use files.")
    ] = False,
) -> None:
    """Query a run: the tables features, clips, failures and manifest; without a query, at a prompt.

    Example: vmafarm sql "SELECT clip_name FROM features WHERE vmaf_mean < 98"
    """
    import sys
    from functools import partial

    from vmafarm.common.errors import UsageError
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.query.answers import ArrowWriter, Write, run_query, write_csv, write_json, write_table
    from vmafarm.query.prompt import run_prompt
    from vmafarm.query.text import read_query, write_to

    if output is not None and (as_csv or as_json):
        raise UsageError("--output with --csv or --json", "its suffix says the format")
    asks = query is None and file is None and sys.stdin.isatty()
    text = "" if asks else read_query(query, file, sys.stdin)
    write: Write | ArrowWriter
    if output is not None:
        write = write_to(output)
    elif as_csv:
        write = partial(write_csv, data_sink())
    elif as_json:
        write = partial(write_json, Shown())
    else:
        write = partial(write_table, Shown(), make_console().width)
    config = with_frozen(load_config(config_file, overrides, name=name))
    # One file or one stream holds one answer in these formats.
    several = query is None and output is None and not (as_csv or as_json)
    if not asks:
        run_query(config, text, write, say_aside, unsafe=unsafe, several=several)
    elif isinstance(write, ArrowWriter):
        raise UsageError("a Parquet file of the answers to a prompt", "give a query, or --file")
    else:
        run_prompt(config, write, say_aside, unsafe=unsafe)


@app.command()
def qa(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    check: Annotated[list[str] | None, typer.Option(help="Show all rows of this check. Repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All outcomes with their rows as JSON.")] = False,
) -> None:
    """Check a run by all of sql/qa: one line a check; see docs/qa.md.

    Example: vmafarm qa --check mos
    """
    from vmafarm import publish
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.query.answers import write_table
    from vmafarm.query.checks import find_checks, summarise, tell

    find_checks(check or ())
    config = with_frozen(load_config(config_file, overrides, name=name))
    outcomes = publish.examine(config, say_aside, check or None, limit=None if check else 20)
    if as_json:
        say(to_json([outcome.as_dict() for outcome in outcomes], indent=1))
    elif check:
        for outcome in outcomes:
            say(f"{outcome.check.name}: expected {outcome.check.expected}")
            write_table(Shown(), make_console().width, outcome.columns, iter([list(outcome.rows)]))
    else:
        say(*tell(outcomes, make_console().width), summarise(outcomes))
    publish.require_sound(outcomes)


@app.command()
def report(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    output: Annotated[Path | None, typer.Option(help="The page; else beside the table.")] = None,
) -> None:
    """Write one HTML page on a run, finished or not; it opens without a network.

    Example: vmafarm report --run k150k
    """
    from vmafarm import publish
    from vmafarm.common.errors import show
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.query.text import require_place

    if output is not None:
        require_place(output)
    config = with_frozen(load_config(config_file, overrides, name=name))
    page = output or config.folder.report
    publish.examine(config, say_aside, page=page)
    say(f"written: {show(str(page))}")


@app.command()
def info(
    table: Annotated[Path, typer.Argument(help="runs/full_features_<run>.parquet, or a shard.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
    card: Annotated[bool, typer.Option("--card", help="A card as Hugging Face has it, in Markdown.")] = False,
) -> None:
    """Tell what a table is and how it came to be.

    Example: vmafarm info runs/full_features_k150k.parquet
    """
    import textwrap

    from vmafarm.report.card import as_card
    from vmafarm.report.info import read_info, tell

    found = read_info(table)
    if as_json:
        say(to_json(found.as_dict(), indent=1))
    elif card:
        if found.damage:
            say_aside(f"record: {found.damage}")
        say(as_card(found).rstrip("\n"))
    else:
        width = max(40, min(make_console().width, 100))
        for label, text in tell(found):
            lines = textwrap.wrap(
                text,
                width,
                initial_indent=f"{label:<17}",
                subsequent_indent=" " * 17,
                break_on_hyphens=False,
                break_long_words=False,
            )
            say(*lines)
