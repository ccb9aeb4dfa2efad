"""Planning: what is frozen, what may change, and what is refused."""

from __future__ import annotations

import json
import tomllib

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from support.plans import config_of, files, plan_as_before, refusal, write_scores

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import config_to_freeze, read_frozen_config
from vmafarm.corpus.plan import plan
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.run_folder.manifest_file import MANIFEST_SCHEMA


def test_plan_writes_the_manifest(corpus):
    made = plan(config_of(corpus, "slices.count=2"))
    assert made.new
    table = pq.read_table(made.folder.manifest)
    assert table.schema.equals(MANIFEST_SCHEMA)
    assert table.to_pydict() == {
        "clip_name": ["c2.mp4", "c3.mp4", "sub/c6.mp4", "c1.mp4", "sub/c4.mp4", "sub/c5.mp4"],
        "mos": [2.0, 2.5, 4.0, 1.5, 3.0, 3.5],
        "bytes": [20, 30, 60, 10, 40, 50],
        "slice": [0, 0, 0, 1, 1, 1],
        "position": [1, 2, 5, 0, 3, 4],
    }
    stated = json.loads(table.schema.metadata[b"vmafarm"])
    assert stated.keys() == {"manifest", "configuration", "slices", "first", "examples"}
    assert stated["manifest"] == made.manifest.digest
    assert sorted(files(made.folder)) == ["config.toml", "manifest.parquet"]


def test_plan_freezes_what_determines_values(corpus, monkeypatch):
    monkeypatch.chdir(corpus / "clips")
    config, _ = load(
        run__root="../runs",
        run__name="r",
        corpus__clips=".",
        corpus__scores="../scores.csv",
        engine__threads=3,
    )
    made = plan(config)
    text = made.folder.config.read_text()
    document = tomllib.loads(text)
    assert document["corpus"]["clips"] == str(corpus / "clips")
    assert document["corpus"]["scores"] == str(corpus / "scores.csv")
    assert document["engine"]["kind"] == "auto"
    assert "threads" not in document["engine"]
    assert document["plan"] == {"limit": 0, "manifest": made.manifest.digest}
    assert read_frozen_config(made.folder)["plan.manifest"] == made.manifest.digest


def test_manifest_reads_back_as_it_was_planned(corpus):
    made = plan(config_of(corpus, "slices.count=2"))
    read = load_manifest(made.folder)
    assert read.names == made.manifest.names
    assert read.digest == made.manifest.digest
    assert read.slice_count == 2
    assert read.positions(0).tolist() == [1, 2, 5]
    everything = range(len(read.names))
    assert read.positions(1).tolist() == [at for at in everything if at not in (1, 2, 5)]
    assert read.positions(2).tolist() == read.positions(-1).tolist() == []
    for column in ("mos", "bytes", "slices"):
        mine, theirs = getattr(made.manifest, column), getattr(read, column)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_nan_among_the_scores_is_counted_right_by_duckdb(corpus):
    write_scores(corpus, {f"c{number}.mp4": 3.0 for number in range(2, 7)})
    made = plan(config_of(corpus, 'corpus.missing_mos="nan"'))
    query = "SELECT count(*) FILTER (isnan(mos)), count(mos) FROM read_parquet(?)"
    assert duckdb.execute(query, [str(made.folder.manifest)]).fetchall() == [(1, 6)]
    columns = pq.ParquetFile(made.folder.manifest).metadata.row_group(0)
    assert not columns.column(1).is_stats_set
    assert not plan(config_of(corpus, 'corpus.missing_mos="nan"')).new


def test_planning_again_changes_nothing_and_says_so(corpus):
    first = plan(config_of(corpus))
    before = files(first.folder)
    again = plan(config_of(corpus))
    assert not again.new
    assert again.manifest.digest == first.manifest.digest
    assert files(first.folder) == before
    assert "already planned with the same inputs: nothing to do" in again.lines()
    assert not any("already" in line for line in first.lines())


def test_same_inputs_give_the_same_bytes(corpus):
    one = plan(config_of(corpus, "run.name=one"))
    two = plan(config_of(corpus, "run.name=two"))
    assert files(one.folder) == files(two.folder)


def test_cut_that_was_planned_is_kept(corpus):
    first = plan(config_of(corpus, "slices.count=2"))
    again = plan(config_of(corpus, "slices.count=3"))
    assert not again.new
    assert again.manifest.slices.tolist() == first.manifest.slices.tolist()
    assert any("the cut into 2 slices is kept, not changed to 3" in line for line in again.lines())


def test_digest_does_not_depend_on_the_cut(corpus):
    digests = {
        plan(config_of(corpus, f"run.name=r{n}", f"slices.count={n}")).manifest.digest for n in (1, 2, 6)
    }
    assert len(digests) == 1


def test_keys_that_determine_no_values_may_change(corpus):
    plan(config_of(corpus))
    assert not plan(config_of(corpus, "engine.threads=2", "extract.retries=3", "merge.memory=1GB")).new


@pytest.mark.parametrize("before", [True, False])
def test_key_that_a_later_version_added_counts_as_its_default(corpus, before):
    if before:
        folder = plan_as_before(config_of(corpus)).folder
        lines = folder.config.read_text().splitlines(keepends=True)
        folder.config.write_text("".join(line for line in lines if not line.startswith("backend")))
    else:
        made = plan(config_of(corpus))
        made.folder.manifest.unlink()
        values = config_to_freeze(config_of(corpus))
        del values["engine.backend"]
        write_manifest(made.folder, made.manifest, values)
    assert not plan(config_of(corpus)).new
    moved = plan(config_of(corpus, "engine.backend=cuda")).changes.moved
    assert moved == ("engine.backend: 'cpu' -> 'cuda'",)


def test_dry_run_writes_nothing_and_still_refuses(corpus):
    dry = plan(config_of(corpus), dry_run=True)
    assert dry.new
    assert not dry.folder.root.exists()
    real = plan(config_of(corpus))
    assert real.manifest.digest == dry.manifest.digest
    assert not plan(config_of(corpus), dry_run=True).new
    (corpus / "clips/c1.mp4").unlink()
    refusal(config_of(corpus), dry_run=True)


def test_limit_takes_a_reproducible_sample(corpus):
    small = plan(config_of(corpus, "run.name=small", "run.sample=2"))
    larger = plan(config_of(corpus, "run.name=larger", "run.sample=4"))
    assert len(small.manifest.names) == 2
    assert set(small.manifest.names) < set(larger.manifest.names)
    assert len(plan(config_of(corpus, "run.name=all", "run.sample=100")).manifest.names) == 6
    assert small.counts.as_dict()["clips"] == 6
    assert any("run small: 2 clips (a sample of 6)" in line for line in small.lines())


def test_clip_without_score_follows_missing_mos(corpus):
    (corpus / "clips/extra.mp4").write_bytes(b"x")
    assert "1 of 7 clips have no score" in refusal(config_of(corpus)).message
    skipped = plan(config_of(corpus, "corpus.missing_mos=skip", "run.name=skip"))
    assert "extra.mp4" not in skipped.manifest.names
    kept = plan(config_of(corpus, 'corpus.missing_mos="nan"', "run.name=kept"))
    assert np.isnan(kept.manifest.mos[kept.manifest.names.index("extra.mp4")])


def test_clips_that_are_not_given_are_refused_with_key_and_option(corpus):
    section = config_of(corpus).corpus.model_copy(update={"clips": ""})
    error = refusal(config_of(corpus).model_copy(update={"corpus": section}))
    assert "corpus.clips is not set" in error.message
    assert "--clips" in error.hint
    assert "CLIPS=" in error.hint


def test_without_scores_every_clip_is_planned_and_told_once(corpus):
    bare, _ = load(run__root=str(corpus / "runs"), run__name="k150k", corpus__clips=str(corpus / "clips"))
    made = plan(bare)
    assert np.isnan(made.manifest.mos).all()
    assert len(made.manifest.names) == 6
    text = " ".join(made.lines())
    assert text.count("no scores given (corpus.scores): mos is NaN in all rows") == 1
    assert "clips with their score" not in text
    later = plan(config_of(corpus))
    assert later.changes.of_clips == 0
    assert later.changes.relabelled.count == 6
    assert later.manifest.mos.tolist() == [1.5, 2.0, 2.5, 3.0, 3.5, 4.0]


def test_path_that_is_not_utf8_is_refused(corpus):
    wrong = config_of(corpus).corpus.model_copy(update={"clips": "/bad\udcff"})
    config = config_of(corpus).model_copy(update={"corpus": wrong})
    assert r"bad\xff: expected a path in UTF-8" in refusal(config).message


def test_file_in_the_way_of_the_run_folder_is_refused(corpus):
    (corpus / "runs").write_text("")
    with pytest.raises(UsageError, match="a file is in the way"):
        plan(config_of(corpus))


def test_plan_fits_a_terminal(corpus):
    lines = plan(config_of(corpus, "slices.count=2")).lines()
    assert "run k150k: 6 clips, 210 bytes, 2 slices" in lines
    assert "the heaviest slice is 4.8% heavier than the mean" in lines
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(
    ("size", "shown"),
    [(999, "999 bytes"), (1500, "1.5 kB"), (2 * 10**9, "2.0 GB"), (3 * 10**15, "3,000.0 TB")],
)
def test_size_of_the_corpus_is_shown_with_a_unit(corpus, size, shown):
    made = plan(config_of(corpus, "run.sample=1"))
    made.manifest.bytes[0] = size
    assert any(f"1 clip (a sample of 6), {shown}, 1 slice" in line for line in made.lines())
