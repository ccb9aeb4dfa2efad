"""SLURM's programs as small scripts: they record their arguments and print what the test has set."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from support.merge_helpers import Run, make_row, plan_run

from vmafarm.config.secret_keys import recorded
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.process.finished import Finished
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.merge_jobs import MergeJobRecord, MergeOutcome, merge_job_path
from vmafarm.run_folder.submissions import (
    Array,
    Submission,
    new_submission,
    next_number,
    note_job,
    run_job_name,
)
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.scoring.handover import MODULE, as_spec, read_work

PROGRAMS = ("sbatch", "srun", "squeue", "sacct", "sacctmgr", "scontrol", "scancel", "sinfo")

_PROGRAM = """#!/bin/sh
state={state}
program=${{0##*/}}
echo "$program $*" >> "$state/calls"
export -p >> "$state/environment"
if [ -e "$state/late-$program" ]; then exec sleep 30; fi
if [ -e "$state/fail-$program" ]; then cat "$state/fail-$program" >&2; exit 1; fi
case $program in
  sbatch)
    read -r job < "$state/next"
    testing= parsable= cluster= file=
    for word; do
      case $word in
        --test-only) testing=yes ;;
        --parsable) parsable=yes ;;
        --clusters=*) cluster=${{word#*=}} ;;
        *) file=$word ;;
      esac
    done
    if [ -n "$testing" ]; then
      {{ cat; printf '\\f'; }} >> "$state/tested"
      if [ -e "$state/fail-test-only" ]; then cat "$state/fail-test-only" >&2; exit 1; fi
      echo "sbatch: Job $job to start at 2025-03-01T12:00:00 using 2 processors on nodes node1" >&2
      exit 0
    fi
    if [ -e "$state/fail-sbatch-$job" ]; then cat "$state/fail-sbatch-$job" >&2; exit 1; fi
    cat ${{file:+"$file"}} > "$state/scripts/$job.sh"  # without a file its standard input, as sbatch does
    echo $((job + 1)) > "$state/next"
    if [ -n "$parsable" ]; then echo "$job${{cluster:+;$cluster}}"
    else echo "Submitted batch job $job${{cluster:+ on cluster $cluster}}"; fi ;;
  squeue)
    while [ $# -gt 0 ]; do
      if [ "$1" = --name ]; then name=$2; fi
      shift
    done
    while IFS='|' read -r owner line; do
      if [ "$owner" = "$name" ]; then printf '%s\\n' "$line"; fi
    done < "$state/queue" ;;
  sacct)
    case "$*" in
      *Elapsed*) cat "$state/usage" ;;
      *) cat "$state/accounting" ;;
    esac ;;
  sacctmgr)
    case "$*" in
      *" user "*) echo tests ;;
      *" assoc "*) cat "$state/associations" ;;
      *" qos "*) cat "$state/qos" ;;
    esac ;;
  scontrol)
    case "$*" in
      "show hostnames "*) shift 2; echo "$*" | tr , '\\n' ;;
      *) echo "Configuration data"; cat "$state/config" ;;
    esac ;;
  sinfo)
    case "$*" in
      *--all*--partition*|*--partition*--all*)
        echo "sinfo: error: Conflicting options, -a and -p, specified." >&2; exit 1 ;;
      *--Node*) cat "$state/nodes" ;;
      *) cat "$state/partitions" ;;
    esac ;;
esac
"""


class FakeSlurm:
    """A cluster that queues everything and runs nothing.

    Parameters
    ----------
    folder
        A new folder for the programs and what they know.

    Attributes
    ----------
    programs
        Folder to be put in front of PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "programs"
        self._state = folder / "state"
        self.programs.mkdir(parents=True)
        (self._state / "scripts").mkdir(parents=True)
        for name in PROGRAMS:
            self.add_program(name, _PROGRAM.format(state=shlex.quote(str(self._state))))
        for name in ("calls", "queue", "accounting", "usage", "associations", "qos", "tested", "environment"):
            (self._state / name).touch()
        self.set_next(11)
        self.set_max_array_size(1001)
        self.set_nodes("node1", "node2", "node3", "node4")
        self.set_partitions(
            "cpu|cpu*|infinite|32|8|(null)",
            "gpu|gpu|2-00:00:00|64|4|gpu:a100:4",
            "short|short|5:00|4|2|",
        )

    @property
    def path(self) -> str:
        """PATH with the programs in front."""
        return f"{self.programs}{os.pathsep}{os.environ['PATH']}"

    def add_program(self, name: str, script: str) -> None:
        """Put one more program into the folder, or another in its place."""
        (self.programs / name).write_text(script)
        (self.programs / name).chmod(0o755)

    def add_apptainer(self, says: str, status: int = 0, engine: str = "ffmpeg") -> None:
        """An ``apptainer`` that starts any image and prints this, with failure to its error output.

        Asked for the engine in the image, it prints that.
        """
        stream = 2 if status else 1
        script = f"""#!/bin/sh
case "$*" in
  *shutil*) echo {engine} ;;
  *) echo {shlex.quote(says)} >&{stream} ;;
esac
exit {status}
"""
        self.add_program("apptainer", script)

    def set_max_array_size(self, size: int) -> None:
        (self._state / "config").write_text(f"MaxArraySize            = {size}\nMaxJobCount = 10000\n")

    def set_partitions(self, *lines: str) -> None:
        """Lines as ``sinfo --format=%R|%P|%l|%c|%D|%G`` prints them."""
        (self._state / "partitions").write_text("".join(f"{line}\n" for line in lines))

    def set_nodes(self, *names: str, kind: str = "32|64000|(null)|(null)") -> None:
        """Nodes that take jobs now; a name may have a kind of its own behind a bar."""
        lines = [name if "|" in name else f"{name}|{kind}" for name in names]
        (self._state / "nodes").write_text("".join(f"{line}\n" for line in lines))

    def fail(self, program: str, message: str) -> None:
        """Have a program fail from now on; ``sbatch-12``: only when job 12 is submitted; ``test-only``."""
        (self._state / f"fail-{program}").write_text(f"{message}\n")

    def answer_late(self, program: str) -> None:
        (self._state / f"late-{program}").touch()

    def set_next(self, number: int) -> None:
        """Number of the next job."""
        (self._state / "next").write_text(f"{number}\n")

    def set_queue(self, *lines: tuple[str, str]) -> None:
        """Jobs that wait or run: job name, and a line of squeue's ``%A|%F|%K|%T|%r|%N``."""
        (self._state / "queue").write_text("".join(f"{name}|{line}\n" for name, line in lines))

    def set_accounting(self, *lines: str) -> None:
        """Lines of sacct's ``JobID|State|NodeList``."""
        (self._state / "accounting").write_text("".join(f"{line}\n" for line in lines))

    def set_usage(self, *lines: str) -> None:
        """Lines of sacct's ``JobID|State|Elapsed|TotalCPU|AllocCPUS|MaxRSS|ReqMem``."""
        (self._state / "usage").write_text("".join(f"{line}\n" for line in lines))

    def set_limits(self, *, associations: str = "|normal", qos: str = "normal|") -> None:
        """Answers of sacctmgr: ``MaxSubmitJobs|DefaultQOS`` and ``Name|MaxSubmitJobsPerUser``."""
        (self._state / "associations").write_text(f"{associations}\n")
        (self._state / "qos").write_text(f"{qos}\n")

    @property
    def calls(self) -> list[str]:
        """Command lines so far, programs without their folder."""
        return (self._state / "calls").read_text().splitlines()

    @property
    def variables(self) -> set[str]:
        """Names of all environment variables that the programs were started with."""
        text = (self._state / "environment").read_text()
        return set(re.findall(r"^export (\w+)", text, re.MULTILINE))

    @property
    def scripts(self) -> Mapping[str, str]:
        """Text of every submitted script by job id, in the order of submission."""
        paths = sorted((self._state / "scripts").glob("*.sh"), key=lambda path: int(path.stem))
        return {path.stem: path.read_text() for path in paths}

    @property
    def tested(self) -> list[str]:
        """Scripts that were judged, not queued, in their order."""
        return (self._state / "tested").read_text().split("\f")[:-1]

    def options(self, job: str) -> dict[str, str]:
        """Options of a submitted script: name to value, unquoted; "" for a flag."""
        lines = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", self.scripts[job], re.MULTILINE)
        return {name: "".join(shlex.split(value)) for name, value in lines}

    def work(self, job: str) -> dict[str, Any]:
        """What a submitted job is to do, as its process reads it."""
        (start,) = [line for line in self.scripts[job].splitlines() if line.startswith("srun ")]
        *_, option, module, path, digest = shlex.split(start)
        assert (option, module) == ("-m", MODULE)
        return read_work(Path(path), digest)

    def specs(self, job: str) -> list[ElementSpec]:
        """What the elements of a submitted array, or its only one, are to do."""
        work = self.work(job)
        return [as_spec(work, index) for index in range(len(work["elements"]))]


def ask_plainly(
    command: Sequence[str],
    *,
    seconds: float,
    given: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """As `vmafarm.process.run.ask`, but without its care for what a program leaves behind.

    That care takes a fork of this process and calls in the child: twenty times the CPU in a process as large
    as that of the tests.
    """
    began = time.monotonic()
    try:
        ended = subprocess.run(
            command, input=given, capture_output=True, timeout=seconds, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return Finished(-9, "", True, time.monotonic() - began)
    said, complained = (text.decode(errors="replace") for text in (ended.stdout, ended.stderr))
    return Finished(ended.returncode, complained, False, time.monotonic() - began, stdout=said)


def planned(root: Path, count: int = 5, **slurm: Any) -> Run:
    """A run of `count` slices of one clip each, with these keys of ``[slurm]``."""
    names = [f"c{number:04d}.mp4" for number in range(count)]
    clips = {"clips": str(root.parent / "clips"), "scores": str(root.parent / "scores.csv")}
    run = plan_run(root, names, count, corpus=clips)
    run.config = run.config.model_copy(update={"slurm": SlurmSection(**slurm)})
    return run


def submitted(root: Path, count: int = 5, *, canary: bool = False, **slurm: Any) -> Run:
    """A `planned` run with a submission of one array, job 11, of one element for each slice."""
    run = planned(root, count, **slurm)
    submit_again(run, "11", count, canary=canary)
    return run


def submit_again(run: Run, job: str, count: int, **more: Any) -> None:
    """One more submission of a run, of one array."""
    number = next_number(run.folder)
    elements = tuple((index,) for index in range(count))
    engine = "vmaf" if run.config.engine.backend == "cuda" else "ffmpeg"
    new_submission(
        run.folder,
        Submission(number, "vmafarm-demo", elements, "1", "", "", engine, recorded(run.config),
                   at="2025-03-01T10:20:30+00:00", **more),
    )  # fmt: skip
    note_job(run.folder, number, asdict(Array(job, 0, 0, count)))


def writer_of(job: str, index: int | None, node: str = "node1", minutes: float = 10) -> str:
    """Name of the writer whose record `write_record` writes."""
    return f"{job}-{index or 0}-{node}-{minutes}"


def finish(run: Run, *slices: int, writer: str = "w", seconds: float = 2.0) -> None:
    """Put the rows of these slices of a `planned` run in place, each of so many seconds."""
    for number in slices:
        name = f"c{number:04d}.mp4"
        run.shard([make_row(name)], number, writer)
        run.log_clips({name: seconds}, number, writer)


def name_of(run: Run) -> str:
    """Name of the run's jobs."""
    return run_job_name(run.folder, load_manifest(run.folder).digest)


def write_record(
    run: Run, job: str, index: int | None, slices: Sequence[int], *, minutes: float = 10,
    ended: bool = True, node: str = "node1", **result: Any,
) -> str:  # fmt: skip
    """What an element says of itself that began so many minutes ago; returns when that was."""
    at = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="milliseconds")
    writer = writer_of(job, index, node, minutes)
    lines: list[dict[str, Any]] = [
        {"writer": writer, "job": job, "index": index, "node": node, "slices": list(slices), "clips": 1,
         "started_at": at},
    ]  # fmt: skip
    if ended:
        lines.append({"ended_at": at, "seconds": 1.0, "done": 1, "exit_code": 0, "message": "", **result})
    run.folder.elements.mkdir(exist_ok=True)
    path = run.folder.elements / f"{writer}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return at


def write_merge_job(run: Run, job: str, outcome: MergeOutcome, *reasons: str, node: str = "node1") -> None:
    """What a merge job says of itself that has ended."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    run.folder.merge_jobs.mkdir()
    record = asdict(MergeJobRecord(job, node, at, at, outcome, reasons))
    merge_job_path(run.folder, job).write_text(json.dumps(record))


def write_log(run: Run, task: str, stream: str, text: str | bytes) -> Path:
    """Log of a task such as ``11_3``."""
    run.folder.logs.mkdir(exist_ok=True)
    path = run.folder.logs / f"{task}_0_log.{stream}"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def write_sif(path: Path) -> Path:
    """A file that begins as an Apptainer image does."""
    path.write_bytes(b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\x0001\0" + bytes(100))
    return path
