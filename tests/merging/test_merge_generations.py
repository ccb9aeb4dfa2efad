"""The merge of a run that was planned again: the newest plan says which rows count, and their scores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from support.errors_document import documented
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.common.errors import IncompleteError
from vmafarm.corpus.changes import keep_slices
from vmafarm.merging.merge import merge
from vmafarm.merging.steps import Merge
from vmafarm.run_folder.manifest import load_generation, load_manifest, most_rows, write_manifest
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest

CLIPS = {f"{letter}.mp4": float(at) for at, letter in enumerate("abcdef", 1)}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Six clips in two slices, all scored."""
    made = plan_run(tmp_path / "runs", CLIPS, slices=2, corpus={"mos_max": 10.0})
    for at, (name, mos) in enumerate(CLIPS.items()):
        made.shard([make_row(name, mos)], at % 2, f"w{at}")
        made.log_clips({name: 1.0}, at % 2, f"w{at}")
    return made


def replan(run: Run, scores: dict[str, float], changed: tuple[str, ...] = ()) -> Manifest:
    """A new generation with these clips and scores, of which some have another size."""
    before = load_manifest(run.folder)
    names = sorted(scores)
    mos = np.array([scores[name] for name in names])
    sizes = np.array([2000 if name in changed else 1000 for name in names], np.int64)
    every = [load_generation(path) for path in run.folder.manifests()]
    made = Manifest(
        names, mos, sizes, np.zeros(len(names), np.int32), manifest_digest(names, mos, sizes),
        before.generation + 1, (*before.earlier, before.digest), before.slice_count,
    )  # fmt: skip
    made = dataclasses.replace(made, slices=keep_slices(every, made, 100))
    write_manifest(run.folder, made)
    return made


def afresh(run: Run, root: Path) -> bytes:
    """The table of a run that was planned once, as the last generation is, and scored whole."""
    now = load_manifest(run.folder)
    other = plan_run(root, now.names, corpus={"mos_max": 10.0})
    other.folder.manifest.unlink()
    once = dataclasses.replace(now, generation=1, earlier=(), slices_before=0, slices=now.slices * 0)
    write_manifest(other.folder, once)
    other.provenance = dataclasses.replace(run.provenance, manifest=now.digest)
    other.folder.provenance.write_text(other.provenance.as_json())
    other.shard([make_row(name, mos) for name, mos in zip(now.names, now.mos.tolist(), strict=True)])
    merge(other.folder, other.config)
    return other.folder.table.read_bytes()


def findings(run: Run) -> dict[str, dict]:
    record = json.loads(run.folder.merge_record.read_text())
    return {finding["name"]: finding for finding in record["findings"]}


def test_other_scores_give_the_table_of_a_run_that_had_them_from_the_start(run, tmp_path):
    merge(run.folder, run.config)
    before = run.folder.table.read_bytes()
    replan(run, CLIPS | {"b.mp4": 9.5, "e.mp4": 1.25})
    merge(run.folder, run.config)
    assert run.table()["mos"].to_pylist() == [1.0, 9.5, 3.0, 4.0, 1.25, 6.0]
    assert run.folder.table.read_bytes() == afresh(run, tmp_path / "afresh") != before
    assert "earlier_plan" not in findings(run)


def test_copies_that_were_scored_with_other_labels_are_equal(run):
    now = replan(run, CLIPS | {"b.mp4": 9.5})
    later = dataclasses.replace(run.provenance, manifest=now.digest)
    run.shard([make_row("b.mp4", 9.5)], 1, "later", provenance=later)
    merge(run.folder, run.config)
    assert run.table()["mos"].to_pylist()[1] == 9.5
    assert findings(run)["duplicate"]["count"] == 1
    assert "conflict" not in findings(run)


def test_a_row_of_a_clip_as_it_was_does_not_count(run, tmp_path):
    now = replan(run, CLIPS, changed=("c.mp4",))
    with pytest.raises(IncompleteError, match=r"1 of 6 clips are missing: c\.mp4"):
        merge(run.folder, run.config)
    later = dataclasses.replace(run.provenance, manifest=now.digest)
    run.shard([make_row("c.mp4", 3.0, vmaf_mean=50.0)], 2, "later", provenance=later)
    merge(run.folder, run.config)
    assert run.table()["vmaf_mean"].to_pylist()[2] == 50.0
    assert findings(run)["earlier_plan"]["count"] == 1
    replan(run, CLIPS)  # it is what it was
    merge(run.folder, run.config)
    assert run.folder.table.read_bytes() == afresh(run, tmp_path / "afresh")


def test_rows_of_clips_that_are_gone_are_left_out_and_those_never_planned_refused(run, tmp_path):
    replan(run, {name: mos for name, mos in CLIPS.items() if name != "d.mp4"})
    merge(run.folder, run.config)
    assert "d.mp4" not in run.table()["clip_name"].to_pylist()
    assert run.folder.table.read_bytes() == afresh(run, tmp_path / "afresh")
    run.shard([make_row("foreign.mp4")], 0, "foreign")
    with pytest.raises(IncompleteError, match=r"not_in_manifest.*foreign\.mp4"):
        merge(run.folder, run.config)


def test_without_the_older_generation_a_row_of_a_clip_that_is_gone_is_named_and_nothing_is_lost(run):
    replan(run, {name: mos for name, mos in CLIPS.items() if name != "d.mp4"}, changed=("c.mp4",))
    documented("an older manifest that was deleted")
    kept = run.folder.generation(1).read_bytes()
    run.folder.generation(1).unlink()
    with pytest.raises(IncompleteError) as caught:
        merge(run.folder, run.config)
    assert "1 of 5 clips are missing: c.mp4" in caught.value.message
    assert "not_in_manifest" in caught.value.message
    run.folder.generation(1).write_bytes(kept)
    run.shard([make_row("c.mp4")], 2, "later")
    merge(run.folder, run.config)
    assert run.table().num_rows == 5


def test_a_sample_has_a_table_of_its_own_and_says_so(run):
    merge(run.folder, run.config)
    before = run.folder.table.read_bytes()
    now = load_manifest(run.folder)
    few = np.array([1, 4])
    names, mos, sizes = [now.names[at] for at in few], now.mos[few], now.bytes[few]
    folder = dataclasses.replace(run.folder, sample=2)
    digest = manifest_digest(names, mos, sizes)
    write_manifest(folder, Manifest(names, mos, sizes, now.slices[few], digest, 2, (now.digest,), 2, of=6))
    merge(folder, run.config.model_copy(update={"run": run.config.run.model_copy(update={"sample": 2})}))
    assert folder.table.name == "full_features_demo.sample.parquet"
    sampled = dataclasses.replace(run, folder=folder)
    assert sampled.table()["clip_name"].to_pylist() == ["b.mp4", "e.mp4"]
    stated = json.loads(sampled.table().schema.metadata[b"vmafarm"])
    assert stated["sample"] == {"clips": 2, "of": 6}
    assert stated["manifest"] == now.digest
    assert run.folder.table.read_bytes() == before


def test_a_shard_of_a_manifest_that_is_no_generation_is_refused(run):
    replan(run, CLIPS | {"b.mp4": 9.5})
    other = dataclasses.replace(run.provenance, manifest="sha256:other")
    path = run.shard([make_row("a.mp4", 1.0)], 0, "other", provenance=other)
    with pytest.raises(IncompleteError, match="manifest: found 'sha256:other'"):
        merge(run.folder, run.config)
    path.unlink()
    merge(run.folder, run.config)
    assert run.folder.table.exists()


def test_rows_of_both_plans_are_in_one_table_that_counts_what_was_filled_in(run):
    full = dataclasses.replace(run.provenance, plan="full", constant=("ssimulacra2",))
    run.shard([make_row("a.mp4", 1.0)], 0, "w0", provenance=full)
    run.shard([make_row("b.mp4", 2.0)], 1, "w1", provenance=full)
    merge(run.folder, run.config)
    stated = json.loads(run.table().schema.metadata[b"vmafarm"])
    assert stated["plan"] == "mixed"
    assert stated["filled_rows"] == dict.fromkeys(sorted(set(run.provenance.constant) - {"ssimulacra2"}), 4)
    assert stated["features"]["ssimulacra2"] == "constant"
    assert stated["features"]["psnr_y"] == "measured"
    for at, (name, mos) in enumerate(CLIPS.items()):
        run.shard([make_row(name, mos)], at % 2, f"w{at}", provenance=full)
    merge(run.folder, run.config)
    stated = json.loads(run.table().schema.metadata[b"vmafarm"])
    assert stated["plan"] == "full"
    assert "filled_rows" not in stated
    assert stated["features"] == full.as_dict()["features"]


def test_a_row_that_stands_in_a_journal_alone_keeps_its_plan(run):
    (run.folder.shards / "slice-00000/w0.parquet").unlink()
    identity = run.provenance
    run.provenance = dataclasses.replace(identity, plan="full", constant=("ssimulacra2",))
    run.journal([make_row("a.mp4", 1.0)], 0, "killed")
    merge(run.folder, run.config)
    assert json.loads(run.table().schema.metadata[b"vmafarm"])["filled_rows"]["psnr_y"] == 5


def test_the_table_says_how_the_rows_that_count_were_made(run):
    """The run began with another plan of the engine than that of all rows that it has now."""
    replan(run, CLIPS, tuple(CLIPS))
    full = dataclasses.replace(run.provenance, plan="full", constant=("ssimulacra2",))
    run.shard([make_row(name, mos) for name, mos in CLIPS.items()], 2, "later", provenance=full)
    merge(run.folder, run.config)
    stated = json.loads(run.table().schema.metadata[b"vmafarm"])
    assert (stated["plan"], stated["features"]) == ("full", full.as_dict()["features"])
    assert "filled_rows" not in stated


def test_a_run_that_is_planned_again_during_the_merge_is_merged_by_the_new_plan(run, monkeypatch):
    check, replanned = Merge._check_clips, []

    def late(self: Merge) -> None:
        if not replanned:
            replanned.append(replan(run, CLIPS | {"b.mp4": 9.5}))
        check(self)

    monkeypatch.setattr(Merge, "_check_clips", late)
    merge(run.folder, run.config)
    assert run.table()["mos"].to_pylist()[1] == 9.5
    stated = json.loads(run.table().schema.metadata[b"vmafarm"])
    assert stated["manifest"] == replanned[0].digest


def test_a_shard_of_more_rows_than_the_newest_plan_has_clips_is_read(run, monkeypatch):
    before = most_rows(run.folder)
    monkeypatch.setattr("vmafarm.run_folder.manifest.LEAST_ROWS", 0)
    assert before > most_rows(run.folder) == 12
    replan(run, {"a.mp4": 1.0})
    assert most_rows(run.folder) == 12
    assert most_rows(dataclasses.replace(run.folder, sample=2)) == 12
