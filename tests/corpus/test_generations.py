"""A plan that is made again: what is taken at once, what must be asked for, and what stays where it is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.errors_document import documented
from support.plans import config_of, files, plan_as_before, refusal, write_scores

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import read_frozen_config, with_frozen, with_plan
from vmafarm.corpus.named_run import require_known
from vmafarm.corpus.plan import plan
from vmafarm.corpus.plan_result import Plan
from vmafarm.corpus.sample import take_sample, write_sample
from vmafarm.run_folder.known_runs import is_planned
from vmafarm.run_folder.manifest import load_generation, load_manifest, write_manifest
from vmafarm.run_folder.provenance import Provenance

SCORES = {f"c{number}.mp4": 1 + number / 2 for number in range(1, 7)}


def places(made: Plan) -> dict[str, int]:
    return dict(zip(made.manifest.names, made.manifest.slices.tolist(), strict=True))


def add(corpus: Path, *names: str) -> None:
    for name in names:
        (corpus / "clips" / name).write_bytes(b"another" * 10)
    write_scores(corpus, SCORES | dict.fromkeys(names, 2.0))


def test_other_scores_are_taken_at_once_in_a_generation_of_their_own(corpus):
    first = plan(config_of(corpus, "slices.count=2"))
    before = files(first.folder)
    write_scores(corpus, SCORES | {"c2.mp4": 4.5, "c6.mp4": 1.25})
    again = plan(config_of(corpus, "slices.count=2"))
    assert not again.new
    assert again.changes.relabelled.names == ("c2.mp4", "sub/c6.mp4")
    assert again.changes.of_clips == 0
    assert places(again) == places(first)
    assert again.manifest.generation == 2
    assert again.manifest.earlier == (first.manifest.digest,)
    assert again.manifest.origin == first.manifest.digest
    read = load_manifest(first.folder)
    assert (read.digest, read.generation) == (again.manifest.digest, 2)
    assert read.mos.tolist() == [1.5, 4.5, 2.5, 3.0, 3.5, 1.25]
    now = files(first.folder)
    assert now["manifest.parquet"] == before["manifest.parquet"]
    assert load_generation(first.folder.generation(1)).digest == first.manifest.digest
    assert load_manifest(first.folder, first.manifest.digest).generation == 1, "for elements of that plan"
    lines = again.lines()
    assert "changed since plan 1:" in lines
    assert "  2 clips with another score:" in lines
    assert not plan(config_of(corpus)).changes
    assert files(first.folder) == now


def test_a_corpus_that_was_moved_is_the_same_corpus(corpus):
    first = plan(config_of(corpus))
    shutil.move(corpus / "clips", corpus / "elsewhere")
    config, _ = load(
        run__root=str(corpus / "runs"), run__name="k150k", corpus__clips=str(corpus / "elsewhere"),
        corpus__scores=str(corpus / "scores.csv"),
    )  # fmt: skip
    moved = plan(config)
    assert moved.changes.of_clips == moved.changes.relabelled.count == 0
    assert moved.changes.moved == (f"corpus.clips: {str(corpus / 'clips')!r} -> {config.corpus.clips!r}",)
    assert moved.manifest.digest == first.manifest.digest
    assert places(moved) == places(first)
    unnamed, _ = load(run__root=str(corpus / "runs"), run__name="k150k")
    assert with_frozen(unnamed).corpus.clips == str(corpus / "elsewhere")


def test_clips_that_were_added_are_taken_if_asked_for_and_get_slices_of_their_own(corpus):
    first = plan(config_of(corpus, "slices.count=2"))
    documented("clips that were added, changed or lost since the plan")
    add(corpus, "new.mp4", "newer.mp4", "newest.mp4")
    error = refusal(config_of(corpus))
    assert "3 clips added:\n      new.mp4, newer.mp4, newest.mp4" in error.message
    assert "--update (rows" in error.hint
    assert "--drop" not in error.hint
    again = plan(config_of(corpus, "slices.clips_per_slice=2"), update=True)
    found = places(again)
    assert {name: found[name] for name in places(first)} == places(first)
    assert sorted({found[name] for name in ("new.mp4", "newer.mp4", "newest.mp4")}) == [2, 3]
    assert again.manifest.slice_count == 4


def test_a_changed_clip_leaves_its_slice_and_finds_it_again_if_it_is_what_it_was(corpus):
    first = plan(config_of(corpus, "slices.count=2"))
    was = (corpus / "clips/c2.mp4").read_bytes()
    (corpus / "clips/c2.mp4").write_bytes(b"repaired")
    assert "1 clip of another size or content:\n      c2.mp4" in refusal(config_of(corpus)).message
    repaired = plan(config_of(corpus), update=True)
    assert places(repaired) == places(first) | {"c2.mp4": 2}
    (corpus / "clips/c2.mp4").write_bytes(was)
    back = plan(config_of(corpus), update=True)
    assert places(back) == places(first)
    assert back.manifest.digest == first.manifest.digest
    assert back.manifest.slice_count == 3, "a number is never given twice"
    (corpus / "clips/c2.mp4").write_bytes(b"other")
    assert places(plan(config_of(corpus), update=True))["c2.mp4"] == 3


def test_clips_that_are_gone_are_dropped_and_found_again(corpus):
    more = [f"more{number:02}.mp4" for number in range(14)]
    add(corpus, *more)
    first = plan(config_of(corpus, "slices.count=2"))
    lost = [corpus / "clips/c1.mp4", corpus / "clips/c2.mp4"]
    kept = {path: path.read_bytes() for path in lost}
    for path in lost:
        path.unlink()
    assert "2 clips gone:\n      c1.mp4, c2.mp4" in refusal(config_of(corpus)).message
    without = plan(config_of(corpus), update=True)
    assert places(without) == {name: at for name, at in places(first).items() if name not in SCORES_GONE}
    for path, content in kept.items():
        path.write_bytes(content)
    assert places(plan(config_of(corpus), update=True)) == places(first)


SCORES_GONE = ("c1.mp4", "c2.mp4")


def test_more_than_a_tenth_of_the_clips_does_not_go_by_a_wrong_path(corpus):
    plan(config_of(corpus))
    (corpus / "clips/c1.mp4").unlink()
    documented("more than a tenth of the clips gone")
    for options in ({}, {"update": True}, {"drop": True}):
        error = refusal(config_of(corpus), **options)
        assert "more than a tenth of its clips are gone" in error.message
        assert "1 clip gone:\n      c1.mp4" in error.message
        assert "--update --drop" in error.hint
    assert len(plan(config_of(corpus), update=True, drop=True).manifest.names) == 5


def test_keys_that_are_not_set_keep_the_values_of_the_plan(corpus):
    plan(config_of(corpus, "engine.plan=identity", "corpus.mos_max=10.0"))
    again = plan(config_of(corpus))
    assert not again.changes
    assert again.config.engine.plan == "identity"
    bare, _ = load(run__root=str(corpus / "runs"), run__name="k150k")
    assert plan(bare).config.corpus.mos_max == 10.0
    changed = plan(config_of(corpus, "engine.plan=full", "corpus.mos_max=9.0")).changes
    assert changed.moved == ("corpus.mos_max: 10.0 -> 9.0", "engine.plan: 'identity' -> 'full'")
    frozen = read_frozen_config(again.folder)
    assert (frozen["engine.plan"], frozen["corpus.mos_max"]) == ("full", 9.0)


def test_a_run_without_rows_takes_any_engine_and_one_with_rows_none_but_theirs(corpus):
    made = plan(config_of(corpus, "engine.kind=ffmpeg"))
    assert plan(config_of(corpus, "engine.kind=vmaf", "engine.backend=cuda")).changes
    rows = Provenance("ffmpeg", "9", "3", "9", "full", "cpu", (), made.manifest.digest)
    made.folder.provenance.write_text(rows.as_file())
    assert plan(config_of(corpus, "engine.kind=ffmpeg", "engine.backend=cpu")).changes
    assert "engine.kind: the rows are of 'ffmpeg', now 'vmaf'" in (
        refusal(config_of(corpus, "engine.kind=vmaf")).message
    )
    moved = plan(config_of(corpus, "engine.kind=auto", "engine.ffmpeg=/opt/ffmpeg", "engine.plan=identity"))
    assert len(moved.changes.moved) == 3


def test_of_two_updates_at_once_the_second_is_told(corpus, monkeypatch):
    made = plan(config_of(corpus))
    add(corpus, "new.mp4")

    def overtaken(folder, manifest, values):
        monkeypatch.undo()
        other = write_scores(corpus, SCORES | {"new.mp4": 2.0, "c1.mp4": 5.0})
        assert other is None
        assert plan(config_of(corpus), update=True).manifest.generation == 2
        write_manifest(folder, manifest, values)

    documented("two plans at once")
    monkeypatch.setattr("vmafarm.corpus.plan.write_manifest", overtaken)
    with pytest.raises(UsageError, match="has just been planned by another process"):
        plan(config_of(corpus), update=True)
    assert load_manifest(made.folder).mos[0] == 5.0
    assert not plan(config_of(corpus)).changes


def test_a_deleted_older_generation_is_missed_by_nobody_who_plans(corpus):
    made = plan(config_of(corpus))
    add(corpus, "new.mp4")
    grown = plan(config_of(corpus), update=True)
    made.folder.generation(1).unlink()
    again = plan(config_of(corpus))
    assert not again.changes
    assert again.manifest.earlier == grown.manifest.earlier
    (corpus / "clips/new.mp4").write_bytes(b"changed")
    assert plan(config_of(corpus), update=True).manifest.generation == 3


def test_a_generation_that_states_no_sound_history_is_refused_or_counts_as_the_first(corpus):
    folder = plan(config_of(corpus)).folder
    add(corpus, "new.mp4")
    grown = plan(config_of(corpus), update=True).manifest
    import pyarrow.parquet as pq

    from vmafarm.disk.sealed_parquet import write_sealed

    table = pq.read_table(folder.generation(2))
    stated = json.loads(table.schema.metadata[b"vmafarm"])
    for forged in ({"generation": 7}, {"earlier": "x"}, {"slices_before": -1}, {"slices_before": 1 << 40}):
        with folder.generation(2).open("wb") as file:
            write_sealed(table.replace_schema_metadata({"vmafarm": json.dumps(stated | forged)}), file)
        read = load_manifest(folder)
        assert (read.generation, read.digest, read.slice_count) == (1, grown.digest, 2)


def test_a_sample_is_a_part_of_the_plan_and_does_not_change_it(corpus):
    made = plan(config_of(corpus, "slices.count=3", "run.sample=2"))
    folder = made.folder
    assert made.new
    assert (len(made.manifest.names), made.manifest.of) == (2, 6)
    assert sorted(files(folder)) == ["config.toml", "manifest.parquet", "sample-00002.parquet"]
    before = files(folder)
    every = plan(config_of(corpus, "slices.count=3"))
    assert not every.new
    assert not every.changes
    assert files(folder) == before
    assert set(places(made).items()) < set(places(every).items())
    larger = plan(config_of(corpus, "run.sample=4"))
    assert set(places(made).items()) < set(places(larger).items())
    assert load_manifest(folder).digest == made.manifest.digest
    assert load_manifest(folder).plan_digest == every.manifest.digest
    write_scores(corpus, SCORES | dict.fromkeys(SCORES, 1.0))
    assert set(plan(config_of(corpus, "run.sample=2")).manifest.mos.tolist()) == {1.0}
    assert set(load_manifest(folder).mos.tolist()) == {1.0}, "the sample is of the newest generation"


def test_a_sample_that_an_earlier_version_planned_stays_one_until_it_is_updated(corpus):
    small = plan(config_of(corpus, "run.sample=2")).manifest
    made = plan_as_before(config_of(corpus, "run.name=before"))
    folder = made.folder
    folder.manifest.unlink()
    text = folder.config.read_text().replace("limit = 0", "limit = 2")
    sampled = load_manifest(plan(config_of(corpus, "run.sample=2")).folder)
    folder.config.write_text(text.replace(made.manifest.digest, sampled.digest))
    write_manifest(folder, replace(sampled, generation=1, earlier=(), of=0, slices_before=0))
    again = plan(config_of(corpus, "run.name=before"))
    assert not again.changes
    assert again.manifest.names == small.names
    whole = plan(config_of(corpus, "run.name=before"), update=True)
    assert len(whole.manifest.names) == 6
    assert not plan(config_of(corpus, "run.name=before")).changes


def test_a_sample_of_an_earlier_plan_or_that_was_not_taken_is_refused_with_what_to_do(corpus):
    documented("a sample of an earlier plan, or one that was not taken")
    folder = plan(config_of(corpus, "run.sample=2")).folder
    assert load_manifest(folder).of == 6
    with pytest.raises(UsageError, match=r"no sample of 3 was taken of it") as caught:
        load_manifest(replace(folder, sample=3))
    assert "--set run.sample=3" in caught.value.hint
    add(corpus, "n.mp4")
    plan(config_of(corpus), update=True)
    with pytest.raises(UsageError, match=r"its sample of 2 is of an earlier plan"):
        load_manifest(folder)
    plan(config_of(corpus, "run.sample=2"))
    assert load_manifest(folder).of == 7


def test_a_planned_run_is_known_whatever_sample_of_it_is_meant(corpus):
    whole = plan(config_of(corpus)).folder
    folder = replace(whole, sample=3)
    assert is_planned(folder)
    config, _ = load(None, (), run__root=str(folder.root), run__name=folder.name, run__sample=3)
    require_known(config)
    assert with_plan(config).corpus.clips == str(corpus / "clips")
    text = whole.config.read_text()
    whole.config.write_text(text.replace(str(corpus / "clips"), "/elsewhere"))
    write_sample(folder, take_sample(load_manifest(whole), 3))
    assert with_frozen(config).corpus.clips == str(corpus / "clips"), "config.toml has no effect"


def test_no_run_is_called_like_the_sample_of_another_whose_table_it_would_replace(corpus):
    documented("a run whose name ends with .sample")
    with pytest.raises(UsageError, match=r"samples of a run publish their table"):
        plan(config_of(corpus, "run.name=k.sample"))
