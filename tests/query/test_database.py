"""The tables of a run's database: every row that is on disk, once, and nothing that is damaged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
from support.merge_helpers import NAN, log_entry, make_row, plan_run
from support.queries import CLIPS, ask, refuse

from vmafarm.common.errors import UnavailableError
from vmafarm.merging.merge import merge
from vmafarm.query import clips_table, database
from vmafarm.query.clips_table import add_clips
from vmafarm.shards.listing import list_shards
from vmafarm.shards.recovery import recover
from vmafarm.shards.writer import ShardWriter


def test_a_run_that_is_not_merged_is_read_from_its_shards(run):
    found, said = ask(run, "SELECT clip_name, isnan(cambi_mean) FROM features ORDER BY ALL")
    assert found == [(CLIPS[0], False), (CLIPS[2], True)]
    assert said == ["features: 1 shard, not merged yet"]


def test_nan_is_found_among_numbers_whatever_the_statistics_say(run):
    run.shard([make_row(CLIPS[3], cambi_mean=NAN, cambi_std=NAN), make_row(CLIPS[1])],
              writer="v", write_statistics=True)  # fmt: skip
    assert ask(run, "SELECT count(*) FROM features WHERE isnan(cambi_mean)")[0] == [(2,)]


@pytest.mark.parametrize("broken", [True, False])
@pytest.mark.parametrize(("changes", "outcome"), [(1, [(3,)]), (99, UnavailableError)])
def test_shards_that_an_element_replaces_meanwhile_are_read_again(run, monkeypatch, changes, outcome, broken):
    scan = database._scan_shards
    scans = []

    def late(connection: duckdb.DuckDBPyConnection, *files: Any) -> int:
        scans.append(files)
        if len(scans) <= changes:
            run.shard([make_row(clip) for clip in (CLIPS[0], CLIPS[2], CLIPS[3])])
            if broken:
                raise duckdb.Error("TProtocolException: Invalid data")
        return scan(connection, *files)

    monkeypatch.setattr(database, "_scan_shards", late)
    if outcome is UnavailableError:
        assert "faster than they can be read" in refuse(run, "SELECT count(*) FROM features", outcome)
    else:
        assert ask(run, "SELECT count(*) FROM features")[0] == outcome


@pytest.mark.parametrize("name", ["a\\b", "a?b", "it's {{ 7*7 }} [1] % 🎬\n*"])
def test_a_scratch_folder_may_have_any_name(run, tmp_path, name):
    scratch = tmp_path / name
    scratch.mkdir()
    extract = run.config.extract.model_copy(update={"scratch": str(scratch)})
    run.config = run.config.model_copy(update={"extract": extract})
    assert ask(run, "SELECT count(*) FROM features")[0] == [(2,)]
    assert not list(scratch.iterdir())


def test_a_merged_run_is_read_from_its_table(run):
    run.shard([make_row(CLIPS[1]), make_row(CLIPS[3])], writer="v")
    merge(run.folder, run.config)
    for path in run.folder.shards.glob("*/*"):
        path.unlink()
    found, said = ask(run, "SELECT clip_name FROM features")
    assert [name for (name,) in found] == sorted(CLIPS, key=str.encode)
    assert said == [f"features: the final table, {run.folder.table}"]


def test_the_tables_have_the_columns_that_their_files_have(run):
    counts = {
        name: len(ask(run, f"DESCRIBE {name}")[0]) for name in ("features", "clips", "failures", "manifest")
    }
    assert counts == {"features": 48, "clips": 27, "failures": 9, "manifest": 5}
    assert ask(run, "SELECT DISTINCT clip_name, failure FROM failures")[0] == [(CLIPS[1], "decode_error")]
    assert ask(run, "SELECT count(*) FROM manifest ANTI JOIN features USING (clip_name)")[0] == [(2,)]


def test_rows_of_journals_count_and_so_do_their_entries_of_the_clip_log(run):
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    done = ShardWriter(run.folder, 0, "whole", run.provenance, 100)
    done.append(make_row(CLIPS[1]), log_entry(CLIPS[1], 1.0, "whole", 0, at))
    done.close()
    killed = ShardWriter(run.folder, 0, "killed", run.provenance, 100)
    killed.append(make_row(CLIPS[3]), log_entry(CLIPS[3], 1.0, "killed", 0, at))
    assert ask(run, "SELECT count(*) FROM features")[0] == [(4,)]
    found, _ = ask(run, "SELECT clip_name, writer FROM clips ORDER BY ALL")
    assert found == [(CLIPS[1], "whole"), (CLIPS[3], "killed")]
    assert ask(run, "SELECT DISTINCT finished_at FROM clips")[0] == [(at.replace(tzinfo=None),)]


def test_rows_and_entries_that_move_from_a_journal_meanwhile_are_there(run, monkeypatch):
    """A writer ends after the shards were listed, and before its journal is read; the same of clip logs."""
    row = make_row(CLIPS[3])
    journal = run.journal([row], writer="rows")

    def late_rows(*arguments):
        run.shard([row], writer="rows")
        journal.unlink()
        return recover(*arguments)

    monkeypatch.setattr(database, "recover", late_rows)
    assert ask(run, "SELECT count(*) FROM features")[0] == [(3,)]
    monkeypatch.undo()

    journal = run.journal([row], writer="entries")

    def late_entries(connection, folder, slices, say):
        def list_late(*arguments):
            run.log_clips({CLIPS[3]: 1.0}, writer="entries")
            journal.unlink()
            return list_shards(*arguments)

        monkeypatch.setattr(clips_table, "list_shards", list_late)
        add_clips(connection, folder, slices, say)

    monkeypatch.setattr(database, "add_clips", late_entries)
    assert ask(run, "SELECT clip_name, writer FROM clips")[0] == [(CLIPS[3], "entries")]


def test_damaged_files_are_left_out_and_reported(run):
    path = run.shard([make_row(CLIPS[3])], writer="v")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    run.clip_log(CLIPS[:1], 1).write_bytes(b"PAR1")
    (run.folder.failures / "z.jsonl").write_text('{"clip": 1}\n')
    found, said = ask(run, "SELECT count(*), (SELECT count(*) FROM clips) FROM features")
    assert found == [(2, 0)]
    text = "\n".join(said)
    for part in ("left out: slice-00000/v.parquet: cut or damaged", "clips: left out", "failures: 1 record"):
        assert part in text


def test_a_clip_with_several_rows_appears_once_and_is_reported(run):
    run.shard([make_row(CLIPS[0], vmaf_mean=1.0)], writer="v")
    found, said = ask(run, "SELECT count(*) FROM features WHERE clip_name = 'a.mp4'")
    assert found == [(1,)]
    assert "of clips with several rows one is taken, 1 are left out" in said[0]


def test_a_run_without_rows_has_empty_tables(tmp_path):
    run = plan_run(tmp_path / "runs", CLIPS)
    run.folder.provenance.unlink()
    for name in ("features", "clips", "failures"):
        assert ask(run, f"FROM {name}")[0] == []


def test_a_run_that_is_not_planned_is_wrong_use(run):
    run.folder.manifest.unlink()
    assert "is not planned" in refuse(run, "SELECT 1")


def test_a_full_scratch_folder_is_named_and_not_the_memory_blamed(run, tmp_path, monkeypatch):
    def fail(connection, config, outline, folder, *_, **options):
        raise duckdb.IOException(f'Could not write file "{folder}/run.duckdb": No space left on device')

    monkeypatch.setattr(database, "_fill", fail)
    with pytest.raises(UnavailableError, match=f"the scratch folder {tmp_path} has no space left"):
        ask(run, "SELECT 1")
