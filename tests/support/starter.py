"""containers/element.sh on a compute node that tests make up."""

from __future__ import annotations

import os
import subprocess

from vmafarm.common.package import data_folder
from vmafarm.images.command import STARTER, starter_command

SCRIPT = data_folder("containers") / STARTER


class Node:
    """A compute node with fakes of SLURM's programs, and a run's folder."""

    def __init__(self, folder):
        self.folder = folder
        self.run = folder / "it's a run"
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.run.mkdir()
        self.answer("squeue", "echo 12; echo 12; echo 13")
        self.answer("scontrol", "exit 0")

    def answer(self, program, script):
        path = self.programs / program
        path.write_text(f'#!/bin/sh\necho "{program} $*" >> "{self.folder}/calls"\n{script}\n')
        path.chmod(0o755)

    @property
    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def mark(self, *nodes):
        (self.run / "broken_nodes").mkdir(exist_ok=True)
        for node in nodes:
            (self.run / "broken_nodes" / node).write_text("2025-03-01T00:00:00+00:00\nno driver\n")

    @property
    def broken(self):
        folder = self.run / "broken_nodes"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def command(self, *words, options=()):
        given = ["--run", str(self.run), "--name", "vmafarm-x", "--pause", "0", *options]
        return [*starter_command(SCRIPT), *given, "--", *words]

    def environment(self, node="node1"):
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        slurm = {"SLURMD_NODENAME": node, "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "3"}
        return {**os.environ, "PATH": path, **slurm}

    def start(self, *words, options=(), node="node1"):
        return subprocess.run(
            self.command(*words, options=options), env=self.environment(node), capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip


NODES = """node1 32 64000 gpu:1 (null)
node2 32 64000 gpu:1 (null)
node3 32 64000 gpu:1 nvme"""


def look(node, nodes=NODES, exclude="", there="node1"):
    """Start an element behind which job 77 is to look at the same clips on another node."""
    submissions = node.run / "submissions"
    submissions.mkdir(exist_ok=True)
    file = submissions / "00001.look"
    file.write_text("77\n")
    node.answer("sinfo", f"cat <<'END'\n{nodes}\nEND")
    node.answer("scontrol", 'case "$*" in "show hostnames "*) shift 2; echo "$*" | tr , "\\n" ;; esac')
    options = ("--next-look", str(file), *(("--exclude", exclude) if exclude else ()))
    assert node.start("true", options=options, node=there).returncode == 0
    return [call for call in node.calls if call.startswith("scontrol update")]
