"""How many processors a process may use."""

from __future__ import annotations

import os

import pytest

from vmafarm.common.cpus import cpu_count
from vmafarm.config.workers import worker_count


@pytest.mark.parametrize(
    ("given", "affinity", "expected"),
    [
        (None, 16, 16),
        ("4", 16, 4),  # TaskPlugin=task/none: the mask shows the whole node
        ("16", 4, 4),
        ("", 16, 16),
        ("two", 16, 16),
        ("0", 16, 1),
        ("\N{SUPERSCRIPT TWO}", 16, 16),
    ],
)
def test_an_element_takes_what_slurm_gave_it_and_not_the_whole_node(monkeypatch, given, affinity, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    if given is not None:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert cpu_count() == expected
    assert worker_count("auto", 2) == max(1, expected // 2)
