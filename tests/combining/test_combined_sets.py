"""Tables of one feature set stand under each other with its columns; those of several do not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.combined import document, put_together, rows
from support.errors_document import documented
from support.feature_sets import small_set
from support.merge_helpers import Run, make_row, plan_run
from support.merges import finish

from vmafarm.common.errors import UsageError
from vmafarm.report.info import read_info
from vmafarm.run_folder.paths import RunFolder
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.read_set import parse_set

MINE = small_set({"cambi": {"window_size": 63}}, ("mean", "max"), cambi="cambi_ws_63")
WORDED = parse_set("worded", MINE.text.replace('what" = "cambi"', 'what" = "banding"'))


def publish(root: Path, name: str, clips: dict[str, float], features: FeatureSet) -> None:
    made = plan_run(root, clips, constant=())
    folder = RunFolder(root, name)
    made.folder.path.rename(folder.path)
    config = made.config.model_copy(update={"run": made.config.run.model_copy(update={"name": name})})
    stated = dataclasses.replace(made.provenance, constant=(), model="", feature_set=features)
    run = Run(folder, config, stated)
    folder.provenance.write_text(stated.as_json())
    run.freeze()
    values = [
        {key: make_row(clip, mos=clips[clip])[key] for key in features.columns[:4]}
        | {key: make_row(clip)["cambi_mean"] for key in features.feature_columns}
        for clip in clips
    ]
    run.shard(values, schema=features.arrow_schema)
    run.clip_log(clips, 1)
    finish(run)


def test_tables_of_one_set_stand_under_each_other_whatever_its_words(tmp_path: Path) -> None:
    publish(tmp_path, "one", {"a.mp4": 1.0, "b.mp4": 3.0}, MINE)
    publish(tmp_path, "two", {"c.mp4": 1.0, "d.mp4": 3.0}, WORDED)
    out = tmp_path / "all.parquet"
    put_together(out, "one", "two")
    assert pq.read_schema(out).names == ["clip_name", "corpus", *MINE.columns[1:]]
    assert rows(out, "corpus", "clip_name") == [
        ("one", "a.mp4"), ("one", "b.mp4"), ("two", "c.mp4"), ("two", "d.mp4")
    ]  # fmt: skip
    assert document(out)["feature_set"]["digest"] == MINE.digest
    assert read_info(out).problems == []


def test_tables_of_several_sets_do_not_and_the_message_names_them(runs: Path) -> None:
    publish(runs, "mine", {"a.mp4": 1.0, "b.mp4": 3.0}, MINE)
    with pytest.raises(UsageError) as caught:
        put_together(runs / "all.parquet", "k150k", "mine")
    documented("tables of different feature sets to combine under each other")
    assert "full (sha256:" in caught.value.message
    assert "mine (sha256:" in caught.value.message
    assert not (runs / "all.parquet").exists()


def test_tables_of_several_sets_stand_side_by_side(runs: Path) -> None:
    other = small_set({"cambi": {"window_size": 63}}, cambi_wide="cambi_ws_63")
    publish(runs, "mine", {"a.mp4": 1.0, "b.mp4": 3.0, "ä.mp4": 5.0}, other)
    out = runs / "all.parquet"
    put_together(out, "k150k", "mine", columns=True)
    assert pq.read_schema(out).names[-2:] == ["cambi_wide_mean", "cambi_wide_p05"]
    assert "feature_set" not in document(out)
