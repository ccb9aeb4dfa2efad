"""Everything that can go wrong later, tried now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import VmafarmError, show
from vmafarm.common.say import to_json
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.corpus.clips import list_clips
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.squashfs import is_squashfs, list_image, require_folder
from vmafarm.doctor.cluster import examine_slurm
from vmafarm.doctor.engine import (
    check_address_space,
    check_driver,
    check_engine,
    check_ffmpeg,
    check_toolkit,
)
from vmafarm.doctor.finding import Finding, Machine, attempt, exit_status, in_time, lines
from vmafarm.doctor.folders import check_clips, check_run_root, check_scores, check_scratch, check_space
from vmafarm.doctor.image import examine_image
from vmafarm.process.toolkit import version
from vmafarm.run_folder.manifest import load_manifest

__all__ = ["Finding", "Machine", "as_json", "examine", "examine_here", "exit_status", "lines"]


def examine(config: Config, slurm: Slurm, machine: Machine | None = None) -> list[Finding]:
    """Check all that a run needs: on this machine, in the image, and of SLURM. Leaves nothing behind.

    Parameters
    ----------
    config
        The configuration; of a planned run, what its plan has frozen counts.
    slurm
        The cluster.
    machine
        None: this one.

    Returns
    -------
    list of Finding
        No check stops another one.
    """
    machine = machine or Machine()
    config, slices, planned = _with_plan(config)
    findings = [attempt("vmafarm", check_toolkit), planned]
    if config.slurm.image and not machine.in_image:
        findings += [_run_root(config), _space(config, slices), _clips(config), _scores(config)]
        findings += examine_image(config)
    else:
        findings += [*_here(config, machine), _space(config, slices), _scores(config)]
    return _once([*findings, *examine_slurm(config, slurm, machine, slices)])


def examine_here(config: Config, machine: Machine | None = None) -> list[Finding]:
    """Check what this machine, or this image, needs to score clips: what a compute node can tell.

    Parameters
    ----------
    config
        The configuration, as an element gets it.
    machine
        None: this one.

    Returns
    -------
    list of Finding
        No check stops another one.
    """
    return [attempt("vmafarm", check_toolkit), *_here(config, machine or Machine())]


def _once(findings: Sequence[Finding]) -> list[Finding]:
    """The same, but what fails for a reason that was told already says no more than that."""
    told: set[str] = set()
    kept = []
    for finding in findings:
        again = finding.state == "failed" and finding.message in told
        kept.append(Finding(finding.name, "skipped", "would fail, as told above") if again else finding)
        told.add(finding.message)
    return kept


def as_json(findings: Sequence[Finding]) -> str:
    """Findings as one JSON object, for machines."""
    document = {
        "version": version(),
        "exit_status": exit_status(findings),
        "findings": [asdict(finding) for finding in findings],
    }
    return to_json(document)


def _here(config: Config, machine: Machine) -> list[Finding]:
    return [
        _run_root(config),
        _clips(config),
        attempt("scratch", lambda: in_time("the scratch folder", lambda: check_scratch(config, machine))),
        attempt("ffmpeg", lambda: check_ffmpeg(config)),
        attempt("engine", lambda: check_engine(config, machine)),
        attempt("driver", lambda: check_driver(config, machine)),
        attempt("memory", lambda: check_address_space(config)),
    ]


def _run_root(config: Config) -> Finding:
    run = config.run
    return attempt(
        "run folder",
        lambda: in_time(run.root, lambda: check_run_root(Path(run.root), run.trusted_owners)),
    )


def _space(config: Config, slices: int) -> Finding:
    root = Path(config.run.root)
    return attempt("space", lambda: in_time(config.run.root, lambda: check_space(root, slices)))


def _clips(config: Config) -> Finding:
    clips = config.corpus.clips

    def check() -> Finding:
        path = Path(clips)
        if not in_time(clips, lambda: bool(clips) and is_squashfs(path)):
            return in_time(clips, lambda: check_clips(clips))
        if not config.slurm.image:
            require_folder(path)
        found = counted(len(list_clips(path, list_image(path, config.extract.scratch)).names), "clip")
        return Finding("clips", "ok", f"{show(clips)}: a SquashFS image of {found}")

    return attempt("clips", check)


def _scores(config: Config) -> Finding:
    return attempt("scores", lambda: in_time(config.corpus.scores, lambda: check_scores(config)))


def _with_plan(config: Config) -> tuple[Config, int, Finding]:
    """The configuration with what a plan has frozen, the plan's number of slices, and what was found."""
    name = config.run.name

    def read() -> tuple[Config, int, Finding]:
        if not config.folder.manifest.exists():
            return config, 0, Finding("plan", "skipped", f'the run "{name}" is not planned yet')
        manifest = load_manifest(config.folder)
        clips, slices = counted(len(manifest.names), "clip"), counted(manifest.slice_count, "slice")
        found = f'the run "{name}" has {clips} in {slices}'
        return with_frozen(config, to_start=True), manifest.slice_count, Finding("plan", "ok", found)

    try:
        return in_time(config.run.root, read)
    except (VmafarmError, OSError) as error:
        problem = error

    def fail() -> Finding:
        raise problem

    return config, 0, attempt("plan", fail)
