"""Elements that ran another image than their submission's are a note of the status."""

from __future__ import annotations

import json

import pytest
from support.fake_slurm import finish, name_of, planned, write_record

from vmafarm.cluster.status import read_status
from vmafarm.merging.record import describe_making
from vmafarm.run_folder.submissions import Array, Submission, new_submission, note_job

SUBMITTED, OTHER = (f"sha256:{digits * 32}" for digits in ("0a", "1b"))


@pytest.fixture
def run(tmp_path):
    run = planned(tmp_path / "runs", 3)
    elements = ((0,), (1,), (2,))
    new_submission(run.folder, Submission(1, name_of(run), elements, "1", "/x.sif", SUBMITTED, "ffmpeg", {}))
    note_job(run.folder, 1, vars(Array("11", 0, 0, 3)))
    finish(run, 0, 1, 2)
    return run


def notes(run):
    return [note for note in read_status(run.config, None).notes if "another image" in note]


def test_elements_that_ran_another_image_are_a_note(run):
    write_record(run, "11", 0, [0], image_digest=SUBMITTED)
    write_record(run, "11", 1, [1], image_digest=OTHER, node="node7")
    write_record(run, "99", 2, [2], image_digest=OTHER)
    (note,) = notes(run)
    assert note.startswith("1 element ran another image than the submitted one, the last on node7: ")
    assert f"{OTHER[:19]}..., expected {SUBMITTED[:19]}..." in note
    assert describe_making(run.folder, run.config, [])["images"] == [SUBMITTED, OTHER]


@pytest.mark.parametrize("digest", [SUBMITTED, ""])
def test_the_submitted_image_and_none_that_is_known_are_no_note(run, digest):
    write_record(run, "11", 0, [0], image_digest=digest)
    assert notes(run) == []
    assert describe_making(run.folder, run.config, [])["images"] == [SUBMITTED]


def test_a_record_of_an_earlier_version_is_still_read(run):
    write_record(run, "11", 0, [0])
    path = next(run.folder.elements.glob("11-0*"))
    assert all("image_digest" not in json.loads(line) for line in path.read_text().splitlines())
    assert notes(run) == []
    assert read_status(run.config, None).elements == {"COMPLETED": 1}
