"""The record of a submission: what it holds, and how it comes back from disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmafarm.common.errors import UsageError
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import (
    Array,
    Submission,
    new_submission,
    next_number,
    note_job,
    read_submissions,
    run_job_name,
)


def make_submission(number=1, slices=(3, 7, 8, 9)):
    elements = tuple((number,) for number in slices)
    return Submission(
        number, "vmafarm-demo-0123456789", elements, "1.0", "", "", "ffmpeg", {"slurm.time": 60}
    )


def test_runs_of_one_name_in_two_folders_have_jobs_of_two_names(tmp_path, monkeypatch):
    here, there = RunFolder(tmp_path / "a", "demo"), RunFolder(tmp_path / "b", "demo")
    assert run_job_name(here, "sha256:1") != run_job_name(there, "sha256:1")
    assert run_job_name(here, "sha256:1") != run_job_name(here, "sha256:2")
    monkeypatch.chdir(tmp_path)
    assert run_job_name(RunFolder(Path("a"), "demo"), "sha256:1") == run_job_name(here, "sha256:1")
    assert run_job_name(here, "sha256:1").startswith("vmafarm-demo-")


def test_a_run_has_one_name_whatever_path_leads_to_it(tmp_path):
    """Otherwise a status or a retry from another folder would not find its jobs."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to("runs")
    paths = ("runs", "link", "runs/../link")
    assert len({run_job_name(RunFolder(tmp_path / path, "demo"), "sha256:1") for path in paths}) == 1


def test_an_index_leads_to_its_slices_in_the_first_round_and_to_a_share_later():
    arrays = (Array("11", 0, 0, 2), Array("12", 0, 2, 1), Array("14", 1, 0, 2))
    submission = Submission(
        1, "n", ((3,), (7, 9), (8,)), "1.0", "", "", "ffmpeg", {}, arrays=arrays, merge_job="15"
    )
    assert submission.slices == (3, 7, 8, 9)
    assert [submission.slices_of("11", i) for i in range(2)] == [(3,), (7, 9)]
    assert submission.slices_of("12", 0) == submission.slices_of("12", None) == (8,)
    assert [submission.slices_of("14", i) for i in range(2)] == [(3, 8), (7, 9)]
    assert submission.slices_of("15", None) == submission.slices_of("99", 0) == ()
    assert submission.jobs() == ["11", "12", "14", "15"]


def test_the_record_is_read_back_completely_and_its_immutable_part_does_not_change(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    assert read_submissions(folder) == []
    new_submission(folder, make_submission())
    record = folder.submissions / "00001.json"
    before = record.read_bytes()
    assert json.loads(before)["elements"] == [[3], [7], [8], [9]]
    assert read_submissions(folder) == [make_submission()]
    array = Array("11", 0, 0, 4)
    note_job(folder, 1, vars(array))
    assert read_submissions(folder)[0].arrays == (array,)
    note_job(folder, 1, {"merge_job": "12"})
    note_job(folder, 1, vars(Array("13", 1, 0, 4)))
    assert read_submissions(folder)[0].jobs() == ["11", "13", "12"]
    assert record.read_bytes() == before


def test_all_rounds_and_looks_that_are_ever_queued_are_read(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    new_submission(folder, make_submission())
    arrays = [Array("1", 0, 0, 3), Array("2", 0, 3, 1), *(Array(str(n), n, 0, 4) for n in range(3, 13))]
    for array in arrays:
        note_job(folder, 1, vars(array))
    assert read_submissions(folder)[0].arrays == tuple(arrays)


def test_a_truncated_note_affects_no_other(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    new_submission(folder, make_submission())
    note_job(folder, 1, vars(Array("11", 0, 0, 4)))
    with (folder.submissions / "00001.jobs").open("ab") as file:
        file.write(b'{"job": "12", "rou')
    assert read_submissions(folder)[0].jobs() == ["11"]


def test_submissions_come_in_the_order_of_their_numbers(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    for number in (10, 2, 1):
        new_submission(folder, make_submission(number))
    assert [submission.number for submission in read_submissions(folder)] == [1, 2, 10]


def test_a_number_is_used_once_even_if_the_submission_died_before_its_record(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    assert [next_number(folder), next_number(folder)] == [1, 2]
    new_submission(folder, make_submission(2))
    assert next_number(folder) == 3
    assert [submission.number for submission in read_submissions(folder)] == [2]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([Array("9", 0, 0, 4)], "round 0 has 4 elements, expected at most 3"),
        ([Array("9", 0, 2, 2)], "round 0 has 4 elements, expected at most 3"),
        ([Array("9", 0, 5, 1)], "round 0 has 6 elements, expected at most 3"),
        ([Array("9", 0, 0, 2), Array("10", 0, 0, 2)], "round 0 has 4 elements, expected at most 3"),
        ([Array("9", 1, 0, 4_000_001)], "round 1 has 4,000,001 elements, expected at most 4"),
        ([Array("9", 1, 0, 4), Array("10", 1, 0, 1)], "round 1 has 5 elements, expected at most 4"),
        ([Array("9", 21, 0, 1)], "arrays.0.round: "),
        ([Array("9", 0, 0, 3), Array("9", 1, 0, 1)], "an array is listed twice"),
    ],
)
def test_an_array_of_more_elements_than_there_is_work_for_is_damage(tmp_path, lines, said):
    """Each reader loops over all elements: a few small lines would delay it for minutes."""
    folder = RunFolder(tmp_path, "r")
    new_submission(folder, Submission(1, "j", ((0, 3), (1,), (2,)), "", "", "", "", {}))
    for array in lines:
        note_job(folder, 1, vars(array))
    with pytest.raises(UsageError, match=f"or .jobs beside it, is damaged: {said}"):
        read_submissions(folder)


def test_arrays_that_share_the_work_are_read(tmp_path):
    folder = RunFolder(tmp_path, "r")
    new_submission(folder, Submission(1, "j", ((0, 3), (1,), (2,)), "", "", "", "", {}))
    arrays = (Array("9", 0, 0, 2), Array("10", 0, 2, 1), Array("11", 1, 0, 4))
    for array in arrays:
        note_job(folder, 1, vars(array))
    assert read_submissions(folder)[0].arrays == arrays
