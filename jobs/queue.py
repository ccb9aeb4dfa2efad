"""Queues jobs through submitit: its executor with a run's folder, its Python and its pickles."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import submitit

from jobs.config import Config
from jobs.element import run_element
from jobs.errors import UsageError, VmafarmError, show
from jobs.interrupts import heard
from jobs.lifetime import ignore_early_notice
from jobs.trust import secure_logs
from jobs.work import ElementSpec


class Queue:
    """submitit's executor with this run's folder.

    Parameters
    ----------
    config
        As elements are to have it.
    element_command, merge_command
        What starts Python for an element and for the merge, each quoted for a shell.
    """

    def __init__(self, config: Config, element_command: str, merge_command: str) -> None:
        logs = config.folder.logs.absolute()
        for character, what in (
            ("%", "percent sign"), ("\\", "backslash"), ("\n", "line break"), ("\r", "carriage return"),
        ):  # fmt: skip
            if character in str(logs):
                raise UsageError(
                    f"the run folder's path contains a {what}, which sbatch cannot take: {show(str(logs))}",
                    "choose another run.root",
                )
        self._document = absolute(config).model_dump()
        self._minutes = config.slurm.time
        self._folder = config.folder
        self._logs = logs
        self._element_command = element_command
        self._merge_command = merge_command

    def script(self, parameters: dict[str, Any], count: int) -> str:
        """Text that sbatch would get."""
        executor = self._executor(parameters, self._element_command, _Offline)
        if count > 1:  # a single job is no array
            executor.parameters["map_count"] = count
        text: str = executor._make_submission_file_text(executor._submitit_command_str, "0")
        return text

    def array(self, parameters: dict[str, Any], elements: Sequence[tuple[int, ...]], **more: Any) -> str:
        """Queue one array, an element for each of these lists of slices; returns its job id."""
        specs = [ElementSpec(self._document, slices, minutes=self._minutes, **more) for slices in elements]
        secure_logs(self._folder)
        with redirect_stderr(io.StringIO()):  # submitit prints what the exception says too
            jobs = self._executor(parameters, self._element_command).map_array(run_element, specs)
        return str(jobs[0].job_id).partition("_")[0]

    def merge(self, parameters: dict[str, Any]) -> str:
        """Queue the merge; returns its job id."""
        secure_logs(self._folder)
        with redirect_stderr(io.StringIO()):
            job = self._executor(parameters, self._merge_command).submit(merge_on_node, self._document)
        return str(job.job_id)

    def _executor(
        self, parameters: dict[str, Any], command: str, kind: type[submitit.SlurmExecutor] | None = None
    ) -> Any:
        executor = (kind or submitit.SlurmExecutor)(folder=self._logs, python=command)
        executor.update_parameters(**parameters)
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


def merge_on_node(document: dict[str, Any]) -> None:
    """The merge as a job: publishes and checks if complete, and otherwise says in its log what is missing.

    Raises
    ------
    SystemExit
        Nothing was published, the checks found errors, or it was stopped: the job has failed, for mails and
        for whatever depends on it. submitit passes this on as it is, without a traceback.
    """
    from jobs.deliver import deliver

    ignore_early_notice()
    try:
        with heard():  # submitit would have the job pass over SIGTERM, until SLURM kills it
            deliver(Config.model_validate(document), lambda line: print(line, flush=True))
    except VmafarmError as error:
        print(error, flush=True)
        sys.exit(error.exit_code)
