"""Queues jobs: submitit writes their scripts, for a run's folder and its Python; sbatch gets them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import submitit

from vmafarm.cluster.slurm import queue_script
from vmafarm.common.errors import UsageError, VmafarmError, show
from vmafarm.config.sections import Config, for_jobs
from vmafarm.disk.durable import Draft
from vmafarm.run_folder.permissions import secure_logs
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.scoring.handover import Work


class Queue:
    """submitit's executor with this run's folder.

    Parameters
    ----------
    config
        As elements are to have it.
    element_command, merge_command
        What starts Python for an element and for the merge, each quoted for a shell.
    manifest
        Digest of the run's manifest, beside which elements take no other one; "": any.
    """

    def __init__(self, config: Config, element_command: str, merge_command: str, manifest: str = "") -> None:
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
        self._folder = config.folder
        self._trusted = config.run.trusted_owners
        self._logs = logs
        self._element_command = element_command
        self._merge_command = merge_command
        self._manifest = manifest

    def script(self, parameters: dict[str, Any], elements: Sequence[tuple[int, ...]], **more: Any) -> str:
        """Text that sbatch would get from `array`."""
        work = self._elements(elements, **more)
        executor = self._executor(parameters, len(elements), _Offline)
        text: str = executor._make_submission_file_text(f"{self._element_command} {work.arguments}", "0")
        return text

    def array(self, parameters: dict[str, Any], elements: Sequence[tuple[int, ...]], **more: Any) -> str:
        """Queue one array, an element for each of these lists of slices; returns its job id.

        Other arguments are those of `ElementSpec`.
        """
        work = self._elements(elements, **more)
        return self._submit(parameters, len(elements), self._element_command, work)

    def merge(self, parameters: dict[str, Any]) -> str:
        """Queue the merge; returns its job id."""
        return self._submit(parameters, 1, self._merge_command, Work.of_merge(self._logs, self._document))

    def _elements(self, elements: Sequence[tuple[int, ...]], **more: Any) -> Work:
        more |= {"minutes": self._minutes, "manifest": self._manifest}
        specs = [ElementSpec(self._document, slices, **more) for slices in elements]
        return Work.of_elements(self._logs, specs)

    def _submit(self, parameters: dict[str, Any], count: int, command: str, work: Work) -> str:
        secure_logs(self._folder, self._trusted)
        work.write()
        # submitit writes the script. An interrupt of its own way of starting sbatch would leave that running.
        executor = self._executor(parameters, count)
        script: str = executor._make_submission_file_text(f"{command} {work.arguments}", "0")
        job = queue_script(script)
        # For people who look later. It may hold secrets of slurm.environment.
        with suppress(OSError, VmafarmError), Draft(self._logs / f"{job}_submission.sh", 0o600) as draft:
            draft.write(script.encode())
            draft.publish()
        return job

    def _executor(
        self, parameters: dict[str, Any], count: int, kind: type[submitit.SlurmExecutor] | None = None
    ) -> Any:
        executor = (kind or submitit.SlurmExecutor)(folder=self._logs)
        executor.update_parameters(**parameters)
        if count > 1:  # a single job is no array
            executor.parameters["map_count"] = count
        return executor


class _Offline(submitit.SlurmExecutor):
    """Writes scripts where there is no srun."""

    @classmethod
    def affinity(cls) -> int:
        """Usable, for submitit refuses to make one otherwise."""
        return 1


def absolute(config: Config) -> Config:
    """The configuration as it holds in any working folder."""
    root = str(Path(config.run.root).absolute())
    return config.model_copy(update={"run": config.run.model_copy(update={"root": root})})
