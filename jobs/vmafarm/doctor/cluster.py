"""Checks of SLURM: everything a submission asks, without queueing anything."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from functools import partial

from vmafarm.cluster.sbatch import check_request, chosen
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_programs import ignored_variables
from vmafarm.cluster.submit import NothingToSubmitError, preview
from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.config.workers import tell_idle_gpus
from vmafarm.doctor.check_result import CheckResult, Machine, attempt
from vmafarm.run_folder.planned_clips import Manifest

_WAITS = re.compile(r"down, drained|nodes are busy|not available now|node not available", re.IGNORECASE)
"""Reasons why a job could not start right now; sbatch would still queue it."""
_SHOWN_NAMES = 6


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
        Clips to submit; None: unknown, so that no submission is rehearsed.
    """
    name = "SLURM"
    if shutil.which("sbatch") is None:
        if machine.in_image:
            return [CheckResult(name, "skipped", "inside an image; run it outside, on a login node")]
        if not (config.slurm.image or config.slurm.partition):
            return [
                CheckResult(name, "skipped", "not on this machine; vmafarm run (make run) works without it")
            ]
    first = attempt(name, lambda: _check_answers(config, slurm))
    if first.state == "failed":  # each of the others would wait as long, and say the same
        return [first]
    return [
        first,
        attempt("environment", lambda: check_environment(os.environ)),
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
        alone = "without a cluster: vmafarm run (make run) does all work on this machine"
        raise UnavailableError(error.message, f"{error.hint}\n{alone}") from None
    return CheckResult("SLURM", "ok", "the controller answers")


def check_environment(environment: Mapping[str, str]) -> CheckResult:
    """Warn of variables that SLURM's programs, jobs and containers do not get from this shell."""
    names, instead = ignored_variables(environment)
    if not names:
        return CheckResult("environment", "ok", "no variable of this shell changes what jobs are asked for")
    more = f" and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else ""
    inside = ": this shell runs inside a job" if "SLURM_JOB_ID" in environment else ""
    return CheckResult(
        "environment", "warning", f"not passed on: {', '.join(names[:_SHOWN_NAMES])}{more}{inside}",
        "\n".join(instead) or "jobs do not need them; what they do need belongs in slurm.environment",
    )  # fmt: skip


def check_limits(config: Config, slurm: Slurm) -> CheckResult:
    """Report MaxArraySize, and how many jobs may still be submitted."""
    section = config.slurm
    left = section.max_jobs or slurm.jobs_left(section.account, section.qos)
    limit = "no limit of submitted jobs" if left is None else f"{left:,} more jobs may be submitted"
    return CheckResult("limits", "ok", f"MaxArraySize is {slurm.max_array_size():,}, {limit}")


def check_partition(config: Config, slurm: Slurm) -> CheckResult:
    """Compare what the jobs request with the cluster's partitions.

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
            "partition", "warning", "slurm.partition is empty, and the cluster has no default partition",
            "set it to one of: " + ", ".join(partitions),
        )  # fmt: skip
    limits = (
        f"{one.name} ({'no time limit' if one.minutes is None else f'up to {one.minutes:,} minutes'}, "
        f"nodes: {one.nodes:,})"
        for one in found
    )
    return CheckResult("partition", "ok", f"{', '.join(limits)}; {config.slurm.time:,} minutes requested")


def check_gpus(config: Config) -> CheckResult:
    """Compare the engine's backend with the GPUs that the jobs request.

    Raises
    ------
    UsageError
        CUDA in an image, but no GPU requested: the image would get no driver.
    """
    section = config.slurm
    asked = section.gres or (f"slurm.gpus = {section.gpus}" if section.gpus else "")
    if config.engine.backend == "cuda" and not asked:
        message = 'engine.backend = "cuda", but no GPU is requested'
        if section.uses_image:
            raise UsageError(message, "set slurm.gpus, or slurm.gres if the site needs that")
        return CheckResult("GPUs", "warning", message, "set slurm.gpus, unless slurm.extra requests one")
    if config.engine.backend == "cpu" and asked:
        return CheckResult(
            "GPUs", "warning", f'{asked}, but engine.backend = "cpu" uses no GPU',
            'set engine.backend = "cuda", or request no GPU',
        )  # fmt: skip
    if idle := tell_idle_gpus(config):
        return CheckResult(
            "GPUs", "warning", idle, 'set extract.workers to "auto" or more, or request fewer GPUs'
        )
    return CheckResult("GPUs", "ok" if asked else "skipped", asked or "none requested")


def check_accounting(slurm: Slurm) -> CheckResult:
    """Report whether the cluster keeps accounts and they answer; a run needs neither."""
    try:
        tasks = slurm.accounting(["1"])
    except UnavailableError as error:
        return CheckResult(
            "accounting", "warning", error.message.strip().partition("\n")[0],
            "a run goes on without it. Until it answers, status does not show why SLURM ended elements, and "
            "the limit of submitted jobs is not known: set slurm.max_jobs if the cluster has one",
        )  # fmt: skip
    if tasks is None:
        return CheckResult(
            "accounting", "ok", "none (sacct); the state of ended jobs comes from the run folder"
        )
    return CheckResult("accounting", "ok", "sacct shows how jobs ended")


def rehearse(config: Config, slurm: Slurm, manifest: Manifest) -> list[CheckResult]:
    """Prepare a submission up to the point where it would queue jobs, and let SLURM judge its scripts."""
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
    """Let SLURM judge a script without queueing it.

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
            name, "warning", f"would be queued, but could not start now: {error.message}",
            "see which nodes are up: sinfo",
        )  # fmt: skip
    return CheckResult(name, "ok", "would be queued (sbatch --test-only)")
