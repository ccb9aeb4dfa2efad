"""Queues jobs: submitit writes their scripts, and sbatch gets them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import submitit

from vmafarm.cluster.notify import lines_after, lines_before
from vmafarm.cluster.sbatch import left_out
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_programs import queue_script
from vmafarm.common.errors import UsageError, VmafarmError, show
from vmafarm.config.secret_keys import for_jobs
from vmafarm.config.sections import Config
from vmafarm.disk.durable import Draft
from vmafarm.process.job_ids import on_cluster
from vmafarm.run_folder.permissions import secure_logs
from vmafarm.run_folder.submissions import read_submissions
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.scoring.handover import Work


class Queue:
    """submitit's executor with this run's folder.

    Parameters
    ----------
    config
        As elements get it.
    element_command, merge_command
        Commands that start Python for an element and for the merge, quoted for a shell.
    slurm
        The cluster.
    manifest
        Digest of the run's manifest, the only one that elements accept; empty: any.
    """

    def __init__(
        self, config: Config, element_command: str, merge_command: str, slurm: Slurm, manifest: str = ""
    ) -> None:
        logs = config.folder.logs.absolute()
        for character, what in (
            ("%", "percent sign"), ("\\", "backslash"), ("\n", "line break"), ("\r", "carriage return"),
        ):  # fmt: skip
            if character in str(logs):
                raise UsageError(
                    f"the run folder's path contains a {what}, which sbatch cannot take: {show(str(logs))}",
                    "choose another run.root",
                )
        self._document = for_jobs(absolute(config))
        self._minutes = config.slurm.time
        self._notify = config.slurm.notify
        self._folder = config.folder
        self._trusted = config.run.trusted_owners
        self._logs = logs
        self._element_command = element_command
        self._merge_command = merge_command
        self._slurm = slurm
        self._manifest = manifest

    def script(self, parameters: dict[str, Any], elements: Sequence[tuple[int, ...]], **more: Any) -> str:
        """Text that sbatch would get from `array`."""
        work = self._elements(elements, **more)
        jobs = -(-len(elements) // more.get("tasks", 1))
        return self._text(parameters, jobs, self._element_command, work)

    def merge_script(self, parameters: dict[str, Any]) -> str:
        """Text that sbatch would get from `merge`."""
        return self._text(self._notifying(parameters), 1, self._merge_command, self._merge())

    def array(self, parameters: dict[str, Any], elements: Sequence[tuple[int, ...]], **more: Any) -> str:
        """Queue one array with one element per list of slices; returns its job id.

        Other arguments are those of `ElementSpec`.
        """
        work = self._elements(elements, **more)
        jobs = -(-len(elements) // more.get("tasks", 1))
        return self._submit(parameters, jobs, self._element_command, work)

    def merge(self, parameters: dict[str, Any]) -> str:
        """Queue the merge; returns its job id."""
        return self._submit(self._notifying(parameters), 1, self._merge_command, self._merge())

    def _notifying(self, parameters: dict[str, Any]) -> dict[str, Any]:
        before = [*parameters["setup"], *lines_before(self._notify)]
        after = lines_after(self._notify, self._folder, self._slurm.cluster)
        return parameters | {"setup": before, "teardown": after}

    def _elements(self, elements: Sequence[tuple[int, ...]], **more: Any) -> Work:
        more |= {"minutes": self._minutes, "manifest": self._manifest}
        specs = [ElementSpec(self._document, slices, **more) for slices in elements]
        return Work.of_elements(self._logs, specs)

    def _merge(self) -> Work:
        return Work.of_merge(self._logs, self._document)

    def _text(self, parameters: dict[str, Any], count: int, command: str, work: Work) -> str:
        """Script of a job: submitit writes it, also where there is no srun."""
        executor = _Offline(folder=self._logs)
        executor.update_parameters(**parameters)
        if count > 1:  # a single job is no array
            executor.parameters["map_count"] = count
        text: str = executor._make_submission_file_text(f"{command} {work.arguments}", "0")
        # submitit names logs by the number of the job alone, which a job of another cluster may have, too.
        if self._slurm.cluster:
            text = re.sub(
                r"(/%[Aj])(?=_(?:%a_)?(?:%t|0)_log\.)", on_cluster(r"\1", self._slurm.cluster), text
            )
        names = "|".join(map(re.escape, left_out(parameters["additional_parameters"])))
        return re.sub(rf"^#SBATCH --(?:{names})(?:=.*)?\n", "", text, flags=re.MULTILINE) if names else text

    def _submit(self, parameters: dict[str, Any], count: int, command: str, work: Work) -> str:
        secure_logs(self._folder, self._trusted)
        work.write()
        # An interrupt of submitit's own way of starting sbatch would leave that running.
        script = self._text(parameters, count, command, work)
        job = queue_script(script, self._slurm.cluster, partial(self._unrecorded, parameters["job_name"]))
        # For people. It may contain secrets of slurm.environment.
        with suppress(OSError, VmafarmError), Draft(self._logs / f"{job}_submission.sh", 0o600) as draft:
            draft.write(script.encode())
            draft.publish()
        return job

    def _unrecorded(self, job_name: str) -> set[str]:
        """Jobs of the run in the queue that no submission has recorded."""
        recorded = {job for submission in read_submissions(self._folder) for job in submission.jobs()}
        return {task.job for task in self._slurm.queue(job_name)} - recorded


class _Offline(submitit.SlurmExecutor):
    """Writes scripts where there is no srun."""

    @classmethod
    def affinity(cls) -> int:
        """Usable, for submitit refuses to make one otherwise."""
        return 1


def absolute(config: Config) -> Config:
    """The configuration with absolute paths, for any working folder."""
    root = str(Path(config.run.root).absolute())
    return config.model_copy(update={"run": config.run.model_copy(update={"root": root})})
