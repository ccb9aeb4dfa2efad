"""Verbs for the cluster; see `vmafarm.cli.local`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmafarm.cli.help import at_least
from vmafarm.cli.local import app
from vmafarm.cli.options import CORPUS, Drop, Json, Update, configured
from vmafarm.common.errors import INCOMPLETE
from vmafarm.common.say import say, say_aside

if TYPE_CHECKING:
    from vmafarm.cluster.slurm import Slurm
    from vmafarm.config.sections import Config
    from vmafarm.run_folder.planned_clips import Manifest


Canary = Annotated[
    int,
    typer.Option(
        metavar="N", callback=at_least(0), help="First score N clips in a small job, and print an estimate."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the sbatch script and the command; write and queue nothing.")
]


@app.command()
def image(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Apptainer recipe.")] = Path(
        "apptainer.def"
    ),
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Image; default: vmafarm.sif, or vmafarm-RECIPE.sif."),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Option("--build-arg", metavar="NAME=VALUE", help="Argument of the recipe. Repeatable."),
    ] = None,
    binds: Annotated[
        list[str] | None,
        typer.Option("--bind", metavar="SRC:DEST", help="As for apptainer build. Repeatable."),
    ] = None,
    wheelhouse: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The wheels of requirements.lock, to build offline."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing image.")] = False,
) -> None:
    """Build the Apptainer image as an ordinary user, and print its digest.

    Example: vmafarm image containers/cpu.def
    """
    from vmafarm.common.layout import written
    from vmafarm.images.build import build_image

    built = build_image(
        recipe,
        output,
        arguments=tuple(arguments or ()),
        binds=tuple(binds or ()),
        wheelhouse=wheelhouse,
        force=force,
        say=say,
    )
    say(*written(built.path, f"built in {built.seconds:.0f} s"), built.digest)


@app.command()
@configured(*CORPUS, "plan", "features", "frames", wanted="")
def submit(
    config: Config, update: Update = False, drop: Drop = False, canary: Canary = 0, dry_run: DryRun = False
) -> None:
    """Plan, then queue SLURM array jobs and the merge after them.

    Without clips it takes a run that is planned.

    Example: vmafarm submit --config vmafarm.toml
    """
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.corpus.plan import plan as make_plan
    from vmafarm.go_on import to_submit

    config = to_submit(config)
    planned = make_plan(config, dry_run=dry_run, update=update, drop=drop)
    say(*planned.lines())
    if dry_run:
        _preview(planned.config, planned.manifest, again=False)
    else:
        _submit(with_frozen(config, to_start=True), again=False, canary=canary)


@app.command()
@configured("name", wanted="one")
def retry(config: Config, canary: Canary = 0, dry_run: DryRun = False) -> None:
    """Queue exactly what is missing and nobody works on.

    Example: vmafarm retry --run k150k
    """
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.run_folder.manifest import load_manifest

    config = with_frozen(config, to_start=True)
    if dry_run:
        _preview(config, load_manifest(config.folder), again=True)
    else:
        _submit(config, again=True, canary=canary)


def _preview(config: Config, manifest: Manifest, *, again: bool) -> None:
    from vmafarm.cluster.slurm import Slurm
    from vmafarm.cluster.submit import preview

    request = preview(config, Slurm(cluster=config.slurm.cluster), manifest, again=again, say=say)
    say(*request.estimate_lines())
    say("each element starts:", request.command, "", request.script, request.plan())


def _submit(config: Config, *, again: bool, canary: int) -> None:
    from vmafarm.cluster.slurm import Slurm
    from vmafarm.cluster.submit import submit as submit_run
    from vmafarm.doctor.preflight import preflight

    submitted = submit_run(
        config, Slurm(cluster=config.slurm.cluster), again=again, canary=canary, say=say,
        preflight=lambda: preflight(config, say),
    )  # fmt: skip
    say(*submitted.lines())


@app.command()
@configured("name")
def status(
    config: Config,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until the run has finished.")] = False,
    every: Annotated[
        float,
        typer.Option(metavar="SECONDS", callback=at_least(1), help="Time between two refreshes of --watch."),
    ] = 10,
    as_json: Json = False,
) -> None:
    """Show the progress of a run, from disk and from SLURM if there is one.

    --watch ends with exit status 1 if no table was published, or if its checks found errors.

    Example: vmafarm status --run k150k --watch
    """
    from vmafarm.cluster.status import StatusReader
    from vmafarm.cluster.status_table import show_once
    from vmafarm.cluster.status_table import watch as keep_watching
    from vmafarm.corpus.frozen_config import with_frozen

    config = with_frozen(config)
    reader = StatusReader(config, _slurm_if_any(config))
    if watch:
        last = keep_watching(reader.read, every, as_json)
        raise typer.Exit(0 if last.is_good else INCOMPLETE)
    show_once(reader.read(), as_json)


@app.command()
@configured("name")
def logs(
    config: Config,
    slice_id: Annotated[int, typer.Argument(metavar="SLICE", help="Number of the slice.")],
    lines: Annotated[
        int, typer.Option(metavar="N", callback=at_least(1), help="Lines per log, and failed tries.")
    ] = 20,
) -> None:
    """Show the tasks of a slice, the end of the latest logs, and the failures of its clips.

    Example: vmafarm logs 12 --run k150k
    """
    from vmafarm.cluster.slice_logs import slice_logs
    from vmafarm.corpus.frozen_config import with_frozen

    config = with_frozen(config)
    found = slice_logs(config, _slurm_if_any(config), slice_id, lines)
    say(*found.lines(lines))


@app.command()
@configured("name", "max_failed_share", "on_conflict", wanted="one")
def tidy(
    config: Config,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go; change nothing.")] = False,
) -> None:
    """Pack the logs of a published run, and remove the files that no verb needs any more.

    Example: vmafarm tidy --run k150k --dry-run
    """
    from vmafarm.cluster.tidy import tidy as tidy_run
    from vmafarm.corpus.frozen_config import with_frozen

    say(*tidy_run(with_frozen(config), dry_run=dry_run).lines())


@app.command()
@configured("name")
def efficiency(
    config: Config,
    every: Annotated[bool, typer.Option("--all", help="Show each submission, not the latest only.")] = False,
    as_json: Json = False,
) -> None:
    """Show what elements used of what was asked for, and what to ask for next time.

    Example: vmafarm efficiency --run k150k
    """
    from vmafarm.cluster.efficiency import read_efficiency
    from vmafarm.cluster.efficiency_text import as_document, lines
    from vmafarm.common.say import to_json
    from vmafarm.corpus.frozen_config import with_frozen

    config = with_frozen(config)
    found = read_efficiency(config, _slurm_if_any(config), every=every)
    say(*([to_json(as_document(found))] if as_json else lines(found)))


def _slurm_if_any(config: Config) -> Slurm | None:
    import shutil

    from vmafarm.cluster.clusters import slurm_of

    return slurm_of(config.folder, config.slurm.cluster) if shutil.which("squeue") else None


@app.command()
@configured("name", wanted="one")
def cancel(config: Config) -> None:
    """Cancel the jobs of this run and no others; finished rows are kept.

    Example: vmafarm cancel --run k150k
    """
    from vmafarm.cluster.clusters import cancel as cancel_run
    from vmafarm.corpus.frozen_config import with_frozen

    cancelled = cancel_run(with_frozen(config))
    say(f"cancelled: {', '.join(cancelled)}" if cancelled else "no jobs of this run wait or run")


@app.command()
@configured(*CORPUS, wanted="")
def doctor(
    config: Config,
    here: Annotated[
        bool, typer.Option("--here", help="Check only what scoring needs on this machine, or in this image.")
    ] = False,
    gpu: Annotated[
        bool,
        typer.Option("--gpu", help="Compare the GPU of this node with its CPU; takes up to ten minutes."),
    ] = False,
    repeats: Annotated[
        int, typer.Option(metavar="N", callback=at_least(0), help="With --gpu: further runs of each clip.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """Check everything a run needs: engine, image, folders, SLURM. Leaves nothing behind.

    With --gpu, on a node: whether GPU and CPU agree, whether the GPU repeats itself, and which is faster.

    Example: vmafarm doctor --config vmafarm.toml
    """
    from vmafarm import doctor as checks
    from vmafarm.cluster.slurm import Slurm
    from vmafarm.go_on import to_examine

    config = to_examine(config)
    if gpu:
        from vmafarm.doctor.gpu import as_document, examine_gpu

        results, trial = examine_gpu(config, repeats, say_aside)
        say(*([checks.as_json(results, {"gpu": as_document(trial)})] if as_json else checks.lines(results)))
        raise typer.Exit(checks.exit_status(results))
    results = (
        checks.examine_here(config) if here else checks.examine(config, Slurm(cluster=config.slurm.cluster))
    )
    say(*([checks.as_json(results)] if as_json else checks.lines(results)))
    raise typer.Exit(checks.exit_status(results))
