"""Verbs to calls; no logic. Each verb imports what it needs, so that help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.config import Config

app = typer.Typer(
    name="vmafarm",
    help="libvmaf features of large video corpora, as one validated Parquet table.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; without it ./vmafarm.toml, if there.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="A key of it: --set engine.plan=identity. Repeatable.")
]
Clips = Annotated[str | None, typer.Option(help="Folder of the clips (corpus.clips).")]
Scores = Annotated[str | None, typer.Option(help="CSV file of the scores (corpus.scores).")]
Name = Annotated[str | None, typer.Option("--run", help="Name of the run (run.name).")]
Limit = Annotated[int | None, typer.Option(min=1, help="A reproducible sample of so many clips.")]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Publish although clips are missing; the table says so.")
]


def _version(show: bool) -> None:
    if show:
        typer.echo(f"vmafarm {__version__}")
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
) -> None:
    """Do it all on this machine: plan, score, merge. Without clips and scores: on a demo corpus.

    Can be stopped at any time (Ctrl-C); the same command goes on where it was.

    Example: vmafarm run --clips k150ka --scores k150ka_scores.csv
    """
    from jobs.run import run as run_all
    from jobs.run import with_demo

    console = _console()
    config = _load(config_file, overrides, clips, scores, name)
    run_all(with_demo(config, console), console, limit=limit, allow_missing=allow_missing)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="New folder for it.")],
) -> None:
    """Write a small corpus in KoNViD-150k's names and layout: 12 clips and 13 scores.

    Example: vmafarm demo demo-corpus
    """
    from jobs.demo import make_demo
    from jobs.engines import find_ffmpeg

    made = make_demo(folder, find_ffmpeg(""))
    typer.echo(f"{'written' if made.new else 'already there'}: {made.clips} and {made.scores}")


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
    from jobs.plan import plan as make_plan

    config = _load(config_file, overrides, clips, scores, name)
    planned = make_plan(config, limit=limit, dry_run=dry_run)
    for line in planned.lines():
        typer.echo(line)
    if planned.new:
        typer.echo("nothing written (--dry-run)" if dry_run else f"written: {planned.folder.manifest}")


@app.command()
def merge(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    allow_missing: AllowMissing = False,
    max_failed_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of clips that may have failed for good.")
    ] = None,
    on_conflict: Annotated[
        str | None, typer.Option(help="fail or latest: what to do with rows of a clip that disagree.")
    ] = None,
) -> None:
    """Publish the final table from the shards, or say why not.

    Example: vmafarm merge --run k150k
    """
    from jobs.merge import merge as merge_shards
    from jobs.plan import with_frozen
    from jobs.run import say_merged

    config = with_frozen(
        _load(
            config_file,
            overrides,
            name=name,
            merge__max_failed_share=max_failed_share,
            merge__on_conflict=on_conflict,
        )
    )
    say_merged(merge_shards(config.folder, config, allow_missing=allow_missing), _console())


@app.command()
def image(
    recipe: Annotated[Path, typer.Argument(help="The recipe.")] = Path("apptainer.def"),
    output: Annotated[
        Path | None, typer.Option(help="The image; empty: vmafarm.sif, or vmafarm-cpu.sif.")
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Option("--build-arg", help="NAME=VALUE of the recipe. Repeatable.")
    ] = None,
    binds: Annotated[
        list[str] | None, typer.Option("--bind", help="As apptainer build takes it. Repeatable.")
    ] = None,
    wheelhouse: Annotated[
        Path | None, typer.Option(help="Folder with the wheels of requirements.lock, for builds offline.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an image that is there.")] = False,
) -> None:
    """Build the Apptainer image as an ordinary user, and print its digest.

    Example: vmafarm image containers/cpu.def
    """
    from jobs.image import build_image

    built = build_image(
        recipe,
        output,
        arguments=tuple(arguments or ()),
        binds=tuple(binds or ()),
        wheelhouse=wheelhouse,
        force=force,
        say=typer.echo,
    )
    typer.echo(f"built in {built.seconds:.0f} s: {built.path}\n{built.digest}")


@app.command()
def submit(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    clips: Clips = None,
    scores: Scores = None,
    name: Name = None,
    limit: Limit = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the sbatch script and the command; queue nothing.")
    ] = False,
) -> None:
    """Plan, and queue SLURM array jobs with the merge behind them.

    Example: vmafarm submit --config vmafarm.toml
    """
    from jobs.plan import plan as make_plan
    from jobs.plan import with_frozen

    config = _load(config_file, overrides, clips, scores, name)
    planned = make_plan(config, limit=limit)
    for line in planned.lines():
        typer.echo(line)
    _submit(with_frozen(config), again=False, dry_run=dry_run)


@app.command()
def retry(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the sbatch script and the command; queue nothing.")
    ] = False,
) -> None:
    """Queue exactly what is missing and what nobody works on.

    Example: vmafarm retry --run k150k
    """
    from jobs.plan import with_frozen

    _submit(with_frozen(_load(config_file, overrides, name=name)), again=True, dry_run=dry_run)


def _submit(config: Config, *, again: bool, dry_run: bool) -> None:
    from jobs.slurm import Slurm
    from jobs.submit import submit as submit_run

    submitted = submit_run(config, Slurm(), again=again, dry_run=dry_run)
    if dry_run:
        typer.echo(f"each element starts:\n{submitted.command}\n\n{submitted.script}")
        typer.echo(f"arrays a round: {len(submitted.chunks)}; nothing queued (--dry-run)")
        return
    for line in submitted.lines():
        typer.echo(line)


@app.command()
def status(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Tell how far a run is: from disk, and from SLURM where there is one.

    Example: vmafarm status --run k150k
    """
    import json
    import shutil

    from jobs.plan import with_frozen
    from jobs.slurm import Slurm
    from jobs.status import look

    config = with_frozen(_load(config_file, overrides, name=name))
    seen = look(config, Slurm() if shutil.which("squeue") else None)
    typer.echo(json.dumps(seen.as_dict()) if as_json else "\n".join(seen.lines()))


@app.command()
def cancel(config_file: ConfigFile = None, overrides: Overrides = None, name: Name = None) -> None:
    """Cancel this run's jobs and no others; what is done stays.

    Example: vmafarm cancel --run k150k
    """
    from jobs.plan import with_frozen
    from jobs.slurm import Slurm
    from jobs.submit import cancel as cancel_run

    cancelled = cancel_run(with_frozen(_load(config_file, overrides, name=name)), Slurm())
    typer.echo(f"cancelled: {', '.join(cancelled)}" if cancelled else "no jobs of this run wait or run")


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
    from jobs import config as configuration

    if template:
        typer.echo(configuration.template(), nl=False)
        return
    config, origins = configuration.load(_config_file(config_file), overrides or [])
    typer.echo(configuration.to_toml(configuration.flat(config), origins), nl=False)


def _config_file(given: Path | None) -> Path | None:
    default = Path("vmafarm.toml")
    return given or (default if default.exists() else None)


def _load(
    config_file: Path | None,
    overrides: list[str] | None,
    clips: str | None = None,
    scores: str | None = None,
    name: str | None = None,
    **values: object,
) -> Config:
    from jobs.config import load

    config, _ = load(
        _config_file(config_file),
        overrides or [],
        corpus__clips=clips,
        corpus__scores=scores,
        run__name=name,
        **values,
    )
    return config


def _console() -> Console:
    from rich.console import Console

    return Console()
