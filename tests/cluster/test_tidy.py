"""A tidied run says the same as before, takes fewer files, and can be merged again to the same bytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support import command
from support.fake_slurm import FakeSlurm, finish, name_of, planned, write_log, write_record
from support.merge_helpers import Run, make_row
from support.terminal import pretend
from support.tidying import GOES, age, answers, files, finished, logs, merged_again, queried

from vmafarm.cluster import tidy as tidying
from vmafarm.cluster.slice_logs import slice_logs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import NothingToSubmitError, alone, submit
from vmafarm.cluster.tidy import Tidied, tidy
from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError, VmafarmError
from vmafarm.publish import deliver, examine
from vmafarm.published.up_to_date import read_delivered
from vmafarm.run import extract_missing
from vmafarm.run_folder.file_counts import JOURNALS
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.packed_logs import pack, packed_logs

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def run(cluster: FakeSlurm, tmp_path: Path) -> Run:
    """A published run of which nothing is queued any more."""
    return finished(tmp_path / "runs")


def refusal(kind: type[VmafarmError], run: Run) -> str:
    """Expect a refusal that changes nothing; returns its text."""
    before = files(run)
    for dry_run in (True, False):
        with pytest.raises(VmafarmError) as caught:
            tidy(run.config, dry_run=dry_run)
        assert isinstance(caught.value, kind)
    assert files(run) == before
    return str(caught.value)


def test_a_tidied_run_says_the_same_and_its_merge_makes_the_same_table(run: Run) -> None:
    before, rows, kept, packed = answers(run), queried(run), files(run), logs(run)
    found = tidy(run.config)
    assert answers(run) == before
    assert queried(run) == rows
    assert before["up to date"]
    assert merged_again(run) == before["table"]
    gone = kept.keys() - files(run).keys()
    assert gone == GOES | {f"logs/{name}" for name in packed}
    assert {name: kept[name] for name in kept.keys() - gone} == files(run)
    assert logs(run) == packed
    kinds = Counter(re.sub("[0-9a-f]{5,}|[0-9]+", "N", name) for name in packed)
    assert kinds == {
        "N_N_N_log.out": 4, "N_N_N_log.err": 4, "N_submission.sh": 5, "element-N.sh": 1,
        "elements-N.json": 3, "merge-N.json": 1,
    }  # fmt: skip
    assert (found.kept, found.logs) == ((), len(packed))
    assert run.folder.shard_folder(3).exists()


def test_clip_logs_of_an_earlier_version_count_as_before_and_their_empty_folders_go(run: Run) -> None:
    before = answers(run)
    for log in list(run.folder.clip_logs.iterdir()):
        slice_name, _, name = log.name.partition(".")
        (run.folder.clip_logs / slice_name).mkdir(exist_ok=True)
        log.rename(run.folder.clip_logs / slice_name / name)
    (run.folder.clip_logs / "slice-00099").mkdir()
    assert answers(run) == before
    found = tidy(run.config)
    assert answers(run) == before
    assert found.after.files[JOURNALS] == 1, "the other journals' entries are in their writers' logs"
    assert sorted(path.name for path in run.folder.clip_logs.iterdir()) == [
        "slice-00000", "slice-00001", "slice-00002",
    ]  # fmt: skip


def test_run_has_nothing_to_do_and_retry_nothing_to_submit(run: Run) -> None:
    tidy(run.config)
    assert not extract_missing(run.config, load_manifest(run.folder))
    assert read_delivered(run.config) is not None
    with pytest.raises(NothingToSubmitError):
        submit(run.config, Slurm(), again=True)
    examine(run.config, lambda line: None)  # which writes into the record
    assert read_delivered(run.config) is not None
    deliver(run.config, lambda line: None)
    assert json.loads(run.folder.merge_record.read_text())["tidied"] == []


def test_frames_stay_and_are_counted_but_drafts_beside_them_go(run: Run) -> None:
    folder = run.folder.frames / "slice-00000"
    (run.folder.frames / "slice-00001").mkdir(parents=True)
    folder.mkdir()
    for name in ("w.parquet", "killed.journal", ".w.parquet.17.0123abcd.tmp"):
        (folder / name).write_bytes(b"1234")
    age(folder / ".w.parquet.17.0123abcd.tmp")
    found = tidy(run.config)
    assert sorted(path.name for path in folder.iterdir()) == ["killed.journal", "w.parquet"]
    assert not (run.folder.frames / "slice-00001").exists()
    assert (found.after.files["frames"], found.after.bytes["frames"]) == (2, 8)
    assert re.search(r"^frames +2 +2 +8 bytes +8 bytes$", "\n".join(found.lines()), re.MULTILINE)


def test_tidying_twice_does_nothing_more(run: Run) -> None:
    first = tidy(run.config)
    before = files(run), packed_logs(run.folder), run.folder.merge_record.read_bytes()
    again = tidy(run.config)
    assert (files(run), packed_logs(run.folder), run.folder.merge_record.read_bytes()) == before
    assert again.after == again.before
    assert (first.archive, again.archive) == (packed_logs(run.folder)[0], None)


def test_a_dry_run_counts_what_goes_and_changes_nothing(run: Run) -> None:
    before = files(run)
    times = {path: path.stat().st_ctime_ns for path in run.folder.root.rglob("*")}
    told = tidy(run.config, dry_run=True)
    assert files(run) == before
    assert {path: path.stat().st_ctime_ns for path in run.folder.root.rglob("*")} == times
    done = tidy(run.config)
    assert told.before == done.before
    assert told.after.files | {"logs, scripts": 1} == done.after.files
    assert told.logs == done.logs
    for kind in ("shards", "journals", "markers", "drafts", "all else"):
        assert told.after.bytes[kind] == done.after.bytes[kind]


def test_the_archive_is_for_this_user_alone(run: Run) -> None:
    run.folder.logs.chmod(0o755)
    old = os.umask(0)
    try:
        found = tidy(run.config)
    finally:
        os.umask(old)
    assert found.archive is not None
    assert stat.S_IMODE(found.archive.stat().st_mode) == 0o600
    assert stat.S_IMODE(run.folder.logs.stat().st_mode) == 0o700


def test_logs_of_a_later_submission_get_an_archive_of_their_own(run: Run) -> None:
    tidy(run.config)
    packed = logs(run)
    write_log(run, "99_0", "err", "later\n")
    found = tidy(run.config)
    assert [path.name for path in packed_logs(run.folder)] == ["packed-00001.tar.gz", "packed-00002.tar.gz"]
    assert found.archive == packed_logs(run.folder)[1]
    assert logs(run) == packed | {"99_0_0_log.err": b"later\n"}


def test_a_log_that_grows_meanwhile_is_packed_and_stays(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_log(run, "99_0", "err", "first\n")

    def pack_and_write(*arguments: Any) -> Any:
        made = pack(*arguments)
        with path.open("a") as file:
            file.write("second\n")
        return made

    monkeypatch.setattr(tidying, "pack", pack_and_write)
    found = tidy(run.config)
    assert path.read_text() == "first\nsecond\n"
    assert found.kept == ("logs/99_0_0_log.err: it has changed meanwhile",)


# What is refused


def test_a_run_without_a_table_keeps_everything(cluster: FakeSlurm, tmp_path: Path) -> None:
    run = planned(tmp_path / "runs", 2)
    finish(run, 0, 1)
    write_log(run, "11_0", "err", "x\n")
    assert "vmafarm merge --run demo" in refusal(IncompleteError, run)


def test_rows_since_the_merge_a_changed_table_or_a_missing_card_keep_everything(run: Run) -> None:
    table, record = run.folder.table.read_bytes(), run.folder.merge_record.read_bytes()
    run.folder.table.write_bytes(table[:-1] + b"x")
    assert "has no table that is complete, unchanged and up to date" in refusal(IncompleteError, run)
    run.folder.table.write_bytes(table)
    run.folder.merge_record.write_bytes(record.replace(b'"delivered": true', b'"delivered": false'))
    refusal(IncompleteError, run)
    run.folder.merge_record.write_bytes(record)
    path = run.shard([make_row("c0000.mp4")], 0, "later")
    refusal(IncompleteError, run)
    path.unlink()
    tidy(run.config, dry_run=True)


def test_a_table_without_some_clips_keeps_everything(cluster: FakeSlurm, tmp_path: Path) -> None:
    """Its logs say why these clips are missing."""
    run = planned(tmp_path / "runs", 2)
    quick = run.config.merge.model_copy(update={"checks": False})
    run.config = run.config.model_copy(update={"merge": quick})
    finish(run, 0)
    deliver(run.config, lambda line: None, allow_missing=True)
    refusal(IncompleteError, run)


def test_a_table_in_which_checks_found_errors_keeps_everything(run: Run) -> None:
    record = json.loads(run.folder.merge_record.read_text())
    record["qa"] = {"mos": {"severity": "error", "result": "found", "count": 1, "message": "expected 1"}}
    run.folder.merge_record.write_text(json.dumps(record))
    assert "checks found errors in the table: mos" in refusal(IncompleteError, run)


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED"])
def test_while_a_job_waits_or_runs_everything_stays(cluster: FakeSlurm, run: Run, state: str) -> None:
    cluster.set_queue((name_of(run), f"12|12|N/A|{state}|Dependency|"))
    assert 'jobs of "demo" wait or run: 12' in refusal(UsageError, run)


def test_while_it_is_unknown_whether_jobs_run_everything_stays(
    cluster: FakeSlurm, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.fail("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    refusal(UnavailableError, run)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no SLURM" in refusal(UnavailableError, run)


def test_a_run_that_was_never_submitted_needs_no_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = planned(tmp_path / "runs", 2)
    quick = run.config.merge.model_copy(update={"checks": False})
    run.config = run.config.model_copy(update={"merge": quick})
    finish(run, 0, 1)
    write_log(run, "4711", "out", "a local element\n")
    deliver(run.config, lambda line: None)
    assert tidy(run.config).logs == 1


def test_a_submission_at_work_keeps_it_out(run: Run) -> None:
    with alone(run.folder), pytest.raises(UsageError, match="submit or retry of"):
        tidy(run.config)


# What others have put there


def test_what_is_not_known_stays_and_is_named(run: Run) -> None:
    strange = [
        run.folder.logs / "notes.txt",
        run.folder.shard_folder(0) / "notes.txt",
        run.folder.logs / ".11_0.tmp",
    ]
    for path in strange:
        path.write_text("mine")
    young = run.folder.shard_folder(0) / ".w.parquet.18.0123abcd.tmp"
    young.write_text("half")
    found = tidy(run.config)
    assert [path.read_text() for path in (*strange, young)] == ["mine"] * 3 + ["half"]
    assert sorted(found.kept) == [
        "logs/.11_0.tmp: not the name of a log or a script",
        "logs/notes.txt: not the name of a log or a script",
        "shards/slice-00000/.w.parquet.18.0123abcd.tmp: perhaps still being written",
        "slice-00000/notes.txt: neither shard, journal nor .done",
    ]


def test_links_fifos_and_folders_are_not_followed(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("x.done", "log", ".a.17.0123abcd.tmp"):
        (mine / name).write_text("mine")
        age(mine / name)
    (run.folder.logs / "98_0_0_log.out").symlink_to(mine / "log")
    os.mkfifo(run.folder.logs / "98_1_0_log.out")
    (run.folder.logs / "98_2_0_log.out").mkdir()
    (run.folder.shard_folder(0) / "x.done").symlink_to(mine / "x.done")
    os.mkfifo(run.folder.shard_folder(0) / "y.done")
    (run.folder.clip_logs / "slice-00099").symlink_to(mine)
    (run.folder.path / "merge_jobs").symlink_to(mine)
    told = tidy(run.config, dry_run=True)
    found = tidy(run.config)
    assert (told.kept, told.logs) == (found.kept, found.logs)
    assert {path.name: path.read_text() for path in mine.iterdir()} == dict.fromkeys(
        ("x.done", "log", ".a.17.0123abcd.tmp"), "mine"
    )
    assert (run.folder.logs / "98_0_0_log.out").is_symlink()
    assert sorted(why.partition(":")[0] for why in found.kept) == [
        "logs/98_0_0_log.out", "logs/98_1_0_log.out", "logs/98_2_0_log.out", "merge_jobs",
        "shards/slice-00000/x.done", "shards/slice-00000/y.done",
    ]  # fmt: skip


def test_a_folder_that_takes_anothers_place_meanwhile_loses_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who may write the run moves a slice away, and puts a link to a folder of the user there."""
    mine, slice_folder = tmp_path / "mine", run.folder.shard_folder(0)
    shutil.copytree(slice_folder, mine)
    announce = tidying._announce

    def announce_and_swap(*arguments: Any) -> None:
        announce(*arguments)
        slice_folder.rename(tmp_path / "away")
        slice_folder.symlink_to(mine)

    monkeypatch.setattr(tidying, "_announce", announce_and_swap)
    with pytest.raises(OSError, match="slice-00000"):
        tidy(run.config)
    assert (mine / "w.done").exists()


# What people see


def test_logs_says_where_they_are(cluster: FakeSlurm, run: Run) -> None:
    before = slice_logs(run.config, Slurm(), 1, 5)
    tidy(run.config)
    after = slice_logs(run.config, Slurm(), 1, 5)
    (archive,) = packed_logs(run.folder)
    name = f"{after.tasks[0].name}_0_log.err"
    assert (after.tasks, after.failures, after.missing) == (before.tasks, before.failures, before.missing)
    note = f"logs are packed: tar -xzOf {archive} {name} prints one"
    assert after.notes == (*before.notes, note)
    assert logs(run)[name].startswith(b"slice 1, err\n")
    (run.folder.elements / f"{after.tasks[0].name.replace('_', '-')}-node1-10.jsonl").unlink()
    lost = slice_logs(run.config, Slurm(), 1, 5)
    assert [task.state for task in lost.tasks] == ["not started"]
    assert lost.notes[-1] == note


def test_logs_of_a_run_on_one_machine_are_listed(tmp_path: Path) -> None:
    run = planned(tmp_path / "runs", 1)
    write_record(run, "local", None, [0])
    run.folder.logs.mkdir()
    archive = run.folder.logs / "packed-00001.tar.gz"
    archive.touch()
    found = slice_logs(run.config, None, 0, 5)
    assert found.notes == (f"logs are packed: tar -tzf {archive} lists them",)


def test_the_table_fits_60_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 60)
    (run.folder.logs / "notes.txt").write_text("mine")
    big = 10**12 + 17
    for found in (tidy(run.config, dry_run=True), tidy(run.config)):
        lines = found.lines()
        assert max(len(line) for line in lines if str(run.folder.root) not in line) <= 60
        assert [line.split("  ")[0] for line in lines[1:9]] == [
            "logs, scripts", "shards", "journals", "markers", "drafts", "all else", "in all", "folders",
        ]  # fmt: skip
        wide = found.before.without("shards", -100_000_000, -big)
        more = Tidied(wide, wide, None, 0, (), dry_run=False).lines()
        assert max(map(len, more)) <= 60


def test_the_command_tidies_up(run: Run, tmp_path: Path) -> None:
    options = ("--set", f"run.root={run.folder.root}", "--run", "demo", "--set", "merge.checks=false")
    said = command.call("tidy", "--dry-run", *options, cwd=tmp_path).stdout
    assert said.splitlines()[-1].split("  ", 1)[1].strip() == "nothing was changed (--dry-run)"
    said = command.call("tidy", *options, cwd=tmp_path).stdout
    assert f"logs          {run.folder.logs}/packed-00001.tar.gz" in said.splitlines()
    run.folder.table.unlink()
    refused = command.call("tidy", *options, cwd=tmp_path, status=1)
    assert refused.stderr.startswith('error: "demo" has no table')
