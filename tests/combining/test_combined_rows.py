"""Tables of several corpora under each other: every row is there once, and the metadata says from where."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.combined import content, document, publish_run, put_together, rows
from support.command import call
from support.made_up import NASTY
from support.merge_helpers import NAN, make_row

from vmafarm.combining.sources import read_hashes
from vmafarm.common.errors import UsageError
from vmafarm.disk import durable
from vmafarm.published.combined import read_combined
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.schema.features import ARROW_SCHEMA, COLUMNS

K150K = {"a.mp4": 1.0, "b.mp4": 3.0, "ä.mp4": 5.0}
LIVE = {"b.mp4": 20.0, "c.mp4": 40.0, "B.mp4": 80.0}


def test_each_row_of_all_tables_is_there_with_its_corpus_in_the_order_of_the_bytes(runs: Path) -> None:
    out = runs / "all.parquet"
    put_together(out, "live", "k150k")
    names = [("k150k", "a.mp4"), ("k150k", "b.mp4"), ("k150k", "ä.mp4")]
    names += [("live", "B.mp4"), ("live", "b.mp4"), ("live", "c.mp4")]
    assert rows(out, "corpus", "clip_name") == names
    expected = [make_row(name, mos={"k150k": K150K, "live": LIVE}[corpus][name]) for corpus, name in names]
    found = rows(out, *COLUMNS)
    assert np.array_equal(
        np.array([row[1:] for row in found]), np.array([list(row.values())[1:] for row in expected]),
        equal_nan=True,
    )  # fmt: skip


def test_the_columns_are_the_48_with_the_corpus_behind_the_name(runs: Path) -> None:
    put_together(runs / "all.parquet", "k150k", "live")
    schema = pq.read_schema(runs / "all.parquet")
    assert schema.names == ["clip_name", "corpus", *COLUMNS[1:]]
    assert not any(field.nullable for field in schema)
    for name in COLUMNS:
        assert schema.field(name).type == ARROW_SCHEMA.field(name).type
    group = pq.ParquetFile(runs / "all.parquet").metadata.row_group(0)
    counted = [group.column(at).path_in_schema for at in range(49) if group.column(at).is_stats_set]
    assert counted == ["clip_name", "corpus"], "statistics of floats hide NaN from DuckDB"


def test_the_metadata_names_every_table_and_its_digest(runs: Path) -> None:
    put_together(runs / "all.parquet", "k150k", runs / "full_features_live.parquet")
    found = document(runs / "all.parquet")
    combined = read_combined(found)
    assert combined is not None
    for source, name, plan in zip(combined.sources, ("k150k", "live"), ("identity", "full"), strict=True):
        table = runs / f"full_features_{name}.parquet"
        assert (source.corpus, source.file) == (name, table.name)
        assert source.sha256 == hashlib.sha256(table.read_bytes()).hexdigest()
        assert (source.rows, source.used) == (3, 3)
        assert source.provenance == document(table)
        assert source.provenance["plan"] == plan
    assert str(runs) not in str(found)
    assert (found["engine"], found["plan"]) == ("ffmpeg", "identity, full")
    assert found["features"]["psnr_y"] == "measured", "one of them has measured it"
    assert found["features"]["ssimulacra2"] == "constant"


def test_a_name_in_two_corpora_is_kept_told_and_counted(runs: Path) -> None:
    said = put_together(runs / "all.parquet", "k150k", "live")
    assert rows(runs / "all.parquet", "clip_name").count(("b.mp4",)) == 2
    assert "names            1 name in several corpora" in said
    assert any(line.startswith("note             corpus and clip_name together") for line in said)
    assert document(runs / "all.parquet")["combined"]["names_in_several"] == 1


def test_the_same_tables_give_the_same_bytes_and_replace_an_earlier_answer(runs: Path) -> None:
    out = runs / "all.parquet"
    put_together(out, "k150k", "live")
    first = out.read_bytes()
    put_together(out, "k150k")
    assert len(rows(out, "clip_name")) == 3
    put_together(out, "k150k", "live")
    assert out.read_bytes() == first


def test_a_table_of_several_row_groups_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmafarm.combining.write.ROW_GROUP", 7)
    many = {f"{at:03}.mp4": 1 + at / 25 for at in range(50)}
    publish_run(tmp_path, "many", many)
    put_together(tmp_path / "all.parquet", "many")
    file = pq.ParquetFile(tmp_path / "all.parquet")
    assert file.metadata.num_row_groups == 8
    assert rows(tmp_path / "all.parquet", "clip_name", "mos") == list(many.items())


def test_two_sets_of_one_corpus_are_told_apart_by_their_clips_alone(runs: Path) -> None:
    publish_run(runs / "more", "k150k", {"z.mp4": 2.0})
    put_together(runs / "all.parquet", "k150k", runs / "more" / "full_features_k150k.parquet")
    assert {corpus for (corpus,) in rows(runs / "all.parquet", "corpus")} == {"k150k"}
    assert len(rows(runs / "all.parquet", "clip_name")) == 4


def test_a_label_can_be_chosen(runs: Path) -> None:
    put_together(runs / "all.parquet", "k150k", "live", names={"live": "LIVE-VQC = 1"})
    assert {corpus for (corpus,) in rows(runs / "all.parquet", "corpus")} == {"k150k", "LIVE-VQC = 1"}
    copy = runs / "a copy.parquet"
    copy.write_bytes((runs / "full_features_live.parquet").read_bytes())
    put_together(runs / "all.parquet", copy)
    assert {corpus for (corpus,) in rows(runs / "all.parquet", "corpus")} == {"a copy"}


def test_tables_of_several_engines_are_put_together_only_if_that_is_said(runs: Path) -> None:
    publish_run(runs, "fork", {"f.mp4": 2.0}, engine="vmaf", libvmaf_version="4")
    out = runs / "all.parquet"
    with pytest.raises(UsageError) as caught:
        put_together(out, "k150k", "fork", allow_mixed=["libvmaf_version"])
    assert "engine: ffmpeg (k150k) and vmaf (fork)" in caught.value.message
    assert "libvmaf_version" not in caught.value.message
    assert "--allow-mixed engine" in caught.value.hint
    assert not out.exists()
    put_together(out, "k150k", "fork", allow_mixed=["libvmaf_version", "engine"])
    found = document(out)
    assert found["combined"]["mixed"] == {"engine": ["ffmpeg", "vmaf"], "libvmaf_version": ["3", "4"]}
    assert found["engine"] == "ffmpeg, vmaf"


@pytest.mark.parametrize("key", ["engine", "engine_version", "libvmaf_version", "decoder_version", "backend"])
def test_what_determines_values_must_be_the_same(runs: Path, key: str) -> None:
    publish_run(runs, "other", {"f.mp4": 2.0}, **{key: "another"})
    with pytest.raises(UsageError, match=rf"  {key}: \w+ \(k150k\) and another \(other\)"):
        put_together(runs / "all.parquet", "k150k", "other")


def test_tables_of_another_rounding_are_mixed_only_if_that_is_said(runs: Path) -> None:
    out = runs / "all.parquet"
    put_together(out, "k150k")
    assert "decimals" not in document(out)
    publish_run(runs, "other", {"f.mp4": 2.0}, decimals=6)
    assert document(runs / "full_features_other.parquet")["decimals"] == 6
    with pytest.raises(UsageError, match=r"  decimals: None \(k150k\) and 6 \(other\)"):
        put_together(out, "k150k", "other")
    put_together(out, "k150k", "other", allow_mixed=["decimals"])
    found = document(out)
    assert (found["decimals"], found["combined"]["mixed"]) == (6, {"decimals": [None, 6]})
    assert "decimals         6 of each frame's value, rounded by the engine\n" in call("info", out).stdout
    assert "| decimals of a frame's value | `6` |" in call("info", "--card", out).stdout


def test_any_name_of_a_clip_or_a_corpus_is_data(runs: Path) -> None:
    publish_run(runs, "nasty", dict.fromkeys(NASTY, 2.0) | {"z.mp4": 3.0})
    label = "'; DROP TABLE keys; --\n\x1b[31m{{ 7*7 }}"
    out, names = runs / "all.parquet", sorted([*NASTY, "z.mp4"], key=str.encode)
    hashes = {label: dict.fromkeys(NASTY[:2], "11")}
    said = put_together(out, "nasty", names={"nasty": label}, hashes=hashes, mos_scale=(0, 1))
    assert all(line.isprintable() for line in said)
    dropped = max(NASTY[:2], key=str.encode)
    assert rows(out, "corpus", "clip_name") == [(label, name) for name in names if name != dropped]
    duplicates = document(out)["combined"]["duplicates"]["clips"]
    assert duplicates == [[f"{label}/{dropped}", f"{label}/{min(NASTY[:2], key=str.encode)}"]]
    for words in (("info", out), ("info", "--card", out), ("qa", "--table", out)):
        shown = call(*words, status=None)
        assert "Traceback" not in shown.stderr
        assert shown.stdout.replace("\n", "").isprintable()
    with pytest.raises(UsageError) as caught:
        put_together(out, "nasty", "k150k", names={"nasty": label, "k150k": label}, mos_scale=(0, 1),
                     mos_ranges={label: (4.0, 5.0)})  # fmt: skip
    assert caught.value.message.isprintable()


# Clips with the same content

SAME = {"k150k": {"a.mp4": "11", "b.mp4": "22", "ä.mp4": ""}, "live": {"c.mp4": "11", "B.mp4": "33"}}


def test_of_clips_with_the_same_content_that_of_the_first_table_stays(runs: Path) -> None:
    out = runs / "all.parquet"
    said = put_together(out, "k150k", "live", hashes=SAME)
    assert ("live", "c.mp4") not in rows(out, "corpus", "clip_name")
    assert len(rows(out, "clip_name")) == 5
    combined = document(out)["combined"]
    assert combined["duplicates"] == {"removed": 1, "unknown": 2, "clips": [["live/c.mp4", "k150k/a.mp4"]]}
    assert [source["used"] for source in combined["sources"]] == [3, 2]
    assert any("1 clip left out" in line for line in said)
    put_together(out, "live", "k150k", hashes=SAME)
    assert document(out)["combined"]["duplicates"]["clips"] == [["k150k/a.mp4", "live/c.mp4"]]


def test_of_equal_clips_of_one_table_the_first_name_stays(runs: Path) -> None:
    same = {"k150k": {"b.mp4": "11", "a.mp4": "11", "ä.mp4": "11"}}
    put_together(runs / "all.parquet", "k150k", hashes=same)
    assert rows(runs / "all.parquet", "clip_name") == [("a.mp4",)]
    assert document(runs / "all.parquet")["combined"]["duplicates"]["removed"] == 2


def test_a_clip_that_was_scored_with_two_contents_is_no_duplicate(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(of: dict[str, str]) -> pa.Table:
        other = {name: f"{digest}0" for name, digest in of.items()}
        return pa.concat_tables([content(of), content(other)])

    monkeypatch.setattr("support.combined.content", twice)
    put_together(
        runs / "all.parquet", "k150k", "live", hashes={"k150k": {"a.mp4": "1"}, "live": {"c.mp4": "1"}}
    )
    assert document(runs / "all.parquet")["combined"]["duplicates"]["removed"] == 0


def test_unknown_content_is_said_once(runs: Path) -> None:
    said = put_together(runs / "all.parquet", "k150k", "live", hashes={})
    assert document(runs / "all.parquet")["combined"]["duplicates"]["unknown"] == 6
    assert " ".join(" ".join(said).split()).count("the SHA-256 of 6 clips is not known") == 1


def test_the_content_of_clips_is_read_from_clip_logs_of_all_plans(runs: Path) -> None:
    run = publish_run(runs, "logged", {"x.mp4": 1.0, "y.mp4": 2.0})
    assert read_hashes(run.folder).num_rows == 0, "earlier versions did not state it"
    run.log_clips({"x.mp4": 1.0}, writer="v", sha256="ab" * 32)
    assert read_hashes(run.folder).to_pylist() == [{"clip_name": "x.mp4", "sha256": "ab" * 32}]
    now = load_manifest(run.folder)
    moved = replace(now, generation=2, earlier=(now.digest,), slices_before=1, slices=now.slices + 1)
    write_manifest(run.folder, moved)
    run.log_clips({"x.mp4": 1.0}, 1, "later", sha256="cd" * 32)
    found = read_hashes(run.folder, now.digest).to_pylist()
    assert found == [{"clip_name": "x.mp4", "sha256": digest} for digest in ("ab" * 32, "cd" * 32)]
    assert read_hashes(run.folder, "sha256:of another run").num_rows == 0
    assert read_hashes(None).num_rows == 0


def test_a_clip_is_not_taken_for_a_copy_of_one_that_a_later_plan_has_but_not_the_table(runs: Path) -> None:
    """The plan has the same digest: the file was exchanged for one of the same size."""
    old = publish_run(runs, "old", {"x.mp4": 1.0})
    old.log_clips({"x.mp4": 1.0}, writer="w", sha256="ab" * 32)
    new = publish_run(runs, "new", {"y.mp4": 1.0})
    new.log_clips({"y.mp4": 1.0}, writer="w", sha256="cd" * 32)
    now = load_manifest(old.folder)
    later = replace(now, generation=2, earlier=(now.digest,), slices_before=1, slices=now.slices + 1)
    write_manifest(old.folder, later)
    old.log_clips({"x.mp4": 1.0}, 1, "later", sha256="cd" * 32)
    put_together(runs / "all.parquet", "old", "new")
    assert rows(runs / "all.parquet", "clip_name") == [("y.mp4",), ("x.mp4",)]
    assert document(runs / "all.parquet")["combined"]["duplicates"] == {
        "removed": 0, "unknown": 1, "clips": [],
    }  # fmt: skip


# Scores


def test_scores_are_mapped_affinely_from_the_range_of_each_corpus(runs: Path) -> None:
    out = runs / "all.parquet"
    put_together(out, "k150k", "live", mos_scale=(0, 100), mos_ranges={"live": (0.0, 80.0)})
    assert pq.read_schema(out).names[:5] == ["clip_name", "corpus", "mos", "mos_native", "width"]
    found = {
        (corpus, name): pair for corpus, name, *pair in rows(out, "corpus", "clip_name", "mos", "mos_native")
    }
    assert found["k150k", "a.mp4"] == [0.0, 1.0]
    assert found["k150k", "b.mp4"] == [50.0, 3.0]
    assert found["k150k", "ä.mp4"] == [100.0, 5.0]
    assert found["live", "b.mp4"] == [25.0, 20.0]
    assert found["live", "B.mp4"] == [100.0, 80.0]
    combined = document(out)["combined"]
    assert combined["mos_scale"] == [0, 100]
    told = [(one["mos_range"], one["mos_range_from"]) for one in combined["sources"]]
    assert told == [([1, 5], "observed"), ([0, 80], "given")]


def test_a_clip_without_a_score_has_none_on_the_scale_either(runs: Path) -> None:
    publish_run(runs, "part", {"a.mp4": 2.0, "b.mp4": 4.0, "n.mp4": NAN})
    publish_run(runs, "none", {"c.mp4": NAN})
    put_together(runs / "all.parquet", "part", "none", mos_scale=(0, 1))
    found = rows(runs / "all.parquet", "clip_name", "mos", "mos_native")
    assert [str(row) for row in found] == [
        "('c.mp4', nan, nan)", "('a.mp4', 0.0, 2.0)", "('b.mp4', 1.0, 4.0)", "('n.mp4', nan, nan)",
    ]  # fmt: skip
    sources = document(runs / "all.parquet")["combined"]["sources"]
    assert [one["mos_range"] for one in sources] == [[2, 4], None]


# Killed


def test_a_kill_before_the_table_is_in_place_leaves_the_earlier_one(runs: Path) -> None:
    out = runs / "all.parquet"
    put_together(out, "k150k")
    before = out.read_bytes()
    script = (
        "import os, signal, sys; from pathlib import Path; from support.combined import put_together\n"
        "from vmafarm.disk import durable\n"
        "durable.system.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "put_together(Path(sys.argv[1]), 'k150k', 'live')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    killed = subprocess.run([sys.executable, "-c", script, out], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert out.read_bytes() == before
    assert list(runs.glob(".all.parquet.*.tmp")), "it was about to put it in place"
    put_together(out, "k150k", "live")
    assert len(rows(out, "clip_name")) == 6


def test_an_error_leaves_the_earlier_table_and_no_draft(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = runs / "all.parquet"
    put_together(out, "k150k")
    before = out.read_bytes()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(durable.system, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        put_together(out, "k150k", "live")
    assert out.read_bytes() == before
    assert not list(runs.glob(".*.tmp"))
