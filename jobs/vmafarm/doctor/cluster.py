"""Checks of SLURM: what a submission would ask, without queueing anything."""

from __future__ import annotations

import re
import shutil
from functools import partial

from vmafarm.cluster.sbatch import check_request, chosen
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import NothingToSubmitError, preview
from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.common.text import counted
from vmafarm.config.load import Config
from vmafarm.doctor.check_result import CheckResult, Machine, attempt
from vmafarm.run_folder.manifest import Manifest

_WAITS = re.compile(r"down, drained|nodes are busy|not available now|node not available", re.IGNORECASE)
"""Why a job could not start this minute; sbatch would queue it all the same."""


def examine_slurm(
    config: Config, slurm: Slurm, machine: Machine, manifest: Manifest | None
) -> list[CheckResult]:
    """Check what `vmafarm submit` needs of SLURM.

    Parameters
    ----------
    config
        The configuration.
    slurm
        The cluster.
    machine
        This machine.
    manifest
        Clips to be submitted; None: they are not known, and no submission is rehearsed.
    """
    name = "SLURM"
    if shutil.which("sbatch") is None:
        if machine.in_image:
            return [CheckResult(name, "skipped", "inside an image; ask outside, on a login node")]
        if not (config.slurm.image or config.slurm.partition):
            return [
                CheckResult(
                    name, "skipped", "this machine has none; vmafarm run (make run) does the work here"
                )
            ]
    first = attempt(name, lambda: _check_answers(config, slurm))
    if first.state == "failed":  # the others would wait, one after the other, and say the same
        return [first]
    return [
        first,
        attempt("limits", lambda: check_limits(config, slurm)),
        attempt("partition", lambda: check_partition(config, slurm)),
        attempt("GPUs", lambda: check_gpus(config)),
        attempt("accounting", lambda: check_accounting(slurm)),
        *(rehearse(config, slurm, manifest) if manifest else []),
    ]


def _check_answers(config: Config, slurm: Slurm) -> CheckResult:
    try:
        slurm.check()
    except UnavailableError as error:
        if config.slurm.image or config.slurm.partition:
            raise
        alone = "without a cluster: vmafarm run (make run) does the work on this machine"
        raise UnavailableError(error.message, f"{error.hint}\n{alone}") from None
    return CheckResult("SLURM", "ok", "the controller answers")


def check_limits(config: Config, slurm: Slurm) -> CheckResult:
    """Show MaxArraySize, and how many jobs may still be submitted."""
    section = config.slurm
    left = section.max_jobs or slurm.jobs_left(section.account, section.qos)
    limit = "no limit of submitted jobs" if left is None else f"{left:,} more jobs may be submitted"
    return CheckResult("limits", "ok", f"MaxArraySize is {slurm.max_array_size():,}, {limit}")


def check_partition(config: Config, slurm: Slurm) -> CheckResult:
    """Compare what the jobs ask for with the cluster's partitions.

    Raises
    ------
    UsageError
        See `vmafarm.cluster.sbatch.check_request`.
    """
    partitions = slurm.partitions()
    check_request(config.slurm, partitions)
    found = chosen(config.slurm.partition, partitions)
    if not found:
        return CheckResult(
            "partition", "warning", "slurm.partition is empty, and the cluster has no default",
            "it has: " + ", ".join(partitions),
        )  # fmt: skip
    limits = (
        f"{one.name} ({'no time limit' if one.minutes is None else f'up to {one.minutes:,} minutes'}, "
        f"nodes: {one.nodes:,})"
        for one in found
    )
    return CheckResult("partition", "ok", f"{', '.join(limits)}; {config.slurm.time:,} minutes are asked for")


def check_gpus(config: Config) -> CheckResult:
    """Compare the engine's backend with the GPUs that the jobs ask for.

    Raises
    ------
    UsageError
        CUDA in an image without a GPU being asked for: the image gets no driver then.
    """
    section = config.slurm
    asked = section.gres or (f"slurm.gpus = {section.gpus}" if section.gpus else "")
    if config.engine.backend == "cuda" and not asked:
        message = 'engine.backend = "cuda", but no GPU is asked for'
        if section.image:
            raise UsageError(message, "set slurm.gpus, or slurm.gres where the site wants that")
        return CheckResult("GPUs", "warning", message, "slurm.gpus, unless slurm.extra asks for one")
    if config.engine.backend == "cpu" and asked:
        return CheckResult(
            "GPUs", "warning", f'{asked}, but engine.backend = "cpu" uses none',
            'engine.backend = "cuda", or no GPU',
        )  # fmt: skip
    return CheckResult("GPUs", "ok" if asked else "skipped", asked or "none are asked for")


def check_accounting(slurm: Slurm) -> CheckResult:
    """Tell whether the cluster keeps accounts; either way is fine."""
    if slurm.accounting(["1"]) is None:
        return CheckResult("accounting", "ok", "none (sacct): what ended is known from disk alone")
    return CheckResult("accounting", "ok", "sacct tells what became of jobs")


def rehearse(config: Config, slurm: Slurm, manifest: Manifest) -> list[CheckResult]:
    """Prepare a submission up to where it would queue jobs, and have SLURM judge its very scripts."""
    scripts: dict[str, str] = {}

    def prepare() -> CheckResult:
        try:
            request = preview(config, slurm, manifest, again=True)
        except NothingToSubmitError as error:
            return CheckResult("submission", "skipped", error.message)
        scripts.update({"elements": request.script, "merge job": request.merge_script})
        elements = counted(len(request.submission.elements) or 1, "element")
        return CheckResult("submission", "ok", f"{elements}, as jobs called {request.submission.job_name}")

    first = attempt("submission", prepare)
    return [first, *(attempt(name, partial(judge, name, slurm, text)) for name, text in scripts.items())]


def judge(name: str, slurm: Slurm, script: str) -> CheckResult:
    """Have SLURM judge a script without queueing it.

    Raises
    ------
    UnavailableError
        It would be refused.
    """
    try:
        slurm.test_script(script)
    except UnavailableError as error:
        if _WAITS.search(error.message) is None:
            raise
        return CheckResult(
            name, "warning", f"would be queued, but not start now: {error.message}",
            "sinfo shows which nodes are up",
        )  # fmt: skip
    return CheckResult(name, "ok", "would be queued (sbatch --test-only)")
