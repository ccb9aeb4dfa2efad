"""A merge and what it was planned with: manifest, provenance, and runs without rows."""

from __future__ import annotations

import dataclasses
import errno
import os

import pytest
from support.merge_helpers import make_row, plan_run
from support.merges import CLIPS, finish, refuse

from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.shards import lost_provenance as restore


def test_run_that_was_not_planned_is_wrong_use(run):
    run.folder.manifest.unlink()
    with pytest.raises(UsageError, match="not planned"):
        finish(run)


def test_damaged_manifest_is_wrong_use(run):
    run.folder.manifest.write_bytes(run.folder.manifest.read_bytes()[:-9])
    with pytest.raises(UsageError, match="manifest"):
        finish(run)


def test_manifest_with_damaged_data_is_named(run):
    run.shard([make_row(clip) for clip in CLIPS])
    content = bytearray(run.folder.manifest.read_bytes())
    content[10:40] = b"\xff" * 30
    run.folder.manifest.write_bytes(content)
    with pytest.raises((UsageError, UnavailableError), match="manifest"):
        finish(run)


def test_a_manifest_of_another_corpus_is_reported(run, tmp_path):
    run.shard([make_row(clip) for clip in CLIPS])
    other = plan_run(tmp_path / "other", CLIPS[:9])
    run.folder.manifest.write_bytes(other.folder.manifest.read_bytes())
    (error,) = refuse(run, "provenance")
    assert other.provenance.manifest in error["message"]


def test_run_without_any_row_says_so(run):
    refuse(run, "no_rows", "missing")
    run.folder.provenance.unlink()
    _, error = refuse(run, "no_rows", "missing")
    assert "Not tried yet: 10" in error["message"]


def test_corpus_of_nothing_but_bad_clips_has_no_table_and_each_clip_with_its_reason(run):
    for clip in CLIPS:
        run.fail(clip)
    run.folder.shards.mkdir(exist_ok=True)
    for allowed in ({}, {"allow_missing": True}, {"max_failed_share": 1.0}):
        with pytest.raises(IncompleteError) as caught:
            finish(run, **allowed)
        assert "[no_rows]" in caught.value.message
        assert f"  {CLIPS[0]}: decode_error: cannot take {CLIPS[0]}" in caught.value.message
        assert not run.folder.table.exists()


def test_run_whose_rows_are_all_missing_publishes_nothing_even_if_allowed(run):
    run.shard([])
    refuse(run, "no_rows", allow_missing=True)


def test_a_provenance_that_an_element_freezes_meanwhile_was_not_lost(run, monkeypatch):
    run.shard([make_row(clip) for clip in CLIPS])
    run.folder.provenance.unlink()
    agreed = restore._agreed

    def late(*arguments):
        run.folder.provenance.write_text(run.provenance.as_json() + "\n")
        return agreed(*arguments)

    monkeypatch.setattr(restore, "_agreed", late)
    assert restore.restore_provenance(run.folder) == 0


def test_a_lost_provenance_is_not_that_of_the_next_engine_while_rows_cannot_be_read(run, monkeypatch):
    shard = run.shard([make_row(clip) for clip in CLIPS])
    run.folder.provenance.unlink()

    def closed(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(restore, "open_sealed", closed)
    with pytest.raises(UnavailableError, match="the rows that say what it held cannot be read") as caught:
        restore.restore_provenance(run.folder)
    assert f"{shard}: Permission denied" in caught.value.message
    monkeypatch.setattr(type(shard), "iterdir", closed)
    with pytest.raises(UnavailableError, match=r"shards cannot be read: Permission denied"):
        restore.restore_provenance(run.folder)
    assert not run.folder.provenance.exists()


@pytest.mark.parametrize("how", ["lost", "damaged", "link"])
def test_a_provenance_that_was_lost_or_damaged_is_made_anew_from_shards_and_journals(run, how):
    run.shard([make_row(clip) for clip in CLIPS[:4]])
    run.journal([make_row(clip) for clip in CLIPS[4:]], writer="killed")
    if how == "lost":
        run.folder.provenance.unlink()
    elif how == "link":
        run.folder.provenance.unlink()
        run.folder.provenance.symlink_to("gone")
    else:
        run.folder.provenance.write_text(run.provenance.as_json()[:100])
    result = finish(run)
    assert read_provenance(run.folder.provenance) == run.provenance
    (warning,) = [finding for finding in result.findings if finding.name == "provenance"]
    assert (warning.severity, warning.count) == ("warn", 2)
    assert "was rebuilt from 2 files of rows, which all agree" in warning.message
    assert result.inputs_sha256 == finish(run).inputs_sha256


def test_shards_that_do_not_agree_make_no_provenance_anew(run):
    other = dataclasses.replace(run.provenance, engine_version="other")
    run.shard([make_row(clip) for clip in CLIPS])
    run.shard([make_row(CLIPS[0])], writer="x", provenance=other)
    run.folder.provenance.unlink()
    with pytest.raises(UsageError, match=r"do not agree on what it said: .*engine_version: found 'other'"):
        finish(run)
    assert not run.folder.provenance.exists()


def test_shards_of_another_manifest_make_no_provenance_anew(run):
    other = dataclasses.replace(run.provenance, manifest="sha256:00")
    run.shard([make_row(clip) for clip in CLIPS], provenance=other)
    run.folder.provenance.unlink()
    with pytest.raises(UsageError, match=r"the manifest is sha256:.*, w\.parquet is of sha256:00"):
        finish(run)


def test_a_damaged_provenance_of_no_rows_is_to_be_removed(run):
    run.folder.provenance.write_text("{")
    with pytest.raises(UsageError, match="is damaged") as caught:
        finish(run)
    assert caught.value.hint.startswith("remove it")


def test_damaged_shards_without_the_run_s_provenance_are_not_published(run):
    run.shard([make_row(clip) for clip in CLIPS]).write_bytes(b"PAR1")
    run.folder.provenance.unlink()
    refuse(run, "provenance", "no_rows", "missing")


def test_an_allowed_check_that_does_not_exist_is_wrong_use(run):
    run.shard([make_row(clip) for clip in CLIPS])
    with pytest.raises(UsageError, match="no check 'audit'") as caught:
        finish(run, allow=["audit"])
    assert "did you mean audits" in caught.value.hint
