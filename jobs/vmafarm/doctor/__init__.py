"""The verb doctor: check everything a run needs, before it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import VmafarmError, show
from vmafarm.common.say import to_json
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.corpus.clips import list_clips
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.squashfs import is_squashfs, list_image, require_folder
from vmafarm.doctor.check_result import CheckResult, Machine, attempt, exit_status, in_time, lines
from vmafarm.doctor.cluster import examine_slurm
from vmafarm.doctor.engine import (
    check_address_space,
    check_driver,
    check_engine,
    check_ffmpeg,
    check_toolkit,
)
from vmafarm.doctor.folders import (
    RUN_FOLDER,
    check_clips,
    check_run_root,
    check_scores,
    check_scratch,
    check_space,
    raw_geometry_known,
)
from vmafarm.doctor.image import examine_image
from vmafarm.images.linked_clips import check_linked_clips
from vmafarm.process.toolkit import version
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.planned_clips import Manifest

__all__ = ["CheckResult", "Machine", "as_json", "examine", "examine_here", "exit_status", "lines"]


def examine(config: Config, slurm: Slurm, machine: Machine | None = None) -> list[CheckResult]:
    """Check everything a run needs: this machine, the image, and SLURM. Leaves nothing behind.

    Parameters
    ----------
    config
        The configuration; for a planned run, values frozen by its plan take precedence.
    slurm
        The cluster.
    machine
        None: this one.

    Returns
    -------
    list of CheckResult
        A failed check does not stop the others.
    """
    machine = machine or Machine()
    config, manifest, planned = _with_plan(config)
    results = [attempt("vmafarm", check_toolkit), planned]
    if config.slurm.uses_image and not machine.in_image:
        results += [_run_root(config), _space(config, manifest), _clips(config), _scores(config)]
        results += [_links(config, manifest)] if manifest and manifest.digest else []
        results += examine_image(config)
    else:
        results += [*_here(config, machine), _space(config, manifest), _scores(config)]
    return _once([*results, *examine_slurm(config, slurm, machine, manifest)])


def examine_here(config: Config, machine: Machine | None = None) -> list[CheckResult]:
    """Check what this machine, or this image, needs to score clips, as far as a compute node can.

    Parameters
    ----------
    config
        The configuration, as elements get it.
    machine
        None: this one.

    Returns
    -------
    list of CheckResult
        A failed check does not stop the others.
    """
    return [attempt("vmafarm", check_toolkit), *_here(config, machine or Machine())]


def _once(results: Sequence[CheckResult]) -> list[CheckResult]:
    """The same results, but only the first of several failures with the same message shows it."""
    told: set[str] = set()
    kept = []
    for result in results:
        again = result.state == "failed" and result.message in told
        kept.append(CheckResult(result.name, "skipped", "same cause as above") if again else result)
        told.add(result.message)
    return kept


def as_json(results: Sequence[CheckResult], more: Mapping[str, object] | None = None) -> str:
    """Return the results as one JSON object: see docs/json.md; `more` are further fields of it."""
    document = {
        "version": 1,
        "toolkit": version(),
        "exit_status": exit_status(results),
        "findings": [
            {
                "name": result.name,
                "state": result.state,
                "message": result.message,
                "hint": result.hint,
                "exit_status": result.exit_status,
            }
            for result in results
        ],
        **(more or {}),
    }
    return to_json(document)


def _here(config: Config, machine: Machine) -> list[CheckResult]:
    return [
        _run_root(config),
        _clips(config),
        attempt("scratch", lambda: in_time("the scratch folder", lambda: check_scratch(config, machine))),
        attempt("ffmpeg", lambda: check_ffmpeg(config)),
        attempt("engine", lambda: check_engine(config, machine)),
        attempt("driver", lambda: check_driver(config, machine)),
        attempt("memory", lambda: check_address_space(config)),
    ]


def _run_root(config: Config) -> CheckResult:
    run = config.run
    return attempt(
        RUN_FOLDER,
        lambda: in_time(run.root, lambda: check_run_root(Path(run.root), run.trusted_owners)),
    )


def _space(config: Config, manifest: Manifest | None) -> CheckResult:
    root, slices = Path(config.run.root), manifest.slice_count if manifest else 0
    return attempt("space", lambda: in_time(config.run.root, lambda: check_space(root, slices)))


def _clips(config: Config) -> CheckResult:
    clips = config.corpus.clips

    def check() -> CheckResult:
        path = Path(clips)
        if not in_time(clips, lambda: bool(clips) and is_squashfs(path)):
            return in_time(clips, lambda: check_clips(config))
        if not config.slurm.uses_image:
            require_folder(path)
        image = list_image(path, config.extract.scratch)
        rule, labelled = raw_geometry_known(config)
        found = counted(len(list_clips(path, image, rule, labelled=labelled).names), "clip")
        return CheckResult("clips", "ok", f"{show(clips)}: a SquashFS image of {found}")

    return attempt("clips", check)


def _links(config: Config, manifest: Manifest) -> CheckResult:
    """Whether the container sees the clips to which links of the clips folder lead."""
    name, corpus = "links to clips", config.corpus

    def check() -> CheckResult:
        found = check_linked_clips(
            config.slurm, config.folder, Path(corpus.clips), config.extract.scratch, manifest.names
        )
        if found is None:
            return CheckResult(name, "ok", "the container sees all clips that were looked at")
        return CheckResult(name, "warning", *found)

    return attempt(name, lambda: in_time(corpus.clips, check))


def _scores(config: Config) -> CheckResult:
    return attempt("scores", lambda: in_time(config.corpus.scores, lambda: check_scores(config)))


def _with_plan(config: Config) -> tuple[Config, Manifest | None, CheckResult]:
    """Return the configuration with frozen values, the planned clips, and the result of reading the plan.

    Without a plan `one_clip` replaces the clips; None: the plan cannot be read.
    """
    name = config.run.name

    def read() -> tuple[Config, Manifest, CheckResult]:
        if not config.folder.manifest.exists():
            return config, one_clip(), CheckResult("plan", "skipped", f'the run "{name}" has no plan yet')
        manifest = load_manifest(config.folder)
        clips, slices = counted(len(manifest.names), "clip"), counted(manifest.slice_count, "slice")
        found = f'the run "{name}" has {clips} in {slices}'
        return with_frozen(config, to_start=True), manifest, CheckResult("plan", "ok", found)

    try:
        return in_time(config.run.root, read)
    except (VmafarmError, OSError) as error:
        problem = error

    def fail() -> CheckResult:
        raise problem

    return config, None, attempt("plan", fail)


def one_clip() -> Manifest:
    """A manifest of one clip, to try a submission before there is a plan."""
    nothing = np.zeros(1, np.int64)
    return Manifest(["clip"], nothing.astype(np.float64), nothing, nothing.astype(np.int32), "")
