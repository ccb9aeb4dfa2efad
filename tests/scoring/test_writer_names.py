"""What elements are called, and which clips they take under a limit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmafarm.process.node import job_label, writer_name
from vmafarm.scoring.clip import Clip
from vmafarm.scoring.todo import take_sample


@pytest.mark.parametrize(
    ("environment", "label"),
    [
        ({}, "local"),
        ({"SLURM_ARRAY_TASK_ID": "3"}, "local"),
        ({"SLURM_JOB_ID": ""}, "local"),
        ({"SLURM_JOB_ID": "12"}, "12-0-0"),
        ({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "2"}, "12-0-2"),
        # Of an array every element has a job id of its own; the array's is the one that users know.
        ({"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}, "12-3-0"),
        (
            {
                "SLURM_JOB_ID": "15",
                "SLURM_ARRAY_JOB_ID": "12",
                "SLURM_ARRAY_TASK_ID": "3",
                "SLURM_RESTART_COUNT": "1",
            },
            "12-3-1",
        ),
    ],
)
def test_a_label_names_job_element_and_restart_and_outside_of_slurm_what_was_given(environment, label):
    assert job_label(environment, "local") == label


def test_two_writers_of_one_element_have_two_names_of_safe_characters():
    names = {writer_name("12-3-1", "a host/with\nodd characters" * 5) for _ in range(50)}
    assert len(names) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in names)
    assert all(len(name) < 100 for name in names)
    assert all(name.startswith("12-3-1-a_host_with_odd") for name in names)


def test_a_sample_of_what_is_to_do_has_clips_of_all_sizes_in_the_order_given():
    todo = [Clip(f"{i}.mp4", Path(f"{i}.mp4"), 3.0, 0, 1000 if i < 90 else 10**6) for i in range(100)]
    chosen = take_sample(todo[::-1], 10)
    assert [clip.bytes for clip in chosen].count(10**6) == 1
    assert chosen == [clip for clip in todo[::-1] if clip in chosen]
    assert take_sample(todo[::-1], 1000) == todo[::-1]
