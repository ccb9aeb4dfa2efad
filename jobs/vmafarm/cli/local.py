"""Verbs parse, call and print. Each imports what it needs, so that --help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmafarm.cli.help import App, Verbs, at_least
from vmafarm.cli.options import (
    CORPUS,
    AllowMissing,
    ConfigFile,
    Drop,
    Json,
    Settings,
    Update,
    configured,
)
from vmafarm.cli.settings import config_source
from vmafarm.common.errors import show
from vmafarm.common.package import __version__
from vmafarm.common.say import say, standard_error, to_json

if TYPE_CHECKING:
    from vmafarm.config.sections import Config

Verify = Annotated[
    bool, typer.Option("--verify", help="First read all clips with a row: are they what was scored?")
]
Reuse = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RUN", help="Take rows of clips with the same content from this run or table. Repeatable."
    ),
]

app = App(
    name="vmafarm",
    cls=Verbs,
    help="libvmaf features of large video corpora, as one validated Parquet table.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        say(f"vmafarm {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Libvmaf features of large video corpora, as one validated Parquet table."""


@app.command()
@configured(*CORPUS, "plan", "features", "frames", "workers", "max_failed_share", wanted="")
def run(
    config: Config, update: Update = False, drop: Drop = False, verify: Verify = False, reuse: Reuse = None,
    allow_missing: AllowMissing = False,
) -> None:  # fmt: skip
    """Plan, score and merge on this machine.

    Stop it at any time with Ctrl-C; the same command resumes, and so does vmafarm run --run NAME. Without
    clips and a name it goes on with the newest run that is not finished; if there is no run, it makes and
    scores a demo corpus.

    Example: vmafarm run --clips k150ka --scores k150ka_scores.csv
    """
    from vmafarm.go_on import to_run
    from vmafarm.run import run as run_all

    if meant := to_run(config, allow_missing=allow_missing):
        run_all(
            meant, update=update, drop=drop, verify=verify, reuse=reuse or (), allow_missing=allow_missing
        )  # fmt: skip


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for the corpus.")],
) -> None:
    """Write a small corpus with the names and layout of KoNViD-150k: 12 clips and 13 scores.

    Example: vmafarm demo demo-corpus
    """
    from vmafarm.corpus.demo import make_demo
    from vmafarm.engines.ffmpeg import find_ffmpeg

    made = make_demo(folder, find_ffmpeg(""))
    say(f"{'written' if made.new else 'already there'}: {show(f'{made.clips} and {made.scores}')}")


@app.command()
@configured(*CORPUS, "plan", "features", "frames", wanted="new")
def plan(
    config: Config,
    update: Update = False,
    drop: Drop = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
) -> None:
    """Join scores and clips, and cut them into slices; or take what has changed since into the plan.

    Other scores and a moved corpus are taken at once: vmafarm merge then gives the new table. What was
    scored stays scored.

    Example: vmafarm plan --clips k150ka --scores k150ka_scores.csv --dry-run
    """
    from vmafarm.corpus.plan import plan as make_plan

    planned = make_plan(config, dry_run=dry_run, update=update, drop=drop)
    say(*planned.lines())
    if planned.new or planned.changes:
        say("nothing written (--dry-run)" if dry_run else f"written: {show(str(planned.folder.manifest))}")


@app.command()
@configured(*CORPUS, "plan", "features", "frames", "workers", wanted="")
def estimate(
    config: Config,
    sample: Annotated[
        int,
        typer.Option(
            metavar="N", callback=at_least(1), help="Clips to measure, including those measured here earlier."
        ),
    ] = 20,
    as_json: Json = False,
) -> None:
    """Estimate what a run takes: score a few clips of all sizes here, and keep their rows.

    Prints processor and GPU hours, time here and in SLURM, with 95% intervals, and disk space.

    Example: vmafarm estimate --clips k150ka --scores k150ka_scores.csv
    """
    from vmafarm.forecast import estimate_run
    from vmafarm.go_on import with_corpus

    file = standard_error() if as_json else None
    config = with_corpus(config, file=file)
    found = estimate_run(config, sample, file)
    say(*([to_json(found.as_dict())] if as_json else found.lines()))


@app.command()
@configured("name", "max_failed_share", "on_conflict")
def merge(config: Config, allow_missing: AllowMissing = False) -> None:
    """Publish the final table from the shards, or explain why it cannot be.

    Example: vmafarm merge --run k150k
    """
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.publish import deliver
    from vmafarm.run_folder.permissions import check_writers

    config = with_frozen(config)
    say(*check_writers(config.folder))
    deliver(config, say, allow_missing=allow_missing)


@app.command("config")
def show_config(
    config_file: ConfigFile = None,
    overrides: Settings = None,
    template: Annotated[
        bool, typer.Option("--template", help="Print a commented file with all keys at their defaults.")
    ] = False,
) -> None:
    """Print the configuration in effect, with the source of each value.

    Example: vmafarm config --template > vmafarm.toml
    """
    from vmafarm.config.load import load, make_template
    from vmafarm.config.paths import as_in_file
    from vmafarm.config.sections import flat
    from vmafarm.config.toml import to_toml

    if template:
        say(make_template().rstrip("\n"))
        return
    path, settings = config_source(config_file, overrides)
    config, origins = load(path, settings, named=config_file is not None)
    values = {key: as_in_file(key, value) for key, value in flat(config).items()}
    say(to_toml(values, beside=origins).rstrip("\n"))
