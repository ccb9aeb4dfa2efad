"""The clusters that a run's jobs are on: where a login node serves several, each has its own job numbers."""

from __future__ import annotations

from contextlib import suppress

from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.config.sections import Config
from vmafarm.process.job_ids import in_order
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import Submission, read_submissions, run_job_name


def slurm_of(folder: RunFolder, cluster: str = "") -> Slurm:
    """The cluster on which a run's latest jobs are.

    Parameters
    ----------
    folder
        The run.
    cluster
        ``slurm.cluster``, for a run without submissions.
    """
    submissions: list[Submission] = []
    with suppress(UnavailableError):  # no permission to read them, which the verb itself reports
        submissions = read_submissions(folder)
    return Slurm(cluster=submissions[-1].cluster if submissions else cluster)


def refuse_elsewhere(folder: RunFolder, slurm: Slurm, name: str) -> None:
    """Refuse a run that has jobs on another cluster: their slices would be scored twice.

    Raises
    ------
    UsageError
        It has.
    """
    for cluster in sorted(_clusters(folder) - {slurm.cluster}) if slurm.is_known else ():
        if jobs := in_order(task.job for task in Slurm(cluster=cluster).queue(name)):
            raise UsageError(
                f'"{folder.name}" has jobs on {_called(cluster)}: {", ".join(jobs)}; '
                f"this submission would go to {_called(slurm.cluster)}",
                "wait for them (vmafarm status), or end them (vmafarm cancel)",
            )


def queued_jobs(folder: RunFolder) -> list[str]:
    """Ids of a run's jobs that wait or run, on every cluster it was submitted to.

    Raises
    ------
    UnavailableError
        A cluster cannot be asked; one is asked only if the run was ever submitted.
    """
    clusters = _clusters(folder)
    name = run_job_name(folder, load_manifest(folder).origin) if clusters else ""
    return in_order(task.job for cluster in clusters for task in Slurm(cluster=cluster).queue(name))


def _called(cluster: str) -> str:
    return f"the cluster {show(cluster)}" if cluster else "this login node's own cluster"


def cancel(config: Config) -> list[str]:
    """Cancel the jobs that have this run's name, on every cluster, also those that no submission recorded.

    Returns
    -------
    list of str
        Their ids.
    """
    name = run_job_name(config.folder, load_manifest(config.folder).origin)
    cancelled = []
    for cluster in _clusters(config.folder) or {config.slurm.cluster}:
        slurm = Slurm(cluster=cluster)
        slurm.check()
        jobs = in_order(task.job for task in slurm.queue(name))
        slurm.cancel(jobs)
        cancelled += jobs
    return cancelled


def _clusters(folder: RunFolder) -> set[str]:
    """Clusters to which the run was submitted; empty name: the login node's own."""
    return {submission.cluster for submission in read_submissions(folder)}
