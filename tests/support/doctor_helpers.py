"""What the tests of the doctor share: configurations, machines, and results by their names."""

from __future__ import annotations

from vmafarm.config.sections import Config
from vmafarm.doctor import Machine


def node(machine):
    """The same machine as a compute node, on which SLURM has started something."""
    return Machine({"SLURM_JOB_ID": "7"}, machine.driver, machine.build, machine.mounts)


def configure(tmp_path, **sections):
    """A configuration whose run root is a new folder."""
    root = tmp_path / "runs"
    root.mkdir(exist_ok=True)
    quick = {"kind": "ffmpeg", "plan": "identity"}
    return Config.model_validate({
        **sections,
        "run": {"root": str(root), "name": "demo"},
        "engine": quick | sections.get("engine", {}),
    })  # fmt: skip


def by_name(findings):
    assert len({found.name for found in findings}) == len(findings)
    return {found.name: found for found in findings}


def states(findings):
    return {found.name: found.state for found in findings}


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
