"""Verbs to calls; no logic. Each verb imports what it needs, so that help is quick."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmafarm.common.errors import show
from vmafarm.common.package import __version__
from vmafarm.common.say import say, to_json

if TYPE_CHECKING:
    from rich.console import Console

    from vmafarm.config.load import Config

app = typer.Typer(
    name="vmafarm",
    help="libvmaf features of large video corpora, as one validated Parquet table.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; without it ./vmafarm.toml, if there and yours."),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="A key of it: --set engine.plan=identity. Repeatable.")
]
Clips = Annotated[
    str | None, typer.Option(help="Folder of the clips, or a SquashFS image of it (corpus.clips).")
]
Scores = Annotated[str | None, typer.Option(help="CSV file of the scores (corpus.scores).")]
Name = Annotated[str | None, typer.Option("--run", help="Name of the run (run.name).")]
Limit = Annotated[int | None, typer.Option(min=1, help="A reproducible sample of so many clips.")]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Publish although clips are missing; the table says so.")
]
MaxFailedShare = Annotated[
    float | None, typer.Option(min=0, max=1, help="Share of clips that may have failed for good.")
]


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
def run(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    clips: Clips = None,
    scores: Scores = None,
    name: Name = None,
    limit: Limit = None,
    allow_missing: AllowMissing = False,
    max_failed_share: MaxFailedShare = None,
) -> None:
    """Do it all on this machine: plan, score, merge. Without clips and scores: on a demo corpus.

    Can be stopped at any time (Ctrl-C); the same command goes on where it was, or vmafarm run --run NAME.

    Example: vmafarm run --clips k150ka --scores k150ka_scores.csv
    """
    from vmafarm.run import run as run_all
    from vmafarm.run import with_corpus

    console = make_console()
    config = load_config(
        config_file, overrides, clips, scores, name, merge__max_failed_share=max_failed_share
    )
    config, limit = with_corpus(config, console, limit, named=name is not None)
    run_all(config, console, limit=limit, allow_missing=allow_missing)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="New folder for it.")],
) -> None:
    """Write a small corpus in KoNViD-150k's names and layout: 12 clips and 13 scores.

    Example: vmafarm demo demo-corpus
    """
    from vmafarm.corpus.demo import make_demo
    from vmafarm.engines.ffmpeg import find_ffmpeg

    made = make_demo(folder, find_ffmpeg(""))
    say(f"{'written' if made.new else 'already there'}: {show(f'{made.clips} and {made.scores}')}")


@app.command()
def plan(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    clips: Clips = None,
    scores: Scores = None,
    name: Name = None,
    limit: Limit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
) -> None:
    """Join scores and clips, and cut them into slices. A plan is final.

    Example: vmafarm plan --clips k150ka --scores k150ka_scores.csv --dry-run
    """
    from vmafarm.corpus.plan import plan as make_plan

    config = load_config(config_file, overrides, clips, scores, name)
    planned = make_plan(config, limit=limit, dry_run=dry_run)
    say(*planned.lines())
    if planned.new:
        say("nothing written (--dry-run)" if dry_run else f"written: {show(str(planned.folder.manifest))}")


@app.command()
def estimate(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    clips: Clips = None,
    scores: Scores = None,
    name: Name = None,
    limit: Limit = None,
    sample: Annotated[
        int, typer.Option(min=1, help="Clips to measure; those measured here before count.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Tell what a run will take: score a few clips of all sizes here. Their rows count as done.

    Hours of processors and GPUs, time on this machine and in SLURM, with 95% intervals; space on disk.

    Example: vmafarm estimate --clips k150ka --scores k150ka_scores.csv
    """
    from vmafarm.forecast import estimate_run
    from vmafarm.run import with_corpus

    console = make_console(stderr=as_json)
    config = load_config(config_file, overrides, clips, scores, name)
    config, limit = with_corpus(config, console, limit, named=name is not None)
    found = estimate_run(config, console, sample, limit)
    say(*([to_json(found.as_dict())] if as_json else found.lines()))


@app.command()
def merge(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    allow_missing: AllowMissing = False,
    max_failed_share: MaxFailedShare = None,
    on_conflict: Annotated[
        str | None, typer.Option(help="fail or latest: what to do with rows of a clip that disagree.")
    ] = None,
) -> None:
    """Publish the final table from the shards, or say why not.

    Example: vmafarm merge --run k150k
    """
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.publish import deliver
    from vmafarm.run_folder.permissions import check_writers

    config = with_frozen(
        load_config(
            config_file,
            overrides,
            name=name,
            merge__max_failed_share=max_failed_share,
            merge__on_conflict=on_conflict,
        )
    )
    say(*check_writers(config.folder))
    deliver(config, say, allow_missing=allow_missing)


@app.command("config")
def show_config(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    template: Annotated[
        bool, typer.Option("--template", help="A commented file with every key at its default.")
    ] = False,
) -> None:
    """Print the effective configuration, each value with where it comes from.

    Example: vmafarm config --template > vmafarm.toml
    """
    from vmafarm.config import load as configuration

    if template:
        say(configuration.template().rstrip("\n"))
        return
    config, origins = configuration.load(
        _config_file(config_file), overrides or [], named=config_file is not None
    )
    say(configuration.to_toml(configuration.flat(config), origins).rstrip("\n"))


def _config_file(given: Path | None) -> Path | None:
    default = Path("vmafarm.toml")
    return given or (default if os.path.lexists(default) else None)


def load_config(
    config_file: Path | None,
    overrides: list[str] | None,
    clips: str | None = None,
    scores: str | None = None,
    name: str | None = None,
    **values: object,
) -> Config:
    """The configuration from the options that all verbs share."""
    from vmafarm.config.load import load

    config, _ = load(
        _config_file(config_file),
        overrides or [],
        named=config_file is not None,
        corpus__clips=clips,
        corpus__scores=scores,
        run__name=name,
        **values,
    )
    return config


def make_console(*, stderr: bool = False) -> Console:
    """The terminal, for its width and for what is drawn on it; text goes through `vmafarm.common.say`."""
    from rich.console import Console

    return Console(stderr=stderr)
