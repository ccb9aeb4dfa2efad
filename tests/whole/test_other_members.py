"""Another member of the group looks at a run: what may be read is shown, and what may not is named."""

from __future__ import annotations

import os
import sys

import pytest
from support.errors_document import documented
from support.fake_slurm import finish, name_of, planned, write_log, write_record
from support.members import OWNER, as_another, hand_over

from vmafarm import __main__ as command
from vmafarm import publish
from vmafarm.cluster.slice_logs import slice_logs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.status import read_status
from vmafarm.cluster.status_json import as_document
from vmafarm.common.errors import IncompleteError
from vmafarm.merging.merge import merge
from vmafarm.report.info import read_info
from vmafarm.run_folder.submissions import Array, Submission, new_submission, note_job

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
    pytest.mark.usefixtures("undrawn"),
]


@pytest.fixture
def run(tmp_path):
    """Three slices: two with their rows, one that failed; the merge job has not ended."""
    run = planned(tmp_path / "runs", 3)
    run.freeze()
    finish(run, 0, 1)
    elements = ((0,), (1,), (2,))
    new_submission(run.folder, Submission(1, name_of(run), elements, "1.0", "", "", "ffmpeg", {}))
    note_job(run.folder, 1, vars(Array("11", 0, 0, 3)))
    note_job(run.folder, 1, {"merge_job": "12"})
    for number in range(3):
        write_record(run, "11", number, [number])
    write_log(run, "11_2", "err", "boom\n")
    run.fail("c0002.mp4")
    publish.examine(run.config, lambda _: None)  # imports what another user could not
    run.folder.database.unlink()
    return run


class Queue:
    """SLURM with one running job, which only a query for its owner finds."""

    def __init__(self):
        self.calls = []

    def __call__(self, arguments):
        self.calls.append(list(arguments))
        owner = arguments[arguments.index("--user") + 1] if "--user" in arguments else ""
        return "13|11|2|RUNNING|None|node1\n" if arguments[0] == "squeue" and owner == OWNER else ""


def test_a_member_of_the_group_sees_the_status_of_the_owners_jobs(run, tmp_path):
    hand_over(tmp_path / "runs")
    queue = Queue()
    with as_another(tmp_path, member=True):
        status = read_status(run.config, Slurm(queue))
    assert (status.done, status.missing, status.states) == (2, 1, "ddr")
    assert status.working is True
    assert as_document(status)["merge"]["published"] is False
    assert not [note for note in status.notes if "permission" in note]


def test_the_logs_of_a_slice_are_told_without_those_that_are_private(run, tmp_path):
    hand_over(tmp_path / "runs")
    with as_another(tmp_path, member=True):
        found = slice_logs(run.config, None, 2, 20)
    assert found.logs == {}
    assert len(found.failures) == 2
    assert found.notes[-1] == (
        f"no permission to read {run.folder.logs}: "
        f"ask its owner ({OWNER}) for it, or for: chmod g+rx {run.folder.logs}"
    )


@pytest.mark.parametrize("name", ["submissions", "elements", "failures", "broken_nodes", "merge_jobs"])
def test_a_folder_that_may_not_be_read_is_a_note_of_the_status(run, tmp_path, name):
    folder = run.folder.path / name
    folder.mkdir(exist_ok=True)
    hand_over(tmp_path / "runs")
    folder.chmod(0o700)
    with as_another(tmp_path, member=True):
        status = read_status(run.config, Slurm(Queue()))
    assert status.done == 2
    assert [note for note in status.notes if "permission" in note] == [
        f"no permission to read {folder}: ask its owner ({OWNER}) for it, or for: chmod g+rx {folder}"
    ]
    if name == "submissions":
        assert (status.states, status.missing_slices, status.working) == ("ddu", "", None)


@pytest.mark.parametrize(
    ("pattern", "what", "done"),
    [
        ("elements/*", "chmod g+r", 2), ("failures/*", "chmod g+r", 2),
        ("submissions/*.json", "chmod g+r", 2),
        ("shards/*/*.parquet", "chmod g+r", 0), ("clip_log/*", "chmod g+r", 2),
        ("shards/slice-00000", "chmod g+rx", 1),
    ],
)  # fmt: skip
def test_files_written_under_a_umask_of_077_are_named(run, tmp_path, pattern, what, done):
    hand_over(tmp_path / "runs")
    paths = sorted(run.folder.path.glob(pattern))
    for path in paths:
        path.chmod(0o700 if path.is_dir() else 0o600)
    with as_another(tmp_path, member=True):
        status = read_status(run.config, Slurm(Queue()))
    assert status.done == done
    (note,) = [note for note in status.notes if "permission" in note]
    assert note.startswith(
        f"no permission to read {paths[0]}: ask its owner ({OWNER}) for it, or for: {what} {paths[0]}"
    )
    assert not [note for note in status.notes if "damaged" in note]


def test_checks_run_on_what_may_be_read_and_name_the_rest(run, tmp_path):
    hand_over(tmp_path / "runs")
    (run.folder.failures / "h1.jsonl").chmod(0o600)
    (run.folder.shard_folder(1) / "w.parquet").chmod(0o600)
    said = []
    with as_another(tmp_path, member=True):
        outcomes = publish.examine(run.config, said.append)
    assert "missing" in [outcome.check.name for outcome in outcomes if outcome.is_error]
    told = "\n".join(said)
    for path in (run.folder.failures / "h1.jsonl", run.folder.shard_folder(1) / "w.parquet"):
        assert f"no permission to read {path}: ask its owner ({OWNER})" in told


@pytest.mark.parametrize("kind", ["shard", "journal"])
def test_a_merge_does_not_advise_to_move_away_rows_that_it_may_not_read(run, tmp_path, kind):
    path = run.folder.shard_folder(1) / "w.parquet"
    if kind == "journal":
        path = run.journal([], 2, "v")
    hand_over(tmp_path / "runs")
    path.chmod(0o600)
    with as_another(tmp_path, member=True), pytest.raises(Exception, match="no permission") as caught:
        merge(run.folder, run.config)
    assert f"no permission to read {path}" in str(caught.value)
    assert "move" not in str(caught.value).lower()


@pytest.mark.parametrize("verb", ["status", "status --json", "logs 2", "qa", "merge", "sql", "cancel"])
@pytest.mark.parametrize(("mode", "member"), [(0o700, True), (0o770, False)], ids=["umask 077", "no member"])
def test_a_run_that_may_not_be_read_is_one_message(run, tmp_path, verb, mode, member, monkeypatch, capsys):
    documented("a file of a run, or a folder above it, that this user has no permission to read")
    words = [*verb.split(), *(["SELECT 1"] if verb == "sql" else []), "--run", "demo"]
    monkeypatch.setattr(sys, "argv", ["vmafarm", *words])
    monkeypatch.chdir(tmp_path)
    hand_over(tmp_path / "runs", mode)
    with as_another(tmp_path, member=member):
        assert command._run() == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        f"error: no permission to read runs\n  ask its owner ({OWNER}) for it, or for: chmod g+rx runs\n"
    )


def test_a_folder_of_shards_that_may_not_be_read_is_one_message(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vmafarm", "merge", "--run", "demo"])
    monkeypatch.chdir(tmp_path)
    hand_over(tmp_path / "runs")
    run.folder.shard_folder(0).chmod(0o700)
    with as_another(tmp_path, member=True):
        assert command._run() == 3
    assert f"no permission to read {run.folder.shard_folder(0)}\n" in capsys.readouterr().err


def test_info_on_a_file_that_may_not_be_read_names_its_owner(run, tmp_path):
    shard = run.folder.shard_folder(0) / "w.parquet"
    hand_over(tmp_path / "runs", 0o700)
    with as_another(tmp_path, member=True), pytest.raises(Exception, match="no permission to read"):
        read_info(shard)


def test_an_unreadable_record_of_a_merge_is_a_note(run, tmp_path):
    with pytest.raises(IncompleteError):
        merge(run.folder, run.config)
    hand_over(tmp_path / "runs")
    run.folder.merge_record.chmod(0o600)
    with as_another(tmp_path, member=True):
        status = read_status(run.config, None)
    told = f"no permission to read {run.folder.merge_record}: ask its owner ({OWNER})"
    assert told in "\n".join(status.notes)
