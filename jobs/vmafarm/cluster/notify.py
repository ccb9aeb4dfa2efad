"""Lines of a merge job's script that run ``slurm.notify``, outside of the image, whatever the merge's end."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict

from vmafarm.process.job_ids import on_cluster
from vmafarm.run_folder.merge_jobs import MergeJobRecord, merge_job_path, notified_path
from vmafarm.run_folder.paths import RunFolder

_SECONDS = 300
_JOB = "VMAFARM_JOB"


def lines_before(command: str) -> list[str]:
    """Keep the script alive when SLURM ends the job, at its time limit or by scancel, so that it can notify.

    SLURM sends SIGKILL ``KillWait`` seconds after SIGTERM, 30 by default.
    """
    return ["trap : TERM"] if command else []


def lines_after(command: str, folder: RunFolder, cluster: str = "") -> list[str]:
    """Run the command with the merge job's record on its standard input; the job's exit status stays.

    Parameters
    ----------
    command
        ``slurm.notify``; empty: no lines.
    folder
        The run.
    cluster
        ``slurm.cluster``, which is part of the job's id.
    """
    if not command:
        return []
    job = on_cluster(_JOB, cluster)
    folder = RunFolder(folder.root.absolute(), folder.name)
    record, failed = (_quoted(str(path(folder, job))) for path in (merge_job_path, notified_path))
    why = ("it left no record of its end: see its log",)
    lost = MergeJobRecord(job, "", "", "", "failed", why, folder.name, str(folder.table))
    return [
        "status=$?",
        f"record={record}",
        f"failed={failed}",
        # Others may write there: a FIFO must not keep the job, and no link must be followed.
        'said=$(timeout 60 head -c 1048576 "$record" 2>/dev/null)',
        'case $said in *\'"ended_at": "2\'*) ;;',
        f"*) said={_quoted(json.dumps(asdict(lost)))} ;;",
        "esac",
        f'printf "%s\n" "$said" | timeout {_SECONDS} sh -c {shlex.quote(command)} || {{',
        '  failure=$?; echo "slurm.notify failed: exit status $failure" >&2',
        '  rm -f "$failed"; (set -C && echo "$failure" > "$failed")',
        "}",
        "exit $status",
    ]


def _quoted(text: str) -> str:
    """Text for a shell, with the job's id in the place of `_JOB`."""
    quoted = "'" + text.replace("'", "'\"'\"'") + "'"  # always: shlex.quote leaves most paths as they are
    return quoted.replace(_JOB, "'\"$SLURM_JOB_ID\"'")
