"""Checks of SLURM: what a submission would ask, without queueing anything."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmafarm.cluster.executor import Queue
from vmafarm.cluster.packing import lay_out
from vmafarm.cluster.preparation import prepare
from vmafarm.cluster.sbatch import check_request, chosen, merge_parameters, sbatch_parameters
from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.doctor.finding import Finding, Machine, attempt
from vmafarm.images.command import container_python

_JOB_NAME = "vmafarm-doctor"
_WAITS = re.compile(r"down, drained|nodes are busy|not available now|node not available", re.IGNORECASE)
"""Why a job could not start this minute; sbatch would queue it all the same."""


def examine_slurm(config: Config, slurm: Slurm, machine: Machine, slices: int) -> list[Finding]:
    """Check what `vmafarm submit` needs of SLURM.

    Parameters
    ----------
    config
        The configuration.
    slurm
        The cluster.
    machine
        This machine.
    slices
        Of the planned run; 0: not planned.
    """
    name = "SLURM"
    if shutil.which("sbatch") is None:
        if machine.in_image:
            return [Finding(name, "skipped", "inside an image; ask outside, on a login node")]
        if not (config.slurm.image or config.slurm.partition):
            return [
                Finding(name, "skipped", "this machine has none; vmafarm run (make run) does the work here")
            ]
    first = attempt(name, lambda: _check_answers(config, slurm))
    if first.state == "failed":  # the others would wait, one after the other, and say the same
        return [first]
    findings = [
        first,
        attempt("arrays", lambda: check_arrays(config, slurm, slices)),
        attempt("partition", lambda: check_partition(config, slurm)),
        attempt("GPUs", lambda: check_gpus(config)),
        attempt("accounting", lambda: check_accounting(slurm)),
        attempt("elements", lambda: check_elements(config, slurm, slices)),
        attempt("merge job", lambda: check_merge_job(config, slurm)),
    ]
    if slices:
        findings.append(attempt("submission", lambda: check_submission(config, slurm)))
    return findings


def _check_answers(config: Config, slurm: Slurm) -> Finding:
    try:
        slurm.check()
    except UnavailableError as error:
        if config.slurm.image or config.slurm.partition:
            raise
        alone = "without a cluster: vmafarm run (make run) does the work on this machine"
        raise UnavailableError(error.message, f"{error.hint}\n{alone}") from None
    return Finding("SLURM", "ok", "the controller answers")


def check_arrays(config: Config, slurm: Slurm, slices: int) -> Finding:
    """Compare the slices of the run with MaxArraySize, and with the jobs that may still be submitted.

    Raises
    ------
    UsageError
        See `vmafarm.cluster.packing.lay_out`: too few jobs are left.
    """
    section = config.slurm
    largest = slurm.max_array_size()
    left = section.max_jobs or slurm.jobs_left(section.account, section.qos)
    layout = lay_out(max(1, slices), None, section, largest, left)
    limit = "no limit of submitted jobs" if left is None else f"{left:,} more jobs may be submitted"
    message = f"MaxArraySize is {largest:,}, {limit}"
    if slices:
        message += f": {counted(slices, 'slice')} in {counted(layout.first, 'element')}"
    return Finding("arrays", "ok", message)


def check_partition(config: Config, slurm: Slurm) -> Finding:
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
        return Finding(
            "partition", "warning", "slurm.partition is empty, and the cluster has no default",
            "it has: " + ", ".join(partitions),
        )  # fmt: skip
    limits = (
        f"{one.name} ({'no time limit' if one.minutes is None else f'up to {one.minutes:,} minutes'}, "
        f"nodes: {one.nodes:,})"
        for one in found
    )
    return Finding("partition", "ok", f"{', '.join(limits)}; {config.slurm.time:,} minutes are asked for")


def check_submission(config: Config, slurm: Slurm) -> Finding:
    """Prepare the planned run as a submission does, up to where it would queue.

    Raises
    ------
    UsageError, UnavailableError
        See `vmafarm.cluster.preparation.prepare`; for example, the run was begun with another engine.
    """
    prepared = prepare(config, slurm)
    return Finding("submission", "ok", f"can be submitted, as jobs called {prepared.job_name}")


def check_gpus(config: Config) -> Finding:
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
        return Finding("GPUs", "warning", message, "slurm.gpus, unless slurm.extra asks for one")
    if config.engine.backend == "cpu" and asked:
        return Finding(
            "GPUs", "warning", f'{asked}, but engine.backend = "cpu" uses none',
            'engine.backend = "cuda", or no GPU',
        )  # fmt: skip
    return Finding("GPUs", "ok" if asked else "skipped", asked or "none are asked for")


def check_accounting(slurm: Slurm) -> Finding:
    """Tell whether the cluster keeps accounts; either way is fine."""
    if slurm.accounting(["1"]) is None:
        return Finding("accounting", "ok", "none (sacct): what ended is known from disk alone")
    return Finding("accounting", "ok", "sacct tells what became of jobs")


def check_elements(config: Config, slurm: Slurm, slices: int) -> Finding:
    """Have SLURM judge the script of the first array.

    Raises
    ------
    UnavailableError, UsageError
        It would be refused.
    """
    section = config.slurm
    layout = lay_out(max(1, slices), None, section, slurm.max_array_size(), section.max_jobs or None)
    parameters = sbatch_parameters(section, _JOB_NAME, section.parallelism)
    return _try("elements", config, slurm, parameters, layout.first)


def check_merge_job(config: Config, slurm: Slurm) -> Finding:
    """Have SLURM judge the script of the merge job.

    Raises
    ------
    UnavailableError, UsageError
        It would be refused.
    """
    parameters = merge_parameters(config.slurm, _JOB_NAME, [])
    parameters.pop("dependency")  # on jobs that there are not
    return _try("merge job", config, slurm, parameters, 1)


def _try(name: str, config: Config, slurm: Slurm, parameters: Mapping[str, Any], count: int) -> Finding:
    clips = Path(config.corpus.clips).absolute() if config.corpus.clips else None
    python = container_python(config.slurm, config.folder, clips, config.extract.scratch)
    command = shlex.join(python)
    text = Queue(config, command, command).script(dict(parameters), [()] * count)
    with tempfile.TemporaryDirectory(prefix="vmafarm-doctor-") as folder:
        script = Path(folder) / "script.sh"
        script.write_text(text, encoding="utf-8")
        try:
            slurm.test_script(script)
        except UnavailableError as error:
            if _WAITS.search(error.message) is None:
                raise
            return Finding(
                name, "warning", f"would be queued, but not start now: {error.message}",
                "sinfo shows which nodes are up",
            )  # fmt: skip
    return Finding(name, "ok", "would be queued (sbatch --test-only)")
